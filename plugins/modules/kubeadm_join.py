#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_join
short_description: Make a host a worker of a cluster
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
from ansible_collections.kubesmith.cluster.plugins.module_utils import files, kubeadm
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, Result, lock, run

CONFIG = "/run/kubesmith-join.json"
PATCHES = Path("/etc/kubernetes/patches")
STATIC_PODS = Path("/etc/kubernetes/manifests")


def configuration(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JoinConfiguration (v1beta4) as a dictionary."""
    return {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "JoinConfiguration",
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
        },
    }


def refuse_incomplete(wanted: Mapping[str, Any]) -> None:
    """Raise CommandError unless there is all that a join needs; an unpinned CA is never trusted."""
    lacking = [name for name in ("endpoint", "token", "ca_cert_hashes") if not wanted[name]]
    if lacking:
        raise CommandError(
            f"{wanted['node_name']} is not a member yet, and joining needs {', '.join(lacking)}: "
            "make them with kubeadm_token on a control plane"
        )


def join(wanted: Mapping[str, Any], handle: int) -> None:
    """Run ``kubeadm join``; CommandError with its first error and the kubelet's journal when it fails."""
    if wanted.get("patches"):
        kubeadm.write_patches(PATCHES, wanted["patches"])
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
    if kubeadm.membership() != kubeadm.COMPLETE:
        raise CommandError(explained("kubeadm join ended well, yet the kubelet has no certificate", result, wanted))


def explained(what: str, result: Result, wanted: Mapping[str, Any]) -> str:
    """Return a failure's message without the token."""
    return kubeadm.redact(kubeadm.explain(what, result), wanted["token"])


def work(wanted: Mapping[str, Any], check_mode: bool, handle: int) -> dict[str, Any]:
    """Make the host a member; return the module's answer."""
    found = kubeadm.membership()
    if found == kubeadm.COMPLETE:
        return {"changed": False, "found": found, "actions": []}
    actions = ["kubeadm join"] if found == kubeadm.ABSENT else ["kubeadm reset", "kubeadm join"]
    if not check_mode:
        refuse_incomplete(wanted)
        if found == kubeadm.PARTIAL:
            clean()
        join(wanted, handle)
    return {"changed": True, "found": found, "actions": actions}


def clean() -> None:
    """Undo an interrupted join; CommandError on a host that runs a control plane."""
    pods = kubeadm.static_pods()
    if pods:
        raise CommandError(f"this host holds a control plane ({', '.join(pods)}), it does not become a worker")
    result = kubeadm.reset()
    if result.rc != 0:
        raise CommandError(kubeadm.explain("an interrupted kubeadm join could not be cleaned up", result))


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
