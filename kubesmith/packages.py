"""System packages: which are missing for what is wanted, why, and installing them once that was agreed to.

Only the standard library, and only what Python 3.9 understands: kubesmith.bootstrap needs it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kubesmith.errors import InputError, KubesmithError

SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")


@dataclass(frozen=True)
class Package:
    """One Debian package, why it is wanted, and what shows that it is there: a command, or a file's absolute path."""

    name: str
    why: str
    shown_by: str

    def present(self) -> bool:
        """Tell whether what it brings is there, wherever it came from."""
        if self.shown_by.startswith("/"):
            return any(Path("/").glob(self.shown_by[1:]))
        return shutil.which(self.shown_by, path=tool_path()) is not None


def tool_path() -> str:
    """Return PATH with the administrator's folders, which `su` and many service managers leave out, and dpkg needs."""
    path = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder]
    return os.pathsep.join([*path, *(folder for folder in SBIN if folder not in path)])


NODE_IMAGE = (
    Package("debootstrap", "builds the nodes' root file system", "debootstrap"),
    Package(
        "debian-archive-keyring", "vouches for the nodes' packages", "/usr/share/keyrings/debian-archive-keyring.gpg"
    ),
)
NODES = (
    Package("podman", "runs the lab's nodes", "podman"),
    Package("iptables", "lets the nodes reach the network", "iptables"),
    Package("iproute2", "finds a free subnet", "ip"),
    Package("openssh-client", "reaches the nodes", "ssh"),
)
#: crun, podman's usual choice, refuses the hybrid hierarchies of cgroup v1.
RUNC = Package("runc", "starts the nodes on cgroup v1", "runc")
BUNDLE = (
    Package("gcc", "compiles runc and pause", "gcc"),
    Package("libc6-dev", "C library for runc and pause", "/usr/lib/*/libc.a"),
    Package("libseccomp-dev", "seccomp for runc", "/usr/lib/*/libseccomp.a"),
    Package("pkg-config", "finds libseccomp", "pkg-config"),
    Package("debian-archive-keyring", "vouches for the images' base", "/usr/share/keyrings/debian-archive-keyring.gpg"),
)
SSH = (Package("openssh-client", "reaches the machines", "ssh"),)
#: Virtual machines by libvirt. VirtualBox is not in Debian: where it is installed, `vagrant` alone is wanted.
VAGRANT = (
    Package("vagrant", "makes the virtual machines", "vagrant"),
    *SSH,
    Package("iproute2", "finds a free subnet", "ip"),
)
LIBVIRT = (
    Package(
        "vagrant-libvirt",
        "lets Vagrant use libvirt",
        "/usr/share/rubygems-integration/*/specifications/vagrant-libvirt*",
    ),
    Package("libvirt-daemon-system", "runs the virtual machines", "libvirtd"),
    Package("libvirt-clients", "lists the virtual machines", "virsh"),
    Package("qemu-utils", "makes their disks", "qemu-img"),
    Package("dnsmasq-base", "gives them addresses", "dnsmasq"),
)
EMULATORS = {
    "x86_64": Package("qemu-system-x86", "is the virtual machine", "qemu-system-x86_64"),
    "aarch64": Package("qemu-system-arm", "is the virtual machine", "qemu-system-aarch64"),
}
BOX = (
    Package("vagrant", "keeps the box", "vagrant"),
    Package("mmdebstrap", "builds the box's root file system", "mmdebstrap"),
    Package("debian-archive-keyring", "vouches for its packages", "/usr/share/keyrings/debian-archive-keyring.gpg"),
    Package("extlinux", "boots it", "extlinux"),
    Package("syslinux-common", "boots it", "/usr/lib/syslinux/mbr/mbr.bin"),
    Package("fdisk", "parts its disk", "sfdisk"),
    Package("e2fsprogs", "makes its file system", "mkfs.ext4"),
    Package("qemu-utils", "packs its disk", "qemu-img"),
)


