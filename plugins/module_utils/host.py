# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Host preparation: the texts that it wants, worked out from the texts that are there. Pure."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional

BEGIN = "# BEGIN kubesmith kubeadm cluster"
END = "# END kubesmith kubeadm cluster"
BRIDGE_SYSCTLS = {"net.bridge.bridge-nf-call-iptables": "1", "net.bridge.bridge-nf-call-ip6tables": "1"}
MANAGED = "# Managed by kubesmith.\n"


def default_sysctls(modules: Container[str]) -> dict[str, str]:
    """Return the sysctls that Kubernetes wants; those of bridges only where br_netfilter provides them."""
    wanted = {"net.ipv4.ip_forward": "1"}
    return dict(wanted, **BRIDGE_SYSCTLS) if "br_netfilter" in modules else wanted


def fstab_without_swap(text: str) -> str:
    """Return ``text`` of /etc/fstab with each swap line turned into a comment."""
    return "".join("# swap off: " + line if _is_swap(line) else line for line in text.splitlines(keepends=True))


def fstab_with_swap(text: str) -> str:
    """Return ``text`` of /etc/fstab with the swap lines that ``fstab_without_swap`` turned off."""
    return re.sub(r"^# swap off: ", "", text, flags=re.MULTILINE)


def _is_swap(line: str) -> bool:
    fields = line.split("#", 1)[0].split()
    return len(fields) >= 3 and fields[2] == "swap"


def active_swaps(proc_swaps: str) -> list[str]:
    """Return the devices and files of /proc/swaps."""
    return [line.split()[0] for line in proc_swaps.splitlines()[1:] if line.strip()]


def modules_text(modules: Sequence[str]) -> Optional[str]:
    """Return the content of a modules-load.d file, or None when it should not exist."""
    return MANAGED + "".join(f"{name}\n" for name in modules) if modules else None


def sysctl_text(sysctls: Mapping[str, Any]) -> Optional[str]:
    """Return the content of a sysctl.d file, or None when it should not exist."""
    return MANAGED + "".join(f"{key} = {value}\n" for key, value in sorted(sysctls.items())) if sysctls else None


def sysctl_path(key: str) -> str:
    """Return the file below /proc/sys of a sysctl; a slash form keeps dots inside names (interfaces)."""
    return "/proc/sys/" + (key if "/" in key else key.replace(".", "/"))


def same_value(live: str, wanted: Any) -> bool:
    """Tell whether two sysctl values are equal; the kernel separates several numbers by tabs."""
    return live.split() == str(wanted).split()


def hosts_text(text: str, hosts: Mapping[str, str]) -> str:
    """Return /etc/hosts with one block of ours; ``hosts`` is {name: address}.

    A name in the block appears on no other line: resolvers take the first one, and distributions write
    ``127.0.1.1 HOSTNAME`` there, which the kubelet must not find. Without hosts the block goes.
    """
    others = [_without(line, hosts) for line in _outside_block(text.splitlines())]
    kept = [line for line in others if line is not None]
    while kept and not kept[-1].strip():
        kept.pop()
    block = [BEGIN, *(f"{address}\t{name}" for name, address in hosts.items()), END] if hosts else []
    return "\n".join(kept + block) + "\n" if kept or block else ""


def block(text: str) -> dict[str, str]:
    """Return {name: address} of our block in the text of /etc/hosts, empty where there is none."""
    inside = text.partition(BEGIN + "\n")[2].partition(END)[0]
    return {name: address for address, name in (line.split() for line in inside.splitlines())}


def _outside_block(lines: Iterable[str]) -> Iterator[str]:
    inside = False
    for line in lines:
        if line.strip() == BEGIN:
            inside = True
        elif line.strip() == END:
            inside = False
        elif not inside:
            yield line


def _without(line: str, names: Container[str]) -> Optional[str]:
    """Return a hosts line without ``names``, untouched if it has none, None if nothing but its address is left."""
    content, mark, comment = line.partition("#")
    fields = content.split()
    left = [name for name in fields[1:] if name not in names]
    if len(left) == len(fields[1:]):
        return line
    if not left:
        return None
    return "\t".join([fields[0], " ".join(left)]) + (f" {mark}{comment}" if mark else "")
