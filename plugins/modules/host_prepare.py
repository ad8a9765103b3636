#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: host_prepare
short_description: Make a host fit for a kubelet
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Swap, kernel modules, sysctls and C(/etc/hosts), each as it is now and as it will be after a reboot, in one call.
  - What already is as wanted is left alone.
options:
  swap:
    description:
      - V(disable) turns swap off now, comments it out in C(/etc/fstab) and masks every swap unit.
      - V(keep) leaves swap as it is; the kubelet then needs O(swap) in its own configuration.
    type: str
    choices: [disable, keep]
    default: disable
  modules:
    description: Kernel modules to load now and at boot. A host that shares its kernel (a container) takes none.
    type: list
    elements: str
    default: [overlay, br_netfilter]
  sysctls:
    description:
      - Kernel parameters, set now and at boot.
      - By default C(net.ipv4.ip_forward), and C(net.bridge.bridge-nf-call-iptables) and C(-ip6tables) where O(modules)
        holds C(br_netfilter).
    type: dict
  hosts:
    description:
      - Names and addresses for C(/etc/hosts), each name with its address.
      - They are kept in one block, and taken off every other line, so that a host's own name is its node address.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: Says what would change.
  diff_mode:
    support: full
    description: Shows each file, and each live value, before and after.
"""

EXAMPLES = r"""
- name: Prepare a host
  kubesmith.cluster.host_prepare:
    hosts: {cp1: 192.168.10.11, w1: 192.168.10.21}

- name: Prepare a container that is a node
  kubesmith.cluster.host_prepare:
    swap: keep
    modules: []
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be, one line each.
  type: list
  elements: str
  returned: always
  sample: ["load kernel module br_netfilter", "net.ipv4.ip_forward: 0 → 1"]
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import before, files, host
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, must, run

FSTAB = "/etc/fstab"
HOSTS = "/etc/hosts"
MODULES_LOAD = "/etc/modules-load.d/kubesmith.conf"
SYSCTL = "/etc/sysctl.d/99-zz-kubesmith.conf"  # after 99-sysctl.conf, which is /etc/sysctl.conf


class Preparation:
    """Collects what has to change, and changes it unless in check mode."""

    def __init__(self, check_mode: bool) -> None:
        self.check_mode = check_mode
        self.actions: list[str] = []
        self.diff: list[files.Difference] = []

    def do(self, text: str, action: Callable[[], Any]) -> None:
        """Note ``text`` and, outside check mode, run ``action``."""
        self.actions.append(text)
        if not self.check_mode:
            action()

    def file(self, path: str, wanted: Optional[str]) -> None:
        """Give ``path`` the text ``wanted``, or remove it for None."""
        before = files.read(path)
        if before == wanted:
            return
        self.diff.append(files.difference(path, before, wanted))
        if wanted is None:
            self.do(f"remove {path}", partial(files.remove, path))
        else:
            self.do(f"write {path}", partial(files.put, path, wanted, files.mode_of(path) or 0o644))

    def swap(self) -> None:
        """Turn swap off, now and at boot."""
        active = host.active_swaps(files.read("/proc/swaps") or "")
        if active:
            self.do(f"swap off: {', '.join(active)}", partial(must, ["swapoff", "--all"], timeout=300))
        fstab = files.read(FSTAB)
        if fstab is not None:
            self.file(FSTAB, host.fstab_without_swap(fstab))
        for unit in swap_units():
            self.do(f"mask {unit}", partial(must, ["systemctl", "mask", "--now", unit], timeout=60))

    def modules(self, names: Sequence[str]) -> None:
        """Load kernel modules, now and at boot."""
        for name in names:
            if not module_present(name):
                self.do(f"load kernel module {name}", partial(must, ["modprobe", name], timeout=60))
        self.file(MODULES_LOAD, host.modules_text(names))

    def sysctls(self, wanted: Mapping[str, Any]) -> None:
        """Set sysctls, now and at boot."""
        self.file(SYSCTL, host.sysctl_text(wanted))
        for key, value in sorted(wanted.items()):
            self.sysctl(key, value)

    def sysctl(self, key: str, value: Any) -> None:
        """Set one live sysctl."""
        path = host.sysctl_path(key)
        live = files.read(path)
        if live is None and not self.check_mode:
            raise CommandError(f"this kernel has no sysctl {key}: a kernel module is missing, or the name is wrong")
        if live is None or not host.same_value(live, value):
            shown = "absent" if live is None else live.strip()
            self.diff.append(files.difference(key, f"{shown}\n", f"{value}\n"))
            self.do(f"{key}: {shown} → {value}", partial(write_sysctl, path, key, value))


def swap_units() -> list[str]:
    """Return the swap units that systemd would start again at boot (fstab, GPT, zram), masked ones left out."""
    listing = run(["systemctl", "list-units", "--type=swap", "--all", "--plain", "--no-legend"], timeout=30)
    rows = [line.split() for line in listing.out.splitlines()]
    return sorted(row[0] for row in rows if len(row) > 3 and row[0].endswith(".swap") and row[1] == "loaded")


def module_present(name: str) -> bool:
    """Tell whether a kernel module is loaded or built in (which may leave no trace in /sys/module)."""
    name = name.replace("-", "_")
    if Path(f"/sys/module/{name}").is_dir():
        return True
    built_in = files.read(f"/lib/modules/{os.uname().release}/modules.builtin") or ""
    return any(line.rsplit("/", 1)[-1].replace("-", "_") == f"{name}.ko" for line in built_in.splitlines())


def write_sysctl(path: str, key: str, value: Any) -> None:
    """Set a live sysctl; CommandError where the kernel refuses."""
    try:
        Path(path).write_text(str(value), encoding="ascii")
    except OSError as error:
        raise CommandError(f"the kernel refused {key} = {value}: {error.strerror}") from error


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "swap": {"type": "str", "choices": ["disable", "keep"], "default": "disable"},
            "modules": {"type": "list", "elements": "str", "default": ["overlay", "br_netfilter"]},
            "sysctls": {"type": "dict"},
            "hosts": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    sysctls = wanted["sysctls"]
    if sysctls is None:
        sysctls = host.default_sysctls(wanted["modules"])
    todo = Preparation(module.check_mode)
    try:
        if not module.check_mode:
            units = swap_units() if wanted["swap"] == "disable" else []
            before.note([FSTAB, HOSTS, MODULES_LOAD, SYSCTL], sysctls, units)
        if wanted["swap"] == "disable":
            todo.swap()
        todo.modules(wanted["modules"])
        todo.sysctls(sysctls)
        hosts = files.read(HOSTS) or ""
        todo.file(HOSTS, host.hosts_text(hosts, wanted["hosts"]) if wanted["hosts"] or host.BEGIN in hosts else hosts)
    except (CommandError, OSError) as error:
        module.fail_json(msg=f"host preparation: {error}", actions=todo.actions)
    module.exit_json(changed=bool(todo.actions), actions=todo.actions, diff=todo.diff)


if __name__ == "__main__":
    main()
