# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What a node is: its system, its network, and what of a cluster is on it. Reads, never writes."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils import (
    host,
    host_firewall,
    kubeadm,
    systemd,
    written,
)
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import run

VERSION_COMMANDS = {
    "containerd": ["/usr/local/bin/containerd", "--version"],
    "runc": ["/usr/local/bin/runc", "--version"],
    "kubelet": ["/usr/local/bin/kubelet", "--version"],
    "kubeadm": ["/usr/local/bin/kubeadm", "version", "--output=short"],
}


def gather(versions: bool = False) -> dict[str, Any]:
    """Return the whole state of this node; ``versions`` also asks each program for its version, which takes longer."""
    facts = system()
    facts.update(
        interfaces=interfaces(run(["ip", "-json", "address"], timeout=20).out),
        swap=host.active_swaps(_text("/proc/swaps")),
        tunnels={name: tunnel_driver(name) for name in ("vxlan", "ipip")},
        services={name: service(name) for name in ("containerd", "kubelet")},
        timers=timers(),
        member=kubeadm.membership(),
        control_plane=kubeadm.control_plane(),
        firewall=Path(host_firewall.FILE).exists(),
    )
    facts["edited"] = written.edited()
    facts["foreign"] = foreign() if facts["member"] == kubeadm.COMPLETE else {}
    if versions:
        facts["versions"] = {name: version(args) for name, args in VERSION_COMMANDS.items()}
    return facts


def system() -> dict[str, Any]:
    """Return what kind of machine and operating system this is."""
    release = os_release(_text("/etc/os-release"))
    return {
        "hostname": platform.node(),
        "os": {"id": release.get("ID", ""), "version": release.get("VERSION_ID", "")},
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "memory_mib": memory_mib(_text("/proc/meminfo")),
        "systemd": Path("/run/systemd/system").is_dir(),
        "cgroups": "v2" if Path("/sys/fs/cgroup/cgroup.controllers").exists() else "v1",
    }


def os_release(text: str) -> dict[str, str]:
    """Return the settings of /etc/os-release."""
    rows = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip().strip("\"'") for key, _sign, value in rows}


def memory_mib(meminfo: str) -> int:
    """Return the total memory of /proc/meminfo in MiB, 0 where it is not said."""
    found = re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(found.group(1)) // 1024 if found else 0


def interfaces(ip_json: str) -> dict[str, Any]:
    """Return {name: {mtu, addresses}} of ``ip -json address``; pods' and tunnels' interfaces are left out."""
    rows = json.loads(ip_json or "[]")
    return {
        row["ifname"]: {
            "mtu": row["mtu"],
            "addresses": [address["local"] for address in row.get("addr_info", ()) if "local" in address],
        }
        for row in rows
        if row.get("ifname") and not re.match(r"(cali|vxlan\.calico|tunl0|lo$|kube-|nodelocaldns)", row["ifname"])
    }


def tunnel_driver(name: str) -> bool:
    """Tell whether this kernel can make tunnel interfaces of a kind: loaded, built in, or loadable."""
    file = name.replace("-", "_")
    if Path(f"/sys/module/{file}").is_dir():
        return True
    folder = Path("/lib/modules") / platform.release()
    listed = _text(folder / "modules.builtin") + _text(folder / "modules.dep")
    return bool(re.search(rf"/{file}\.ko", listed)) or can_make_link(name)


def can_make_link(kind: str) -> bool:
    """Tell whether the kernel makes links of a kind, by one in a network namespace that ends with the command."""
    ends = ["remote", "192.0.2.1", "local", "192.0.2.2"]
    extra = {"vxlan": ["id", "1", "dstport", "4789"], "ipip": ends}[kind]
    return run(["unshare", "--net", "ip", "link", "add", "probe", "type", kind, *extra], timeout=20).rc == 0


def timers() -> list[str]:
    """Return the jobs that this node does on a timer of ours (see node_timer)."""
    found = Path("/usr/local/lib/systemd/system").glob("kubesmith-*.timer")
    return sorted(path.stem.removeprefix("kubesmith-") for path in found)


def service(name: str) -> dict[str, bool]:
    """Return whether a systemd unit is installed, enabled and active."""
    state = systemd.properties(name)
    return {
        "installed": state["LoadState"] == "loaded",
        "enabled": state["UnitFileState"] == "enabled",
        "active": state["ActiveState"] == "active",
    }


def foreign(root: str = "/") -> dict[str, Any]:
    """Return {program: {path, version, unit, package}} of the kubelet and containerd where they are not the bundle's.

    A node is somebody else's where its kubelet is started by another unit than the bundle's: of a package, or by hand.
    """
    found: dict[str, Any] = {}
    for name in ("kubelet", "containerd"):
        unit = systemd.properties(name)
        if name == "kubelet" and unit["FragmentPath"].startswith(kubeadm.OURS):
            break
        path = _program(unit["MainPID"]) or kubeadm.program(name)
        found[name] = {
            "path": path,
            "version": version([path, "--version"]),
            "unit": unit["FragmentPath"],
            "package": package(path, root),
        }
    return found


def _program(pid: str) -> str:
    """Return the program that process ``pid`` (a string) runs, an empty string where it does not run."""
    try:
        return str(Path(f"/proc/{pid}/exe").readlink()).removesuffix(" (deleted)")
    except OSError:
        return ""


def package(path: str, root: str = "/") -> str:
    """Return the package that a file belongs to, by dpkg's own lists or rpm's word; an empty string for none."""
    for listing in sorted((Path(root) / "var/lib/dpkg/info").glob("*.list")):
        if path in _text(listing).splitlines():
            return listing.stem.partition(":")[0]
    said = run(["rpm", "--query", "--file", "--queryformat", "%{NAME}", path], timeout=20)
    return said.out.strip() if said.rc == 0 else ""


def version(args: Sequence[str]) -> str:
    """Return the version a program tells of itself, without its v; an empty string where it is not installed."""
    said = run(args, timeout=30)
    found = re.search(r"\bv?(\d+\.\d+\.\d+\S*)", said.out)
    return found.group(1) if said.rc == 0 and found else ""


def problems(facts: Mapping[str, Any]) -> list[str]:
    """Return what makes a host unfit for a node, one sentence each with its remedy."""
    found = []
    if not facts["systemd"]:
        found.append("systemd does not run here: containerd and the kubelet are systemd units; boot the host with it")
    if os.geteuid() != 0:
        found.append("the login is not root: set ansible_become: true")
    return found


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
