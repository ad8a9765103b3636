#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_join
short_description: Make a host a worker, or a further control plane, of a cluster
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Runs C(kubeadm join) with a token and the cluster's pinned CA; an interrupted join is cleaned up and done again.
  - A host that is a member already is left alone.
  - The token is in a file that only root can read and that is removed afterwards, never in arguments or messages.
options:
  endpoint:
    description: Where the API server is reached, host and port. Needed by a host that is not a member yet.
    type: str
  token:
    description: Bootstrap token. Needed by a host that is not a member yet.
    type: str
  ca_cert_hashes:
    description: Pins of the cluster's CA (V(sha256:…)); without one nothing is joined.
    type: list
    elements: str
    default: []
  node_name:
    description: Name of the node.
    type: str
    required: true
  node_address:
    description: Address that the kubelet announces.
    type: str
    required: true
  labels:
    description:
      - Labels that the node registers with.
      - Those that Kubernetes reserves are left to M(kubesmith.cluster.kube_nodes).
    type: dict
    default: {}
  taints:
    description: Taints that the node registers with, as V(key=value:Effect).
    type: list
    elements: str
    default: []
  ignore_preflight_errors:
    description: Checks of kubeadm to pass over.
    type: list
    elements: str
    default: []
  kubelet_extra_args:
    description: Further arguments of the kubelet, each name with its value.
    type: dict
    default: {}
  patches:
    description:
      - Patches of what kubeadm writes on the host, by kubeadm's own file name without its suffix V(.json).
      - They are the only files of C(/etc/kubernetes/patches).
    type: dict
    default: {}
  control_plane:
    description: Address that the API server of a further control plane announces. If left out, a worker joins.
    type: str
  authority:
    description: The cluster's keys, each path with its content, which a control plane shares with the others. Secret.
    type: dict
    default: {}
  config:
    description: kubeadm's configuration of the cluster, kept as M(kubesmith.cluster.kubeadm_init) keeps it.
    type: str
  config_path:
    description: Where O(config) is kept.
    type: path
    default: /etc/kubernetes/kubeadm.yml
  timeout:
    description: Seconds that the join may take.
    type: int
    default: 180
attributes:
  check_mode:
    support: full
    description: Says whether the host would join.
  diff_mode:
    support: none
    description: There is no content to compare.
"""

EXAMPLES = r"""
- name: Join the cluster
  kubesmith.cluster.kubeadm_join:
    endpoint: 192.168.10.11:6443
    token: "{{ token }}"
    ca_cert_hashes: ["sha256:0123…"]
    node_name: w1
    node_address: 192.168.10.21
"""

RETURN = r"""
found:
  description: How far the host was a member before, V(absent), V(partial) or V(complete).
  type: str
  returned: always
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import files, kubeadm, written
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, Result, lock, run

CONFIG = "/run/kubesmith-join.json"
PATCHES = Path("/etc/kubernetes/patches")
STATIC_PODS = Path("/etc/kubernetes/manifests")
KEPT = ("/etc/kubernetes/manifests/kubesmith-balancer.yaml",)  # kubeadm reset empties that folder


