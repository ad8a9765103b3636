# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What preflight wants to know about a machine before anything is changed on it. Reads; leaves nothing behind."""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kubesmith.cluster.plugins.module_utils import host, node
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import run

PROGRAMS = ("conntrack", "losetup", "mount", "ip", "iptables", "nsenter", "socat", "modprobe", "systemctl")
SERVICES = (
    *("containerd", "kubelet", "docker", "crio", "k3s", "k3s-agent", "rke2-server", "rke2-agent"),
    *("snap.microk8s.daemon-kubelite", "ufw", "firewalld"),
)
SWAP_UNITS = ("*.swap", "zram*", "systemd-zram*", "dphys-swapfile*")
ZRAM_GENERATOR = ("etc/systemd/zram-generator.conf", "usr/lib/systemd/zram-generator.conf")
SYSCTLS = (
    *("net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter", "net.bridge.bridge-nf-call-iptables"),
    *("net.bridge.bridge-nf-call-ip6tables", "fs.inotify.max_user_instances", "fs.inotify.max_user_watches"),
)
SYSCTL_FOLDERS = ("etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d")
DATA = ("/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd", "/var/lib/kubesmith")
WRITES, WRITE_BYTES, LONGEST_MEASURE = 30, 2300, 1.0  # as etcd's own disk check writes; seconds


