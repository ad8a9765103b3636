#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_init
short_description: Make a host the first control plane of a cluster
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Runs C(kubeadm init), and finishes what an interrupted run left.
  - A complete control plane is never reset. Its API server is waited for, and missing addons are installed.
  - A control plane that C(kubeadm init) never completed is reset and initialised again.
options:
  config:
    description:
      - kubeadm's configuration, YAML documents of C(kubeadm.k8s.io/v1beta4) and component configurations.
      - It is checked by C(kubeadm config validate) first.
      - On a complete control plane a different configuration is not applied; a warning and the diff say so.
    type: str
    required: true
  path:
    description: Where the configuration is kept on the host.
    type: path
    default: /etc/kubernetes/kubeadm.yml
  patches:
    description:
      - Patches of what kubeadm deploys, each by the name of its file without the suffix.
      - They are the only files of O(patches_folder), which O(config) must name.
    type: dict
    default: {}
  patches_folder:
    description: Where the patches are kept on the host.
    type: path
    default: /etc/kubernetes/patches
  encryption:
    description:
      - Where an EncryptionConfiguration with a random key of its own is kept on the host. One that is there stays.
      - The API server must be told of it in O(config). If left out, none is written.
    type: path
  addresses:
    description:
      - Addresses of all control planes that are among the C(certSANs) of O(config). They come and go with the nodes, so
        that a difference in them alone is none.
    type: list
    elements: str
    default: []
  restore:
    description:
      - Begin with the data and the keys of a backup. A host that is a member already is refused.
      - Every other node that the data knows counts as lost until it answers.
    type: dict
    suboptions:
      archive:
        description: The parts of the backup on the host, as the wrapper packs them.
        type: path
        required: true
      node_name:
        description: Name of the node, which is the name of its etcd member.
        type: str
        required: true
      node_address:
        description: Address at which other members would reach its etcd.
        type: str
        required: true
  timeout:
    description: Seconds that C(kubeadm init), or the API server of a complete control plane, may take.
    type: int
    default: 300
attributes:
  check_mode:
    support: full
    description: Says what would be done; validates the configuration where kubeadm is installed.
  diff_mode:
    support: full
    description: Shows the configuration.
"""

EXAMPLES = r"""
- name: Initialise the cluster
  kubesmith.cluster.kubeadm_init:
    config: "{{ lookup('ansible.builtin.template', 'kubeadm.yml.j2') }}"
"""

RETURN = r"""
found:
  description: How far the host was a control plane before, V(absent), V(partial) or V(complete).
  type: str
  returned: always
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
  sample: ["kubeadm init"]
"""

import base64
import json
import os
import re
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import files, kubeadm, restoring, written
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import Api, ApiError
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, Result, lock, run

RESTORE = {"archive": "path", "node_name": "str", "node_address": "str"}


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "str", "required": True},
            "path": {"type": "path", "default": "/etc/kubernetes/kubeadm.yml"},
            "patches": {"type": "dict", "default": {}},
            "patches_folder": {"type": "path", "default": "/etc/kubernetes/patches"},
            "encryption": {"type": "path"},
            "addresses": {"type": "list", "elements": "str", "default": []},
            "restore": {
                "type": "dict",
                "options": {name: {"type": kind, "required": True} for name, kind in RESTORE.items()},
            },
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    try:
        with lock("kubeadm", module.params["timeout"], module.check_mode) as handle:
            module.exit_json(**work(module, handle))
    except (CommandError, OSError) as error:
        module.fail_json(msg=str(error))


def work(module: AnsibleModule, handle: int) -> dict[str, Any]:
    """Bring the control plane to complete; return the module's answer."""
    config, path, timeout = (module.params[key] for key in ("config", "path", "timeout"))
    before = files.read(path)
    same = kubeadm.without_addresses(before or "", config, module.params["addresses"]) == config
    diff = [] if same else [files.difference(path, before, config)]
    restore = module.params["restore"]
    member, found = kubeadm.membership(), kubeadm.control_plane()
    if member == kubeadm.COMPLETE and restore:
        raise CommandError("this host is a member of a cluster already: no backup is restored over it here")
    if member == kubeadm.COMPLETE:
        refuse_another_endpoint(before or "", config, module.params["addresses"])
        actions = finish(found, path, timeout, module.check_mode, handle)
        if diff:
            module.warn(f"{path}: the configuration differs from the one of the running cluster; it was not applied")
        return {"changed": bool(actions), "found": found, "actions": actions, "diff": diff}
    actions = ["kubeadm init"] if member == kubeadm.ABSENT else ["kubeadm reset", "kubeadm init"]
    kubeadm.validate(config, path, module.check_mode)
    if restore:
        actions.insert(-1, "restore etcd's data and the cluster's keys")
    if not module.check_mode:
        if member == kubeadm.PARTIAL:
            clean()
        if restore:
            restoring.seed(**{key: restore[f"node_{key}"] for key in ("name", "address")}, archive=restore["archive"])
        if module.params["encryption"]:
            write_encryption(Path(module.params["encryption"]))
        kubeadm.write_patches(Path(module.params["patches_folder"]), module.params["patches"])
        init(path, timeout, handle, restored=bool(restore))
        if restore:
            restoring.forget_heartbeats(restore["node_name"])
    return {"changed": True, "found": found, "actions": actions, "diff": diff}


