"""What a machine is, a line for each thing: run on a node before `up` and after `reset`, and both are equal."""

import hashlib
import os
import re
import stat
import subprocess
from pathlib import Path

# What a running machine changes by itself, and the run-time state of Ansible and of a login.
CHANGING = (
    *("/dev", "/proc", "/sys", "/run/log", "/run/systemd", "/run/user", "/run/utmp", "/run/motd.dynamic"),
    *("/var/log/journal", "/var/log/wtmp", "/var/log/lastlog", "/var/log/btmp", "/var/lib/systemd", "/root/.ansible"),
    *("/run/sudo", "/run/dbus", "/run/sshd", "/var/lib/kubesmith/bundles", "/run/blkid", "/run/kubesmith"),
)
# Counters and caches of the kernel; what is not of the network is shared by all containers of this machine.
COUNTING = re.compile(
    r"nf_conntrack_count|/route/|/random/|nf_conntrack_(buckets|max|expect_max)|tcp_available|/nf_log/"
)


def row(path):
    """Return what a file is: mode, owner, and content with its time, or target."""
    seen = path.lstat()
    content = ""
    if stat.S_ISREG(seen.st_mode):
        content = f"{seen.st_mtime_ns} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    elif stat.S_ISLNK(seen.st_mode):
        content = path.readlink()
    return f"file {path} {seen.st_mode:o} {seen.st_uid}:{seen.st_gid} {content}"


def files():
    for folder, names, found in os.walk("/"):
        names[:] = sorted(name for name in names if str(Path(folder, name)) not in CHANGING)
        for name in ["", *sorted(found)]:
            path = Path(folder, name)
            if str(path) not in CHANGING and os.path.lexists(path):
                yield row(path)


def sysctls():
    # Of the whole kernel's, a lab node has some of its own.
    own = [Path("/proc/sys", *path.name.split(".")) for path in Path("/run/kubesmith").glob("*.*")]
    for path in [*sorted(own), *sorted(Path("/proc/sys/net").rglob("*"))]:
        try:
            if path.is_file() and not COUNTING.search(str(path)):
                yield f"sysctl {path} {path.read_text().strip()}"
        except OSError:
            continue


def said(kind, *command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        text = re.sub(r"packets \d+ bytes \d+|\[\d+:\d+\]", "", line)
        if text.strip() and not text.startswith("#"):
            yield f"{kind} {text.rstrip()}"


def rules():
    yield from said("nft", "nft", "list", "ruleset")
    for tool in ("iptables", "ip6tables"):
        # The kernel keeps an empty table of the old kind, once used, until its module is unloaded: not a rule.
        for line in said(f"{tool}-legacy", f"{tool}-legacy-save"):
            if not re.search(r" (\*|COMMIT|:\w+ ACCEPT)", line):
                yield line
    yield from said("set", "ipset", "save")


def network():
    for path in sorted(Path("/sys/class/net").iterdir()):
        yield f"link {path.name}"
    yield from said("address", "ip", "-o", "-4", "address")
    for family in ("-4", "-6"):
        yield from said(f"route {family}", "ip", family, "route", "show", "table", "all")
        yield from said(f"rule {family}", "ip", family, "rule")


def system():
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    yield from sorted("mount " + line.split()[4] for line in mounts)
    yield from said("unit-file", "systemctl", "list-unit-files", "--no-legend", "--plain")
    for line in said("unit", "systemctl", "list-units", "--all", "--no-legend", "--plain"):
        if not re.search(r"\.(device|scope)\b|session|user|ssh@|systemd-tmpfiles|motd|apt|logrotate", line):
            yield line
    yield from sorted(f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob("**/kubepods*"))
    programs = (Path(path).name for path in Path("/proc").glob("[0-9]*/exe") for path in [_program(path)] if path)
    yield from sorted({f"process {name}" for name in programs if "python" not in name and "ssh" not in name})


def _program(path):
    try:
        return str(path.readlink())
    except OSError:
        return ""


for part in (files, sysctls, rules, network, system):
    for line in part():
        print(line)
