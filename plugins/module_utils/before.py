# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What a node was before anything of a cluster was put on it, noted once, so that a reset can bring it back.

Only what was there before is noted; what is there now is always read from the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kubesmith.cluster.plugins.module_utils import files, firewall, host, kubeadm, systemd

FOLDER = "var/lib/kubesmith/before"
#: Where a cluster's programs keep what they write while they run.
FOLDERS = (
    *("/etc/cni", "/etc/cni/net.d", "/etc/containerd", "/etc/kubernetes", "/opt/cni", "/opt/cni/bin"),
    *("/opt/containerd", "/root/.kube", "/run/calico", "/run/containerd", "/run/kubernetes", "/run/netns"),
    *(
        "/run/nodeagent",
        "/run/nri",
        "/usr/libexec/kubernetes",
        "/var/lib/calico",
        "/var/lib/cni",
        "/var/lib/containerd",
    ),
    *("/var/lib/etcd", "/var/lib/kubelet", "/var/lib/kubesmith", "/var/log/calico", "/var/log/containers"),
    *("/var/log/kubernetes", "/var/log/pods"),
)
#: What is made in passing, as a lock or where something is to be mounted: taken away if it was not there, and is empty.
PASSING_FILES = ("/run/xtables.lock",)
PASSING_FOLDERS = ("/lib/modules",)
ONLINE = "network-online.target"  # containerd's unit asks for it
#: What the kubelet, kube-proxy and Calico set by themselves.
SYSCTLS = (
    *("kernel.keys.root_maxbytes", "kernel.keys.root_maxkeys", "kernel.panic", "kernel.panic_on_oops"),
    *("vm.overcommit_memory", "vm.panic_on_oom", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"),
    *("net.ipv4.conf.all.forwarding", "net.ipv4.conf.default.forwarding", "net.ipv6.conf.default.forwarding"),
    *("net.ipv4.conf.all.route_localnet", "net.ipv4.conf.all.rp_filter", "net.ipv4.conf.default.rp_filter"),
    *("net.ipv4.vs.conntrack", "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"),
    *("net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_tcp_be_liberal"),
    *("net.netfilter.nf_conntrack_tcp_timeout_established", "net.netfilter.nf_conntrack_tcp_timeout_close_wait"),
    *("net.netfilter.nf_conntrack_udp_timeout", "net.netfilter.nf_conntrack_udp_timeout_stream"),
)
Record = dict[str, Any]


def note(
    paths: Iterable[str] = (), sysctls: Iterable[str] = (), swap_units: Iterable[str] = (), root: str = "/"
) -> None:
    """Note the state of files and sysctls that are about to be changed; what is noted already stays.

    The first call notes the whole machine. Where a cluster is already, made by an older version, nothing is noted: what
    was before it is not known.
    """
    record = read(root)
    if record is None:
        if kubeadm.membership(root) != kubeadm.ABSENT:
            return
        record = machine(root)
    before = json.dumps(record)
    folder = Path(root) / FOLDER
    for path in paths:
        if path not in record["files"]:
            record["files"][path] = _kept(path, folder, root)
            record["parents"] += [name for name in _absent_parents(path, root) if name not in record["parents"]]
    for key in sysctls:
        _note_sysctl(record["sysctls"], key, root)
    record["swap_units"] = sorted({*record["swap_units"], *swap_units})
    if json.dumps(record) != before or not (folder / "before.json").exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.put(folder / "before.json", json.dumps(record, indent=1) + "\n", 0o600)


def read(root: str = "/") -> Optional[Record]:
    """Return what was noted, None where nothing was."""
    text = files.read(Path(root) / FOLDER / "before.json")
    found: Optional[Record] = json.loads(text) if text else None
    return found


def machine(root: str = "/") -> Record:
    """Return the state of this machine as a new record."""
    values: dict[str, str] = {}
    for key in SYSCTLS:
        _note_sysctl(values, key, root)
    return {
        "folders": {path: names(path, root) for path in FOLDERS},
        "modes": {path: mode for path in FOLDERS for mode in [files.mode_of(root + path)] if mode is not None},
        "files": {path: None for path in PASSING_FILES if not Path(root + path).exists()},
        "parents": [path for path in PASSING_FOLDERS if not Path(root + path).exists()],
        "online": systemd.properties(ONLINE)["ActiveState"],
        "sysctls": values,
        "modules": loaded_modules(),
        "swaps": host.active_swaps(files.read("/proc/swaps") or ""),
        "swap_units": [],
        "mounts": mounts(),
        "links": links(),
        "firewall": firewall.look(),
    }


def unknown(programs: Iterable[str]) -> Record:
    """Return the record to go by where none was made: nothing of a cluster was there, and the rest is not known."""
    shared = ("/root/.kube", "/run/netns", "/opt/cni", "/opt/cni/bin", "/var/lib/kubesmith")
    return {
        "folders": {path: None for path in FOLDERS if path not in shared},
        "modes": {},
        "files": dict.fromkeys(programs),
        "parents": [],
        "online": "active",
        "sysctls": {},
        "modules": loaded_modules(),
        "swaps": [],
        "swap_units": [],
        "mounts": [],
        "links": [],
        "firewall": {"chains": {}, "tables": firewall.tables(), "hooks": firewall.hooks(), "sets": []},
    }


def forget(root: str = "/") -> None:
    """Remove the record, and our folder if nothing else is in it."""
    shutil.rmtree(Path(root) / FOLDER, ignore_errors=True)
    with contextlib.suppress(OSError):
        (Path(root) / FOLDER).parent.rmdir()


def names(path: str, root: str = "/") -> Optional[list[str]]:
    """Return the names of what is in a folder, None where there is none."""
    try:
        return sorted(entry.name for entry in Path(root + path).iterdir())
    except OSError:
        return None


def links() -> list[str]:
    """Return the names of the network interfaces."""
    return sorted(path.name for path in Path("/sys/class/net").iterdir())


def mounts() -> list[str]:
    """Return the mount points, in the order in which they were mounted."""
    rows = (files.read("/proc/self/mountinfo") or "").splitlines()
    return [row.split()[4].encode().decode("unicode_escape") for row in rows]


def loaded_modules() -> list[str]:
    """Return the names of the loaded kernel modules."""
    return sorted(line.split()[0] for line in (files.read("/proc/modules") or "").splitlines())


def put_back(path: str, was: Optional[Record], root: str = "/") -> None:
    """Give a file the state that was noted of it."""
    target = Path(root + path)
    if was is None:
        files.remove(target)
        return
    if "link" in was:
        files.remove(target)
        target.symlink_to(was["link"])
        return
    temporary = target.with_name(f".{target.name}{files.SUFFIX}")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(root) / FOLDER / was["copy"], temporary)
    os.chown(temporary, was["owner"], was["group"])
    os.utime(temporary, ns=(was["time"], was["time"]))
    files.replace(temporary, target, was["mode"])