def machine() -> dict[str, Any]:
    """Return the system itself; sizes in MiB, times in seconds."""
    release = node.os_release(text("/etc/os-release"))
    facts = node.system()
    facts.update(
        like=release.get("ID_LIKE", "").split(),
        controllers=controllers(),
        uptime=float((text("/proc/uptime") or "0").split()[0]),
        selinux=(text("/sys/fs/selinux/enforce").strip() == "1"),
        apparmor=(text("/sys/module/apparmor/parameters/enabled").strip() == "Y"),
        programs={
            name: bool(shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
            for name in PROGRAMS
        },
        packages=next((name for name in ("apt-get", "dnf", "zypper", "yum") if shutil.which(name)), ""),
        machine_id=text("/etc/machine-id").strip(),
        product_uuid=text("/sys/class/dmi/id/product_uuid").strip(),
    )
    return facts


def controllers(root: str = "/") -> list[str]:
    """Return the cgroup controllers that the kernel offers."""
    second = Path(root) / "sys/fs/cgroup/cgroup.controllers"
    if second.exists():
        return text(second).split()
    rows = [line.split() for line in text(Path(root) / "proc/cgroups").splitlines() if not line.startswith("#")]
    return [row[0] for row in rows if len(row) == 4 and row[3] == "1"]


def reboot_reasons(root: str = "/") -> list[str]:
    """Return why the machine waits for a reboot."""
    found = []
    marker = Path(root) / "run/reboot-required"
    if marker.exists():
        packages = text(str(marker) + ".pkgs").split()
        found.append(f"{marker} exists" + (f" ({', '.join(sorted(set(packages)))})" if packages else ""))
    modules = Path(root) / "lib/modules"
    if modules.is_dir() and any(modules.iterdir()) and not (modules / platform.release()).is_dir():
        found.append(f"the running kernel {platform.release()} has no modules in /lib/modules any more")
    return found


def missing_modules(names: Iterable[str], root: str = "/") -> list[str]:
    """Return the kernel modules that are neither loaded nor built in nor there to be loaded.

    A kernel without a folder for modules has all it has built in, and does not tell what.
    """
    folder = Path(root) / "lib/modules" / platform.release()
    if not folder.is_dir():
        return []
    listed = text(folder / "modules.builtin") + text(folder / "modules.dep")
    return [name for name in names if not _has_module(name, listed, root)]


def _has_module(name: str, listed: str, root: str) -> bool:
    pattern = re.escape(name).replace("_", "[-_]")
    return (Path(root) / "sys/module" / name).is_dir() or bool(re.search(rf"/{pattern}\.ko", listed))


def swap(root: str = "/") -> dict[str, list[str]]:
    """Return what swaps now, and what would at the next boot: devices, lines of fstab, units."""
    fstab = text(Path(root) / "etc/fstab")
    lines = [line.strip() for line in fstab.splitlines() if line not in host.fstab_without_swap(fstab).splitlines()]
    listing = run(["systemctl", "list-unit-files", "--no-legend", "--plain", *SWAP_UNITS], timeout=20).out
    return {
        "active": host.active_swaps(text(Path(root) / "proc/swaps")),
        "fstab": lines,
        "units": swap_units(listing) + [f"/{path}" for path in ZRAM_GENERATOR if (Path(root) / path).exists()],
    }


def swap_units(listing: str) -> list[str]:
    """Return the unit files that bring swap at boot; those of fstab are told by fstab."""
    rows = [line.split() for line in listing.splitlines()]
    return sorted(row[0] for row in rows if len(row) > 1 and _brings_swap(row[0], row[1]))


def _brings_swap(unit: str, state: str) -> bool:
    if state in ("masked", "masked-runtime", "generated", "disabled"):
        return False
    return unit.endswith(".swap") or state.startswith("enabled")


def sysctls(root: str = "/") -> dict[str, Any]:
    """Return live values, and for each parameter of ours the file that sets it last at boot: {key: [file, value]}."""
    live = {key: text(Path(root) / host.sysctl_path(key)[1:]).strip() for key in SYSCTLS}
    at_boot: dict[str, list[str]] = {}
    for file in sysctl_files(root):
        for key, value in sysctl_settings(text(file)):
            if key in SYSCTLS:
                at_boot[key] = ["/" + str(file.relative_to(root)), value]
    return {"live": live, "at_boot": at_boot}


def sysctl_files(root: str) -> list[Path]:
    """Return the files in systemd's order: by name, a folder that comes first hides equal names in the later ones."""
    found: dict[str, Path] = {}
    for folder in SYSCTL_FOLDERS:
        for file in (Path(root) / folder).glob("*.conf"):
            found.setdefault(file.name, file)
    return [found[name] for name in sorted(found)]


def sysctl_settings(content: str) -> list[tuple[str, str]]:
    """Return (key with dots, value) of each line of a sysctl.d file."""
    rows = (line.lstrip("- \t").partition("=") for line in content.splitlines() if line.strip()[:1] not in ("#", ";"))
    return [(key.strip().replace("/", "."), value.strip()) for key, mark, value in rows if mark]


def disks(paths: Sequence[str] = DATA) -> dict[str, dict[str, Any]]:
    """Return {path: {device, free, size}} in MiB of the file system where each folder is, or will be."""
    found = {}
    for path in paths:
        place = existing(path)
        sizes = os.statvfs(str(place))
        found[path] = {
            "device": place.stat().st_dev,
            "free": sizes.f_bavail * sizes.f_frsize >> 20,
            "size": sizes.f_blocks * sizes.f_frsize >> 20,
        }
    return found


def existing(path: str) -> Path:
    """Return the folder itself, or the nearest one above it that exists."""
    return next(place for place in (Path(path), *Path(path).parents) if place.is_dir())


def fsync_ms(path: str = "/var/lib/etcd") -> Optional[float]:
    """Return the 99th percentile, in ms, of small synchronous writes on the file system of ``path``; None if it can't.

    The file never has a name (O_TMPFILE), so that nothing is left even by a killed run.
    """
    try:
        handle = nameless(existing(path))
    except OSError:
        return None
    try:
        return percentile(measure(handle), 99)
    except OSError:
        return None
    finally:
        os.close(handle)


def nameless(folder: Path) -> int:
    """Return a descriptor of a new file without a name in ``folder``."""
    try:
        return os.open(str(folder), os.O_TMPFILE | os.O_WRONLY, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT):
            raise
    handle, name = tempfile.mkstemp(prefix=".kubesmith-preflight-", dir=str(folder))
    Path(name).unlink()
    return handle


def measure(handle: int) -> list[float]:
    """Return how long each of some small synchronous writes took, in ms."""
    times: list[float] = []
    block, deadline = b"\0" * WRITE_BYTES, time.monotonic() + LONGEST_MEASURE
    while len(times) < WRITES and time.monotonic() < deadline:
        begin = time.perf_counter()
        os.write(handle, block)
        os.fdatasync(handle)
        times.append((time.perf_counter() - begin) * 1000)
    return times


def percentile(times: Sequence[float], part: int) -> Optional[float]:
    """Return the value below which ``part`` per cent of the times are, None for no times."""
    ordered = sorted(times)
    return round(ordered[max(0, -(-len(ordered) * part // 100) - 1)], 2) if ordered else None


def services(names: Sequence[str] = SERVICES) -> dict[str, dict[str, str]]:
    """Return {unit: {state, program}} of the units that run or try to."""
    fields = "--property=Id,ActiveState,FragmentPath,ExecStart"
    said = run(["systemctl", "show", fields, *(f"{name}.service" for name in names)], timeout=20).out
    found = {}
    for block in said.split("\n\n"):
        row = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if row.get("ActiveState") in ("active", "activating", "reloading"):
            program = re.search(r"path=(\S+)", row.get("ExecStart", ""))
            name = row.get("Id", "").replace(".service", "")
            found[name] = {"state": row["ActiveState"], "program": program.group(1) if program else ""}
    return found


def system_state() -> str:
    """Return systemd's own word for how far the boot is: running, starting, degraded, maintenance …"""
    return run(["systemctl", "is-system-running"], timeout=20).out.strip()


def bundle(root: str) -> str:
    """Return the digest of the bundle that the node sees by itself, or an empty string."""
    found = re.search(r'"digest":\s*"(sha256:[0-9a-f]{64})"', text(Path(root) / "bundle.json")[:2000])
    return found.group(1) if found else ""


def text(path: Any) -> str:
    """Return a file's text, an empty string where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