def configuration(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JoinConfiguration (v1beta4) as a dictionary."""
    central = wanted.get("control_plane")
    return {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "JoinConfiguration",
        **({"controlPlane": {"localAPIEndpoint": {"advertiseAddress": central}}} if central else {}),
        "discovery": {
            "bootstrapToken": {
                "apiServerEndpoint": wanted["endpoint"],
                "token": wanted["token"],
                "caCertHashes": wanted["ca_cert_hashes"],
            }
        },
        "nodeRegistration": kubeadm.registration(
            wanted["node_name"],
            wanted["node_address"],
            wanted["labels"],
            wanted["taints"],
            wanted["ignore_preflight_errors"],
            wanted["kubelet_extra_args"],
        ),
        **({"patches": {"directory": str(PATCHES)}} if wanted.get("patches") else {}),
        "timeouts": {
            "discovery": f"{wanted['timeout']}s",
            "tlsBootstrap": f"{wanted['timeout']}s",
            "kubeletHealthCheck": f"{max(240, wanted['timeout'])}s",  # kubeadm's own, or more where all takes longer
            "kubernetesAPICall": f"{max(60, wanted['timeout'] // 5)}s",
            **({"controlPlaneComponentHealthCheck": f"{max(240, wanted['timeout'])}s"} if central else {}),
            **({"etcdAPICall": f"{max(120, wanted['timeout'])}s"} if central else {}),
        },
    }


def refuse_incomplete(wanted: Mapping[str, Any]) -> None:
    """Raise CommandError unless there is all that a join needs; an unpinned CA is never trusted."""
    needed = ["endpoint", "token", "ca_cert_hashes"]
    needed += ["authority", "config"] if wanted.get("control_plane") else []
    lacking = [name for name in needed if not wanted[name]]
    if lacking:
        raise CommandError(
            f"{wanted['node_name']} is not a member yet, and joining needs {', '.join(lacking)}: "
            "make them with kubeadm_token, and kubeadm_authority, on a control plane"
        )


def join(wanted: Mapping[str, Any], handle: int) -> None:
    """Run ``kubeadm join``; CommandError with its first error and the kubelet's journal when it fails."""
    if wanted.get("patches"):
        kubeadm.write_patches(PATCHES, wanted["patches"])
    if wanted.get("control_plane"):
        kubeadm.validate(wanted["config"], wanted["config_path"], check_mode=False)
        kubeadm.write_authority(wanted["authority"])
        kubeadm.close_etcd()
    files.put(CONFIG, json.dumps(configuration(wanted)), 0o600)
    Path(kubeadm.KUBELET_SETTINGS).mkdir(parents=True, exist_ok=True)  # the kubelet does not start without it
    STATIC_PODS.mkdir(parents=True, exist_ok=True)  # without it the kubelet logs an error every second
    try:
        command = [kubeadm.KUBEADM, "join", "--config", CONFIG]
        result = run(command, timeout=wanted["timeout"] + 60, pass_fds=(handle,))
    finally:
        files.remove(CONFIG)
    if result.rc != 0:
        raise CommandError(explained("kubeadm join failed", result, wanted))
    if wanted.get("control_plane") and kubeadm.control_plane() != kubeadm.COMPLETE:
        raise CommandError(explained("kubeadm join ended well, yet the control plane is not complete", result, wanted))
    if kubeadm.membership() != kubeadm.COMPLETE:
        raise CommandError(explained("kubeadm join ended well, yet the kubelet has no certificate", result, wanted))
    written.keep()


def explained(what: str, result: Result, wanted: Mapping[str, Any]) -> str:
    """Return a failure's message without the token."""
    return kubeadm.redact(kubeadm.explain(what, result), wanted["token"])


def work(wanted: Mapping[str, Any], check_mode: bool, handle: int) -> dict[str, Any]:
    """Make the host a member; return the module's answer."""
    found = kubeadm.membership()
    if found == kubeadm.COMPLETE:
        if wanted.get("control_plane") and kubeadm.control_plane() != kubeadm.COMPLETE:
            what = ", ".join(kubeadm.static_pods()) or "none"
            raise CommandError(
                "this host is already a member of a cluster, but not a whole control plane of it (static pods: "
                f"{what}); it is not touched. Take the node out of its cluster first"
            )
        return {"changed": False, "found": found, "actions": []}
    actions = ["kubeadm join"] if found == kubeadm.ABSENT else ["kubeadm reset", "kubeadm join"]
    if not check_mode:
        refuse_incomplete(wanted)
        if found == kubeadm.PARTIAL:
            clean(central=bool(wanted.get("control_plane")))
        join(wanted, handle)
    return {"changed": True, "found": found, "actions": actions}


def clean(*, central: bool) -> None:
    """Undo an interrupted join; CommandError on a host that runs a control plane and is to be a worker.

    What is ``central`` keeps what it was given for its load balancer, which runs before the join.
    """
    pods = kubeadm.static_pods()
    if pods and not central:
        raise CommandError(f"this host holds a control plane ({', '.join(pods)}), it does not become a worker")
    kept = {path: files.read(path) for path in KEPT if central}
    result = kubeadm.reset()
    if result.rc != 0:
        raise CommandError(kubeadm.explain("an interrupted kubeadm join could not be cleaned up", result))
    for path, text in kept.items():
        if text is not None:
            files.put(path, text, 0o600)


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "endpoint": {"type": "str"},
            "token": {"type": "str", "no_log": True},
            "ca_cert_hashes": {"type": "list", "elements": "str", "default": []},
            "node_name": {"type": "str", "required": True},
            "node_address": {"type": "str", "required": True},
            "labels": {"type": "dict", "default": {}},
            "taints": {"type": "list", "elements": "str", "default": []},
            "ignore_preflight_errors": {"type": "list", "elements": "str", "default": []},
            "kubelet_extra_args": {"type": "dict", "default": {}},
            "patches": {"type": "dict", "default": {}},
            "control_plane": {"type": "str"},
            "authority": {"type": "dict", "default": {}, "no_log": True},
            "config": {"type": "str"},
            "config_path": {"type": "path", "default": "/etc/kubernetes/kubeadm.yml"},
            "timeout": {"type": "int", "default": 180},
        },
        supports_check_mode=True,
    )
    try:
        with lock("kubeadm", module.params["timeout"], module.check_mode) as handle:
            module.exit_json(**work(module.params, module.check_mode, handle))
    except (CommandError, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
