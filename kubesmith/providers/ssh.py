"""How machines that we made are reached: by key, host keys checked, and one file for ``ssh -F``."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kubesmith.paths import make_private

KEY = "id_ed25519"
KNOWN_HOSTS = "known_hosts"
CONFIG = "ssh_config"
# sun_path holds 108 bytes with its end; ssh puts 40 for %C and a temporary ending of 17 behind the folder.
LONGEST_FOLDER = 107 - 1 - 40 - 17


@dataclass(frozen=True)
class Peer:
    """One node as SSH sees it: its name, its address, its public host key (type and key), and who may enter how.

    ``key`` is a file with a private key; None stands for the lab's own.
    """

    name: str
    address: str
    host_key: str
    user: str = "root"
    key: Path | None = None


def ensure_key(folder: Path, comment: str) -> str:
    """Make the lab's key pair in ``folder`` where it is missing or unusable; return the public half."""
    key = folder / KEY
    public = subprocess.run(["ssh-keygen", "-y", "-f", str(key)], capture_output=True, text=True, check=False)
    if public.returncode:
        for old in (key, key.with_suffix(".pub")):
            old.unlink(missing_ok=True)
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(key)]
        subprocess.run(command, stdin=subprocess.DEVNULL, check=True)
        return key.with_suffix(".pub").read_text().strip()
    return public.stdout.strip()


def sockets(folder: Path) -> Path:
    """Return the folder for the sockets of shared connections: in ``folder`` where the path is short enough."""
    inside = folder / "ssh"
    if len(os.fsencode(inside)) <= LONGEST_FOLDER:
        return inside
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    return Path(f"/run/kubesmith-{digest}")


def config(folder: Path, peers: Sequence[Peer]) -> str:
    """Return the text of ``ssh_config``: a Host entry for each node, by name and by address."""
    entries = [
        f"Host {alias}\n  HostName {peer.address}\n  User {peer.user}\n"
        f"  IdentityFile {_quoted(peer.key or folder / KEY)}\n"
        for peer in peers
        for alias in (peer.name, peer.address)
    ]
    common = {
        "Port": "22",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": _quoted(folder / KNOWN_HOSTS),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "PreferredAuthentications": "publickey",
        "ControlMaster": "auto",
        "ControlPath": _quoted(sockets(folder) / "%C"),
        "ControlPersist": "10m",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "5",
        "ServerAliveCountMax": "3",
        "LogLevel": "ERROR",
    }
    shared = "".join(f"  {key} {value}\n" for key, value in common.items())
    return "# Written by kubesmith; `ssh -F THIS NODE`.\n" + "\n".join(entries) + "\nHost *\n" + shared


def _quoted(path: Path) -> str:
    """Quote a path for ssh_config, where blanks separate words and % begins an expansion (but our own %C)."""
    name = path.name if path.name == "%C" else path.name.replace("%", "%%")
    return f'"{str(path.parent).replace("%", "%%")}/{name}"'


def known_hosts(peers: Sequence[Peer]) -> str:
    """Return the text of ``known_hosts``."""
    return "".join(f"{peer.name},{peer.address} {peer.host_key}\n" for peer in peers)


def host_keys(folder: Path) -> dict[str, str]:
    """Return {node: type and key} of ``known_hosts``; none where there is no such file."""
    file = folder / KNOWN_HOSTS
    rows = [line.partition(" ") for line in file.read_text().splitlines()] if file.exists() else []
    return {names.partition(",")[0]: key for names, _space, key in rows if key}


def write(folder: Path, peers: Sequence[Peer]) -> Path:
    """Write ``known_hosts`` and ``ssh_config`` into ``folder``; return the latter's path."""
    make_private(sockets(folder))
    for name, text in ((KNOWN_HOSTS, known_hosts(peers)), (CONFIG, config(folder, peers))):
        partial = folder / f"{name}.new"
        partial.touch(mode=0o600)
        partial.write_text(text)
        partial.replace(folder / name)
    return folder / CONFIG


def answers(config_file: Path, node: str) -> str:
    """Try ``node`` by SSH; return "" when it lets us in, else ssh's last words."""
    command = ["ssh", "-F", str(config_file), "-o", "BatchMode=yes", node, "true"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip() or f"ssh ended with {done.returncode}").splitlines()[-1]


def hang_up(folder: Path, nodes: Sequence[str]) -> None:
    """Close the shared connections to ``nodes``; one whose node is gone would make the next user wait for it."""
    config_file = folder / CONFIG
    for node in nodes if config_file.exists() else ():
        subprocess.run(["ssh", "-F", str(config_file), "-O", "exit", node], capture_output=True, check=False)