def refuse_another_endpoint(before: str, config: str, addresses: Collection[str]) -> None:
    """Raise CommandError where several control planes are wanted and the nodes' way leads to a single one of them."""
    old, new = (re.search(r"^controlPlaneEndpoint: (\S+)$", text, re.MULTILINE) for text in (before, config))
    if old and new and old.group(1) != new.group(1) and len(addresses) > 1:
        raise CommandError(
            f"the nodes of this cluster reach the API server at {old.group(1)}, and {len(addresses)} control planes "
            f"are to share {new.group(1)}: a cluster that is to grow is made with an address to share (cluster.vip or "
            "cluster.endpoint), also while it has one control plane. Nothing was changed"
        )


def write_encryption(path: Path) -> None:
    """Write an EncryptionConfiguration with a new key, unless there is one: without its key, data is lost."""
    if path.exists():
        return
    key = {"name": "key1", "secret": base64.b64encode(os.urandom(32)).decode()}
    config = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": [{"secretbox": {"keys": [key]}}, {"identity": {}}]}],
    }
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.put(path, json.dumps(config, indent=2) + "\n", 0o600)


def finish(found: str, path: str, timeout: int, check_mode: bool, handle: int) -> list[str]:
    """Wait for a complete control plane's API server and install missing addons; return what was done."""
    if found != kubeadm.COMPLETE:
        raise CommandError(
            "this host is already a member of a cluster, but not a whole control plane of it "
            f"(static pods: {', '.join(kubeadm.static_pods()) or 'none'}); it is not touched. "
            "Restore /etc/kubernetes/manifests, or take the node out of its cluster first"
        )
    if not check_mode:
        wait_for_api(timeout)
    missing = missing_addons()
    for name in missing if not check_mode else []:
        phase = ["init", "phase", "addon", name, "--config", path]
        result = run([kubeadm.KUBEADM, *phase], timeout=timeout, pass_fds=(handle,))
        if result.rc != 0:
            raise CommandError(kubeadm.explain(f"kubeadm {' '.join(phase)} failed", result))
    return [f"kubeadm init phase addon {name}" for name in missing]


def wait_for_api(timeout: int) -> None:
    """Return when the API server is ready; CommandError after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            Api(timeout=10).get("/readyz")
            break
        except ApiError as error:
            if time.monotonic() > deadline:
                what = f"the control plane is complete, but its API server was not ready within {timeout} s"
                raise CommandError(kubeadm.explain(f"{what}; it is not reset", Result(0, str(error), ""))) from error
        time.sleep(1)


def missing_addons() -> list[str]:
    """Return which of kubeadm's two addons the cluster lacks; none where the API does not answer."""
    folder = "/apis/apps/v1/namespaces/kube-system"
    paths = {"coredns": f"{folder}/deployments/coredns", "kube-proxy": f"{folder}/daemonsets/kube-proxy"}
    try:
        api = Api()
        return [name for name, path in paths.items() if api.find(path) is None]
    except ApiError:
        return []


def node_names() -> list[str]:
    """Return the names of the cluster's nodes; none where the API does not answer."""
    try:
        return [item["metadata"]["name"] for item in Api(timeout=5).get("/api/v1/nodes")["items"]]
    except ApiError:
        return []


def clean() -> None:
    """Reset a control plane that was never completed; CommandError where it seems to be somebody's after all."""
    others = node_names()[1:]
    if others:
        raise CommandError(
            "kubeadm init was never completed here according to /etc/kubernetes/kubelet.conf, and yet the API server "
            f"knows further nodes ({', '.join(others)}); it is not reset"
        )
    result = kubeadm.reset()
    if result.rc != 0:
        raise CommandError(kubeadm.explain("an interrupted kubeadm init could not be cleaned up", result))


def init(path: str, timeout: int, handle: int, *, restored: bool = False) -> None:
    """Run ``kubeadm init``; CommandError with its first error and the kubelet's journal when it fails."""
    Path(kubeadm.KUBELET_SETTINGS).mkdir(parents=True, exist_ok=True)  # the kubelet does not start without it
    kubeadm.close_etcd()
    allowed = ["--ignore-preflight-errors=DirAvailable--var-lib-etcd"] if restored else []
    result = run([kubeadm.KUBEADM, "init", "--config", path, *allowed], timeout=timeout + 120, pass_fds=(handle,))
    if result.rc != 0:
        raise CommandError(kubeadm.explain("kubeadm init failed", result))
    if kubeadm.control_plane() != kubeadm.COMPLETE:
        raise CommandError(kubeadm.explain("kubeadm init ended well, yet the control plane is not complete", result))
    written.keep()


if __name__ == "__main__":
    main()
