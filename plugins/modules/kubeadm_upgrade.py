#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_upgrade
short_description: Bring what kubeadm manages on a node to another version
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - On the control plane that is the first to be upgraded C(kubeadm upgrade apply), on the others and on workers
    C(kubeadm upgrade node). Which of them it is, is read from the cluster's own configuration.
  - kubeadm itself must be of the new version, and the new images must have been imported; both are checked before
    anything is touched. The kubelet's program is not replaced here.
  - An interrupted kubeadm is waited for or run again; a node whose kubelet is of the new version is done.
options:
  version:
    description: The Kubernetes version that is wanted.
    type: str
    required: true
  image_repository:
    description: Registry part of the new images' names; the cluster's configuration is changed to it (empty, it stays).
    type: str
    default: ""
  patches_folder:
    description: Where kubeadm's patches are kept on the host, if there are any.
    type: path
    default: /etc/kubernetes/patches
  config:
    description: The configuration of C(kubeadm init), if it is kept on the host; the version in it follows.
    type: path
    default: /etc/kubernetes/kubeadm.yml
  ignore_preflight_errors:
    description: Checks of kubeadm to pass over.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds that each static pod may take to start anew.
    type: int
    default: 300
attributes:
  check_mode:
    support: full
    description: Says what would be run.
  diff_mode:
    support: none
    description: There is no content to compare.
"""

EXAMPLES = r"""
- name: Upgrade the control plane
  kubesmith.cluster.kubeadm_upgrade:
    version: 1.37.2
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
  sample: ["kubeadm upgrade apply v1.37.2"]
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import files, images, kubeadm, node, upgrade, written
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import MERGE, Api, ApiError
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, lock, must, run

CONFIG = "/run/kubesmith-upgrade.json"
CONFIG_MAP = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
PARTS = 5  # static pods that kubeadm restarts, and the work between


def configuration(wanted: Mapping[str, Any], has_patches: bool) -> dict[str, Any]:
    """Return kubeadm's UpgradeConfiguration (v1beta4) as a dictionary."""
    common: dict[str, Any] = {
        "imagePullPolicy": "Never",  # the bundle's images are imported, and no registry serves them
        "ignorePreflightErrors": list(wanted["ignore_preflight_errors"]),
        **({"patches": {"directory": wanted["patches_folder"]}} if has_patches else {}),
    }
    return {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "UpgradeConfiguration",
        "apply": {**common, "kubernetesVersion": f"v{wanted['version']}"},
        "node": common,
        "timeouts": {"upgradeManifests": f"{wanted['timeout']}s"},
    }


def command(is_plane: bool, configured: str, version: str) -> list[str]:
    """Return kubeadm's words: the first control plane carries the whole cluster along, the others follow."""
    if is_plane and configured != version:
        return ["upgrade", "apply", "--yes"]
    return ["upgrade", "node"]


def done(version: str) -> bool:
    """Tell whether this node went through: its kubelet is replaced only after kubeadm has ended well."""
    if node.version(node.VERSION_COMMANDS["kubelet"]) != version:
        return False
    static = {name: upgrade.tag(image) for name, image in upgrade.static_images().items() if name != "etcd"}
    return set(static.values()) <= {f"v{version}"}


def configured() -> tuple[str, str]:
    """Return the version and the image repository that the cluster's own configuration says."""
    text = Api(server=upgrade.local_server()).get(CONFIG_MAP)["data"]["ClusterConfiguration"]
    return upgrade.setting(text, "kubernetesVersion").removeprefix("v"), upgrade.setting(text, "imageRepository")


def take_images_from(repository: str) -> None:
    """Write the image repository into the cluster's configuration."""
    api = Api(server=upgrade.local_server())
    text = api.get(CONFIG_MAP)["data"]["ClusterConfiguration"]
    text = re.sub(r"^imageRepository:.*$", f"imageRepository: {repository}", text, flags=re.MULTILINE)
    api.request("PATCH", CONFIG_MAP, {"data": {"ClusterConfiguration": text}}, MERGE)