def packages(purpose: str) -> tuple[Package, ...]:
    """Return what ``purpose`` needs.

    ``podman`` (lab nodes), ``nodes`` (those, their image being at hand), ``bundle``, ``ssh`` (own machines),
    ``vagrant`` (virtual machines by whatever is there), ``libvirt`` (virtual machines by libvirt), ``box`` (their
    image), or ``test`` (all that `make test` runs).
    """
    nodes = NODES if Path("/sys/fs/cgroup/cgroup.controllers").exists() else (*NODES, RUNC)
    lab = (*nodes, *NODE_IMAGE)
    every = tuple({package.name: package for package in (*lab, *BUNDLE)}.values())
    emulator = EMULATORS.get(os.uname().machine)
    known = {
        "podman": lab,
        "nodes": nodes,
        "bundle": BUNDLE,
        "ssh": SSH,
        "vagrant": VAGRANT,
        "libvirt": (*VAGRANT, *LIBVIRT, *((emulator,) if emulator else ())),
        "box": BOX,
        "test": every,
    }
    return known[purpose]


def require_packages(*purposes: str, assume_yes: bool) -> None:
    """Have what ``purposes`` need (see packages()), installing what is missing after it was listed and agreed to.

    Raises InputError, with the command to type, without agreement, without root, or where there is no apt.
    """
    wanted = {package.name: package for purpose in purposes for package in packages(purpose)}
    missing = [package for package in wanted.values() if not package.present()]
    if not missing:
        return
    reasons = ", ".join(f"{package.name} ({package.why})" for package in missing)
    install_packages([package.name for package in missing], reasons, assume_yes=assume_yes)
    still = [package.name for package in missing if not package.present()]
    if still:
        raise KubesmithError(f"installed, but not to be found: {', '.join(still)}", fix="see what apt-get said above")


def install_packages(names: Sequence[str], reasons: str, *, assume_yes: bool) -> None:
    """Install Debian packages by apt, after listing them; asks on a terminal unless ``assume_yes``."""
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *names]
    line = shlex.join(command)
    if not shutil.which("apt-get", path=tool_path()):
        raise InputError(
            f"missing: {reasons}; this system has no apt-get, so nothing was installed",
            fix=f"install what other systems call {', '.join(names)}",
        )
    if os.geteuid() != 0:
        raise InputError(f"missing: {reasons}", fix=f"sudo {line}")
    may_ask = sys.stdin.isatty() and sys.stderr.isatty()
    if assume_yes or may_ask:
        print(f"to be installed by apt-get: {reasons}", file=sys.stderr, flush=True)
    if not assume_yes and not (may_ask and _agreed()):
        raise InputError(f"missing: {reasons}", fix=f"{line}, or give --yes and it is done for you")
    _apt(command)


def _agreed() -> bool:
    print("Install them? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _apt(command: Sequence[str]) -> None:
    """Install. Package lists are fetched where apt cannot do without; a failure is mended and tried once more."""
    if not _would_work(command):
        _run(["apt-get", "update"])
    if _run(command) == 0:
        return
    _run(["dpkg", "--configure", "-a"])  # an interrupted dpkg refuses everything else
    _run(["apt-get", "update"])  # old lists name files that the mirror no longer has
    code = _run(command)
    if code:
        raise KubesmithError(f"{shlex.join(command)} ended with {code}", fix="see what apt-get said above")


def _would_work(command: Sequence[str]) -> bool:
    simulation = [*command, "--simulate"]
    return subprocess.run(simulation, env=_environment(), capture_output=True, check=False).returncode == 0


def _run(command: Sequence[str]) -> int:
    """Run with apt's words on standard error: standard output is for what was asked for."""
    waiting = ["-o", "DPkg::Lock::Timeout=300"] if command[0] == "apt-get" else []
    return subprocess.run(
        [*command, *waiting], stdin=subprocess.DEVNULL, stdout=sys.stderr, env=_environment(), check=False
    ).returncode


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": tool_path(), "DEBIAN_FRONTEND": "noninteractive"}
