"""What is in the box, as data. The recipe's digest names the file: change one and the other follows."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

SUITE = "bookworm"
NAME = "kubesmith/debian-12"
ARCHITECTURE = "amd64"
#: The disk as the machine sees it. The file grows with what is written.
DISK_GB = 16
SCRIPT = Path(__file__).parent / "disk.sh"

PACKAGES = (
    "ca-certificates",
    "conntrack",
    "dbus",
    "ethtool",
    "ifupdown",
    "initramfs-tools",
    "iproute2",
    "ipset",
    "iptables",
    "isc-dhcp-client",
    "kmod",
    "linux-image-cloud-amd64",
    "netbase",
    "nftables",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "socat",
    "sudo",
    "systemd",
    "systemd-sysv",
    "systemd-timesyncd",
    "udev",
)

# They would only take time from a machine that is emulated.
MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "man-db.timer")

#: What must be unique to a machine, and what can be made again.
DROPPED = ("etc/ssh/ssh_host_*", "var/cache/apt/archives/*.deb", "var/cache/apt/*.bin", "var/lib/apt/lists/*_*")

HOST_KEYS = {kind: f"/etc/ssh/ssh_host_{kind}_key" for kind in ("ecdsa", "ed25519")}

FILES = {
    "etc/hostname": "debian\n",
    "etc/hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n",
    "etc/machine-id": "",
    # /swap is there so that turning it off is put to the proof on every machine.
    "etc/fstab": "LABEL=root / ext4 errors=remount-ro 0 1\n/swap none swap sw 0 0\n",
    "etc/network/interfaces": "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\n",
    # Else udev and Vagrant both bring up the second interface, and the later one fails.
    "etc/udev/rules.d/80-ifupdown.rules": "",
    "etc/apt/apt.conf.d/90kubesmith": 'APT::Install-Recommends "false";\nAcquire::Languages "none";\n',
    "etc/sudoers.d/vagrant": "vagrant ALL=(ALL) NOPASSWD: ALL\n",
    "etc/ssh/sshd_config.d/vagrant.conf": "UseDNS no\nPasswordAuthentication no\n",
    # Every machine makes its own host keys, when it first boots. No RSA: it would take seconds where all is emulated.
    "etc/systemd/system/ssh.service.d/host-key.conf": "[Service]\nExecStartPre=\n"
    + "".join(
        f"ExecStartPre=/bin/sh -c 'test -s {key} || ssh-keygen -q -t {kind} -N \"\" -f {key}'\n"
        for kind, key in HOST_KEYS.items()
    ),
    "boot/extlinux/extlinux.conf": (
        "DEFAULT linux\nPROMPT 0\nTIMEOUT 1\nLABEL linux\n  LINUX /vmlinuz\n  INITRD /initrd.img\n"
        "  APPEND root=LABEL=root ro net.ifnames=0 console=tty0 console=ttyS0 quiet\n"
    ),
}

# Says what a Vagrantfile that uses the box need not say again.
VAGRANTFILE = """\
Vagrant.configure("2") do |config|
  config.vm.guest = :debian
  config.vm.synced_folder ".", "/vagrant", disabled: true
end
"""


def digest() -> str:
    """Return the 16 hexadecimal digits that name the box made by this recipe."""
    content = {
        "suite": SUITE,
        "architecture": ARCHITECTURE,
        "disk": DISK_GB,
        "packages": PACKAGES,
        "masked": MASKED,
        "dropped": DROPPED,
        "files": FILES,
        "vagrantfile": VAGRANTFILE,
        "script": SCRIPT.read_text(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
