#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: node_take_over
short_description: Let the bundle's units start containerd and the kubelet of a node that other hands set up
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Moves aside, to C(/var/lib/kubesmith/replaced), unit files in C(/etc/systemd/system) that would hide the bundle's,
    and those additions to them that say how the program is started.
  - Units of packages are left in place; the bundle's come before them. Nothing is stopped or started.
attributes:
  check_mode:
    support: full
    description: Says what would be moved.
  diff_mode:
    support: none
    description: Files are moved, their content stays.
"""

EXAMPLES = r"""
- name: Let the bundle's units start containerd and the kubelet
  kubesmith.cluster.node_take_over:
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
  sample: ["move /etc/systemd/system/kubelet.service to /var/lib/kubesmith/replaced"]
"""

import re
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import files
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, must

FOLDER = "/etc/systemd/system"
ASIDE = "/var/lib/kubesmith/replaced"
UNITS = ("containerd", "kubelet")


def hiding(root: str = "/") -> list[str]:
    """Return the files that hide the bundle's units: units of their name, and additions with another ExecStart."""
    found = []
    for name in UNITS:
        unit = Path(root + FOLDER) / f"{name}.service"
        found += [unit] if unit.is_file() and not unit.is_symlink() else []
        for part in sorted(Path(f"{unit}.d").glob("*.conf")):
            if part.name == "10-kubeadm.conf" or re.search(r"^ExecStart=", files.read(part) or "", re.MULTILINE):
                found.append(part)
    return [f"/{path.relative_to(root)}" for path in found]


def move(path: str) -> None:
    """Move a file aside; a unit is no longer enabled by its place."""
    if path.endswith(".service"):
        must(["systemctl", "--no-reload", "disable", Path(path).name], timeout=60)
    target = Path(ASIDE) / path.strip("/").replace("/", "%")
    files.put(target, files.read(path) or "", 0o600)
    files.remove(path)


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    found = hiding()
    try:
        for path in found if not module.check_mode else []:
            move(path)
    except (CommandError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(found), actions=[f"move {path} to {ASIDE}" for path in found])


if __name__ == "__main__":
    main()
