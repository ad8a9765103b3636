#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_files
short_description: Install a bundle's files on a node
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Installs programs, units and small configuration files of a bundle, each checked by its sha256 and replaced whole.
  - Files that the node cannot see below O(root) are sent over the Ansible connection, only those that it needs.
options:
  bundle:
    description: Folder of the bundle on the controller; its C(bundle.json) says what there is.
    type: path
    required: true
  sets:
    description: File sets to install.
    type: list
    elements: str
    required: true
  names:
    description: Only the files of these names, such as V(kubeadm); all of the sets by default.
    type: list
    elements: str
    default: []
  upgrade:
    description:
      - Whether a member of a cluster may be given another Kubernetes version than it runs. Without it that is refused,
        since an upgrade has an order of its own.
    type: bool
    default: false
  root:
    description: Where the node sees the bundle, if it does.
    type: path
    default: /var/lib/kubesmith/bundle
  incoming:
    description: Where sent files are kept until they are installed.
    type: path
    default: /var/lib/kubesmith/incoming
  files:
    description: Set by the action plugin, the rows of the bundle.
    type: list
    elements: dict
  arch:
    description: Set by the action plugin, the architecture of the bundle.
    type: str
  kubernetes:
    description: Set by the action plugin, the Kubernetes version of the bundle.
    type: str
    default: ""
  folder:
    description: Set by the action plugin, the name of the bundle's folder.
    type: str
    default: ""
  digest:
    description: Set by the action plugin, the digest of the bundle.
    type: str
    default: ""
  pushed:
    description: Set by the action plugin, files that were sent, each sha256 with its path.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: Says what would be installed; sends nothing.
  diff_mode:
    support: full
    description: Shows the digest of each file before and after.
"""

EXAMPLES = r"""
- name: Install containerd
  kubesmith.cluster.bundle_files:
    bundle: ~/.cache/kubesmith/bundle/current
    sets: [runtime]
"""

RETURN = r"""
installed:
  description: Paths that were installed, or in check mode would be.
  type: list
  elements: str
  returned: always
sent:
  description: How many files the node lacked and got over the connection.
  type: int
  returned: when files were sent
"""

import os
from pathlib import Path
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import before, bundle, files, kubeadm, node
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, lock


def wrong(row: bundle.Row) -> Optional[tuple[str, str]]:
    """Return (what is in place, what should be) of a file, or None where it is right."""
    path, mode = row["install"], int(row["mode"], 8)
    seen = files.sha256(path)
    if seen == row["sha256"] and allows(files.mode_of(path) or 0, mode) and not Path(path).is_symlink():
        return None
    before = "absent" if seen is None else f"sha256 {seen}, mode {files.mode_of(path):04o}"
    return before, f"sha256 {row['sha256']}, mode {mode:04o}"


def allows(seen: int, mode: int) -> bool:
    """Tell whether a mode is the wanted one, or was made stricter towards everybody but the owner."""
    return seen & 0o700 == mode & 0o700 and not seen & ~mode


def install(row: bundle.Row, source: Optional[Path], incoming: str) -> None:
    """Put one file in place; BundleError if the bundle's copy is not what its description says."""
    if source is None or not files.copy_checked(source, row["install"], row["sha256"], int(row["mode"], 8)):
        raise bundle.BundleError(
            f"{source} is not the file that bundle.json describes (sha256 {row['sha256']}): "
            "the bundle was changed or damaged; build it again"
        )
    bundle.place(incoming, row["sha256"]).unlink(missing_ok=True)


def refuse_other_version(version: str) -> None:
    """Raise BundleError where this node is a member of a cluster, and runs another Kubernetes version."""
    if not version or kubeadm.membership() != kubeadm.COMPLETE:
        return
    seen = node.version(node.VERSION_COMMANDS["kubelet"])
    if seen and seen != version:
        raise bundle.BundleError(
            f"this node runs Kubernetes {seen}, and the bundle is for {version}: nothing was installed. "
            f"Bring the cluster there with runner.py upgrade --to {version}, or set cluster.kubernetes to {seen}"
        )


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "bundle": {"type": "path", "required": True},
            "sets": {"type": "list", "elements": "str", "required": True},
            "names": {"type": "list", "elements": "str", "default": []},
            "upgrade": {"type": "bool", "default": False},
            "root": {"type": "path", "default": bundle.ROOT},
            "incoming": {"type": "path", "default": bundle.INCOMING},
            "files": {"type": "list", "elements": "dict"},
            "arch": {"type": "str"},
            "kubernetes": {"type": "str", "default": ""},
            "folder": {"type": "str", "default": ""},
            "digest": {"type": "str", "default": ""},
            "pushed": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    wanted["root"] = bundle.seen(wanted["root"], wanted["folder"], wanted["digest"])
    try:
        bundle.refuse_other_machine(os.uname().machine, wanted["arch"])
        with lock("files", 300, module.check_mode):
            module.exit_json(**work(wanted, module.check_mode))
    except (bundle.BundleError, CommandError, OSError) as error:
        module.fail_json(msg=str(error))


def work(wanted: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Install what is wrong; return the module's answer, with ``missing`` when the node lacks sources."""
    bundle.accept(wanted["pushed"], wanted["incoming"])
    todo = [(row, found) for row, found in ((row, wrong(row)) for row in wanted["files"]) if found]
    if todo and not wanted["upgrade"]:
        refuse_other_version(wanted["kubernetes"])
    sources = {
        row["path"]: bundle.find(wanted["root"], wanted["incoming"], row["path"], row["sha256"]) for row, _state in todo
    }
    missing = {row["sha256"]: row["path"] for row, _state in todo if sources[row["path"]] is None}
    answer = {
        "changed": bool(todo),
        "installed": [row["install"] for row, _state in todo],
        "diff": files.rows_difference("installed files", {row["install"]: found for row, found in todo}),
    }
    if check_mode:
        return answer
    if missing:
        return {"changed": False, "missing": missing}
    before.note([row["install"] for row, _state in todo])
    for row, _state in todo:
        install(row, sources[row["path"]], wanted["incoming"])
    return answer


if __name__ == "__main__":
    main()
