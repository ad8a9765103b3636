"""What is in a lab node, as data. The recipe's digest names the image: change one and the other follows."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

#: Debian's releases that nodes can be made of, and what its archive calls them.
SUITES = {12: "bookworm", 13: "trixie"}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
FILES = Path(__file__).parent / "files"
#: The first process of a node, see files/usr/local/sbin/kubesmith-node.
COMMAND = ["/bin/sh", "/usr/local/sbin/kubesmith-node"]

PACKAGES = (
    "ca-certificates",
    "conntrack",
    "dbus",
    "ethtool",
    "ipset",
    "iproute2",
    "iptables",
    "kmod",
    "nftables",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "socat",
    "sudo",
    "systemd",
    "systemd-sysv",
    "udev",
)

# Hardware, seats and networking are the host's business; timers would only steal its time.
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "getty.target",
    "systemd-logind.service",
    "systemd-modules-load.service",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-resolved.service",
    "systemd-udev-trigger.service",
    "systemd-udevd.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
)

# Kept out, besides what files/etc/dpkg/dpkg.cfg.d already refuses: debootstrap unpacks its first packages without dpkg.
DROPPED = (
    "etc/ssh/ssh_host_*",
    "usr/share/i18n/*",
    "usr/share/info/*",
    "usr/share/locale/*",
    "usr/share/man/*",
    "var/cache/apt/archives/*.deb",
    "var/cache/apt/*.bin",
    "var/cache/debconf/*-old",
    "var/lib/apt/lists/*_*",
    "var/lib/dbus/machine-id",  # dbus makes it at installation, and systemd would give it to every node
    "var/lib/dpkg/*-old",
    "var/log/*.log",
    "var/log/apt/*",
)


def files() -> dict[str, bytes]:
    """Return the files that we lay over Debian's, by path relative to the node's root."""
    found = (path for path in sorted(FILES.rglob("*")) if stat.S_ISREG(path.lstat().st_mode))
    return {str(path.relative_to(FILES)): path.read_bytes() for path in found}


def digest(architecture: str, suite: str = SUITES[12]) -> str:
    """Return the 16 hexadecimal digits that name the image made by this recipe for ``architecture`` (``amd64``)."""
    content = {
        "architecture": architecture,
        "suite": suite,
        "packages": PACKAGES,
        "masked": MASKED,
        "dropped": DROPPED,
        "command": COMMAND,
        "files": {path: hashlib.sha256(data).hexdigest() for path, data in files().items()},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
