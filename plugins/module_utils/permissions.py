# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Which files of a cluster nobody but root is to read, in each profile, and what is wrong with those of a node."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Optional

from ansible_collections.kubesmith.cluster.plugins.module_utils import files
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import must

ETCD_USER, ETCD_COMMENT = "etcd", "etcd of a cluster by kubesmith"
KUBELET_UNIT = "/usr/local/lib/systemd/system/kubelet.service"


class Rule(NamedTuple):
    """The most that the files of a pattern may allow, and whose they are."""

    pattern: str
    mode: int
    owner: str = "root"


BOTH = (
    Rule("/etc/kubernetes/*.conf", 0o600),
    Rule("/etc/kubernetes/manifests/*.yaml", 0o600),
    Rule("/etc/kubernetes/pki/*.key", 0o600),
    Rule("/etc/kubernetes/pki/etcd/*.key", 0o600),
    Rule("/etc/kubernetes/pki/*.crt", 0o644),
    Rule("/etc/kubernetes/pki/etcd/*.crt", 0o644),
    Rule("/etc/kubernetes/encryption", 0o700),
    Rule("/var/lib/kubelet/config.yaml", 0o600),
    Rule("/var/lib/kubelet/instance-config.yaml", 0o600),
)
RULES: dict[str, tuple[Rule, ...]] = {
    "standard": (*BOTH, Rule("/var/lib/etcd", 0o700)),
    # systemd notes a unit that not everybody can read; what is in it, everybody can ask systemd.
    "cis": (
        *BOTH,
        Rule("/var/lib/etcd", 0o700, ETCD_USER),
        Rule(KUBELET_UNIT, 0o600),
        Rule(f"{KUBELET_UNIT}.d/*.conf", 0o600),
    ),
}


class Wrong(NamedTuple):
    """A file that allows too much, or is somebody else's: octal modes, and names of user and group."""

    path: Path
    mode: int
    owner: str
    wanted: Rule

    def __str__(self) -> str:
        """Return the change in words."""
        allowed = self.mode & self.wanted.mode
        return f"{self.path}: {self.mode:04o} {self.owner} → {allowed:04o} {self.wanted.owner}:{self.wanted.owner}"


def wrong(profile: str, root: str = "/") -> Iterator[Wrong]:
    """Yield what is wrong on this node. A file that allows less is right; one that is absent is no matter."""
    for rule in RULES[profile]:
        for path in sorted(Path(root).glob(rule.pattern.lstrip("/"))):
            if path.is_symlink():
                continue
            seen = path.stat()
            mode, owner = seen.st_mode & 0o7777, f"{user_name(seen.st_uid)}:{group_name(seen.st_gid)}"
            if mode & ~rule.mode or owner != f"{rule.owner}:{rule.owner}":
                yield Wrong(path, mode, owner, rule)


def mend(found: Wrong) -> None:
    """Take away what a file allows too much, and give it to whom it belongs."""
    user = pwd.getpwnam(found.wanted.owner)
    os.chown(found.path, user.pw_uid, user.pw_gid)
    found.path.chmod(found.mode & found.wanted.mode)


def user_name(number: int) -> str:
    """Return a user's name, or the number of one that has none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def group_name(number: int) -> str:
    """Return a group's name, or the number of one that has none."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def user(name: str) -> Optional[pwd.struct_passwd]:
    """Return a user, None where there is none."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def lacks_user(profile: str, root: str = "/") -> bool:
    """Tell whether this node's files are to belong to a user that it does not have."""
    return any(Path(root + rule.pattern).exists() and user(rule.owner) is None for rule in RULES[profile])


def make_user() -> None:
    """Make the user that etcd's data belongs to: a system user without a shell, a home and a login."""
    options = ("--system", "--user-group", "--no-create-home", "--home-dir=/nonexistent", "--shell=/usr/sbin/nologin")
    must(["useradd", *options, f"--comment={ETCD_COMMENT}", ETCD_USER], timeout=60)


def own_user() -> bool:
    """Tell whether the user is there and was made by us."""
    found = user(ETCD_USER)
    return found is not None and found.pw_gecos == ETCD_COMMENT


def remove_user() -> None:
    """Remove the user that was made by us, with his group."""
    must(["userdel", ETCD_USER], timeout=60)
    files.remove(f"/var/mail/{ETCD_USER}")