def is_as_before(path: str, was: Optional[Record], root: str = "/") -> bool:
    """Tell whether a file is what was noted of it."""
    target = Path(root + path)
    if was is None:
        return not os.path.lexists(target)
    if "link" in was:
        return target.is_symlink() and str(target.readlink()) == was["link"]
    same = files.sha256(target) == files.sha256(Path(root) / FOLDER / was["copy"])
    return same and files.mode_of(target) == was["mode"] and target.stat().st_mtime_ns == was["time"]


def _kept(path: str, folder: Path, root: str) -> Optional[Record]:
    """Return what a file is, its content copied into ``folder``; None where there is none."""
    source = Path(root + path)
    if source.is_symlink():
        return {"link": str(source.readlink())}
    if not source.is_file():
        return None
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy = path.strip("/").replace("/", "%")
    shutil.copyfile(source, folder / copy)
    (folder / copy).chmod(0o600)
    seen = source.stat()
    return {
        "copy": copy,
        "mode": seen.st_mode & 0o7777,
        "owner": seen.st_uid,
        "group": seen.st_gid,
        "time": seen.st_mtime_ns,
    }


def _absent_parents(path: str, root: str) -> list[str]:
    return [str(parent) for parent in Path(path).parents if not Path(root + str(parent)).exists()]


def _note_sysctl(values: dict[str, str], key: str, root: str) -> None:
    try:
        live = files.read(root + host.sysctl_path(key))
    except OSError:  # one that can only be written
        return
    if live is not None and key not in values:
        values[key] = live.strip()