def refuse_unready(wanted: Mapping[str, Any], is_plane: bool, repository: str) -> None:
    """Raise CommandError unless kubeadm is of the new version, and each image that will be started is here."""
    own = node.version(node.VERSION_COMMANDS["kubeadm"])
    if own != wanted["version"]:
        raise CommandError(f"kubeadm here is {own or 'absent'}, and {wanted['version']} is wanted: install it first")
    if not is_plane:
        return
    listing = [kubeadm.KUBEADM, "config", "images", "list", f"--kubernetes-version=v{wanted['version']}"]
    needed = must([*listing, f"--image-repository={repository}"], timeout=60).split()
    present = images.parse_images(must([upgrade.images_ctr(), "-n", "k8s.io", "images", "ls"], timeout=60))[0]
    absent = [image for image in needed if image not in present]
    if absent:
        raise CommandError(f"images are not in containerd: {', '.join(absent)}; import them first")


def has_patches(folder: str) -> bool:
    """Tell whether there is a patch for kubeadm."""
    return Path(folder).is_dir() and any(Path(folder).iterdir())


def work(wanted: Mapping[str, Any], check_mode: bool, handle: int) -> list[str]:
    """Bring the node to the version; return what was done."""
    if kubeadm.membership() != kubeadm.COMPLETE:
        raise CommandError("this host is no member of a cluster: build it first")
    actions = follow(wanted, check_mode)
    if done(wanted["version"]):
        return actions
    is_plane = bool(kubeadm.static_pods())
    version, repository = configured() if is_plane else ("", "")
    words = command(is_plane, version, wanted["version"])
    new = wanted["image_repository"] or repository
    if not check_mode:
        refuse_unready(wanted, is_plane, new)
    if is_plane and new != repository:
        actions.append(f"take images from {new}, and no longer from {repository}")
        if not check_mode:
            take_images_from(new)
    actions.append(f"kubeadm {' '.join(words)}")
    if not check_mode:
        execute(wanted, words, handle)
    return actions


def execute(wanted: Mapping[str, Any], words: list[str], handle: int) -> None:
    """Run kubeadm; CommandError with its first error and the kubelet's journal when it fails."""
    written.forget()
    files.put(CONFIG, json.dumps(configuration(wanted, has_patches(wanted["patches_folder"]))), 0o600)
    try:
        whole = [kubeadm.KUBEADM, *words, "--config", CONFIG]
        result = run(whole, timeout=wanted["timeout"] * PARTS, pass_fds=(handle,))
    finally:
        files.remove(CONFIG)
    if result.rc != 0:
        raise CommandError(kubeadm.explain(f"kubeadm {' '.join(words)} failed", result))
    written.keep()


def follow(wanted: Mapping[str, Any], check_mode: bool) -> list[str]:
    """Have the configuration of kubeadm init, which is kept here, name the version; return what was done."""
    before = files.read(wanted["config"])
    if before is None:
        return []
    after = re.sub(r"^kubernetesVersion: .*$", f"kubernetesVersion: v{wanted['version']}", before, flags=re.MULTILINE)
    if after == before:
        return []
    if not check_mode:
        files.put(wanted["config"], after, 0o600)
    return [f"{wanted['config']}: kubernetesVersion v{wanted['version']}"]


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "version": {"type": "str", "required": True},
            "image_repository": {"type": "str", "default": ""},
            "patches_folder": {"type": "path", "default": "/etc/kubernetes/patches"},
            "config": {"type": "path", "default": "/etc/kubernetes/kubeadm.yml"},
            "ignore_preflight_errors": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        with lock("kubeadm", wanted["timeout"] * PARTS, module.check_mode) as handle:
            actions = work(wanted, module.check_mode, handle)
    except (CommandError, ApiError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(actions), actions=actions)


if __name__ == "__main__":
    main()
