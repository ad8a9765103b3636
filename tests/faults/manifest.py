"""Every file of a machine on a line: mode, owner, size, content. Run on a node, to show that a verb left it alone."""

import hashlib
import os
import stat
from pathlib import Path

# What a running machine changes by itself (kernel, journal, systemd, containerd, pods that come), and any SSH login.
CHANGING = (
    *("/dev", "/proc", "/sys", "/var/log", "/run/log", "/run/systemd", "/run/user", "/run/containerd", "/run/netns"),
    *(
        "/var/lib/cni",
        "/var/lib/containerd",
        "/var/lib/etcd",
        "/var/lib/kubelet",
        "/var/lib/kubesmith/bundles",
        "/var/lib/systemd",
    ),
    *("/run/calico", "/var/lib/calico", "/run/nodeagent", "/run/utmp", "/run/xtables.lock", "/run/motd.dynamic"),
)


def row(path):
    """Return what a path is; folders by name only, for their time changes with a file that comes and goes."""
    seen = path.lstat()
    content = ""
    if stat.S_ISREG(seen.st_mode):
        content = f"{seen.st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    elif stat.S_ISLNK(seen.st_mode):
        content = path.readlink()
    return f"{path} {seen.st_mode:o} {seen.st_uid}:{seen.st_gid} {content}"


for folder, names, files in os.walk("/"):
    names[:] = sorted(name for name in names if str(Path(folder, name)) not in CHANGING)
    for name in ["", *sorted(files)]:
        path = Path(folder, name)
        # runc keeps a pod's probe there for the moment in which it runs.
        if str(path) not in CHANGING and not str(path).startswith("/tmp/runc-process") and path.exists():
            print(row(path))
