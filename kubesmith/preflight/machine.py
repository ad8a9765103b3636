"""Rules on one machine: system, kernel, CPU, memory, disks, swap, programs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator

from kubesmith.preflight.model import Finding, Node, Whole
from kubesmith.preflight.systems import data, numbers, packages

KERNELS = re.compile(r"5\.(4|10|15)\b|([6-9]|\d\d+)\.")  # what kubeadm's own SystemVerification accepts
NFTABLES_KERNEL = (5, 13)
CONTROLLERS = {"cpu", "cpuset", "memory", "pids"}
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
CPUS, MEMORY_MIB, WORKER_MEMORY_MIB = 2, 1700, 900
ROOM_MIB = {"/var/lib/containerd": 3072, "/var/lib/kubelet": 512, "/var/lib/etcd": 512}
MEMBER_ROOM_MIB = 256
EVICTION = {"/var/lib/containerd": 15, "/var/lib/kubelet": 10}  # per cent free, the kubelet's defaults
FSYNC_MS = 10
BOOTED_SECONDS = 60
# kubeadm refuses to start without the first ones; systems.yml has the packages.
PROGRAMS = ("conntrack", "losetup", "mount", "ip", "modprobe")
USEFUL = ("iptables", "socat", "nsenter")
INOTIFY = {"fs.inotify.max_user_instances": 128, "fs.inotify.max_user_watches": 8192}
FORWARDING = {
    "net.ipv4.ip_forward": "1",
    "net.bridge.bridge-nf-call-iptables": "1",
    "net.bridge.bridge-nf-call-ip6tables": "1",
}
OWN_SYSCTLS = "/etc/sysctl.d/99-zz-kubesmith.conf"


def system(node: Node, whole: Whole) -> Iterator[Finding]:
    """Judge distribution, kernel and architecture."""
    facts = node.facts["machine"]
    name, version = facts["os"]["id"], facts["os"]["version"]
    if not data().known(name, version):
        known = ", ".join(f"{system.id} {system.oldest}" for system in data().systems.values())
        rule = f"known to work from: {known}"
        yield node.warning("operating system", f"{name} {version}".strip(), rule, "use one of these if something fails")
    arch = ARCHITECTURES.get(facts["machine"], facts["machine"])
    bundle = whole.cluster.bundle.get("arch", arch)
    if arch != bundle:
        rule = f"the bundle is built for {bundle}"
        yield node.error("architecture", arch, rule, f"use a machine with {bundle}, or build a bundle for {arch}")
    if not node.container and not KERNELS.match(facts["kernel"]):
        rule = "kubeadm takes kernels 5.4, 5.10, 5.15 and from 6.0"
        yield node.error("kernel", facts["kernel"], rule, "install a newer kernel and reboot")
    elif node.settings["proxy"] == "nftables" and numbers(facts["kernel"]) < NFTABLES_KERNEL:
        rule = "kube-proxy's nftables mode needs 5.13"
        yield node.error("kernel", facts["kernel"], rule, "set network.proxy: iptables, or install a newer kernel")


def cgroups(node: Node, _whole: Whole) -> Iterator[Finding]:
    """Judge systemd, the cgroups' version, their controllers and drivers."""
    facts = node.facts["machine"]
    if not facts["systemd"]:
        rule = "containerd and the kubelet are systemd units"
        yield node.error("systemd", "does not run", rule, "boot the machine with systemd")
    if facts["cgroups"] == "v1" and node.settings["fail_cgroup_v1"]:
        fix = "boot with systemd.unified_cgroup_hierarchy=1, or set kubeadm.kubelet.failCgroupV1: false"
        yield node.error("cgroups", "v1", "the kubelet starts on v2 only", fix)
    lacking = sorted(CONTROLLERS - set(facts["controllers"]))
    if lacking:
        fix = "boot with cgroup_enable=" + " cgroup_enable=".join(lacking)
        yield node.error("cgroup controllers", f"no {', '.join(lacking)}", "the kubelet needs them", fix)
    drivers = node.facts["traces"]["drivers"]
    seen = f"kubelet {drivers['kubelet']}, containerd SystemdCgroup = {drivers['containerd'] or 'unset'}"
    if drivers["kubelet"] not in ("", "systemd"):
        fix = "set cgroupDriver: systemd in /var/lib/kubelet/config.yaml"
        yield node.error("cgroup driver", seen, "both use systemd", fix)
    elif drivers["kubelet"] and drivers["containerd"] == "false":  # which the role mends
        yield node.warning("cgroup driver", seen, "both use systemd", "nothing to do: up corrects containerd's file")


def size(node: Node, _whole: Whole) -> Iterator[Finding]:
    """Judge CPUs and memory."""
    cpus, memory = node.facts["machine"]["cpus"], node.facts["machine"]["memory_mib"]
    if node.control_plane and cpus < CPUS:
        yield node.error("CPUs", cpus, f"a control plane needs {CPUS}", "give the machine another CPU")
    if node.control_plane and memory < MEMORY_MIB:
        yield node.error("memory", f"{memory} MiB", f"a control plane needs {MEMORY_MIB} MiB", "give it more memory")
    if not node.control_plane and memory < WORKER_MEMORY_MIB:
        rule = f"a worker has at least {WORKER_MEMORY_MIB} MiB"
        yield node.warning("memory", f"{memory} MiB", rule, "give it more memory, or few and small pods")


def disks(node: Node, whole: Whole) -> Iterator[Finding]:
    """Judge the room on each file system for all that will lie on it, and the speed of etcd's."""
    needs, paths = room(node, whole)
    for device, need in sorted(needs.items()):
        row = node.facts["disks"][paths[device][0]]
        names = ", ".join(paths[device])
        if row["free"] < need:
            fix = "free some space, or mount a larger disk there"
            yield node.error("disk", f"{row['free']} MiB free for {names}", f"{need} MiB", fix)
        else:
            yield from eviction(node, paths[device])
    speed = node.facts["fsync_ms"]
    if speed is not None and speed > FSYNC_MS:
        rule = f"99 of 100 synchronous writes within {FSYNC_MS} ms"
        yield node.warning(
            "disk of /var/lib/etcd", f"{speed} ms", rule, "put etcd on an SSD that nothing else is busy with"
        )


def room(node: Node, whole: Whole) -> tuple[dict[int, int], dict[int, list[str]]]:
    """Return what each device must hold, in MiB, and which of our folders lie on it."""
    needs: dict[int, int] = defaultdict(int)
    paths: dict[int, list[str]] = defaultdict(list)
    for path, row in node.facts["disks"].items():
        if path == "/var/lib/etcd" and not node.control_plane:
            continue
        need = MEMBER_ROOM_MIB if whole.member(node) else ROOM_MIB.get(path, 0)
        if path == "/var/lib/kubesmith":
            seen = node.facts["bundle"] and node.facts["bundle"] == whole.cluster.bundle.get("digest")
            need = 0 if seen or whole.member(node) else int(whole.cluster.bundle.get("mib", 0))
        if need:
            needs[row["device"]] += need
            paths[row["device"]].append(path)
    return needs, paths


def eviction(node: Node, paths: list[str]) -> Iterator[Finding]:
    """Warn where the kubelet would evict pods at once."""
    for path in paths:
        row = node.facts["disks"][path]
        part = 100 * row["free"] // max(1, row["size"])
        if part < EVICTION.get(path, 0):
            rule = f"below {EVICTION[path]} % the kubelet evicts pods"
            yield node.warning(
                "disk", f"{part} % free for {path}", rule, "free some space, or mount a larger disk there"
            )


def swap(node: Node, _whole: Whole) -> Iterator[Finding]:
    """Judge swap: on now, in fstab, and as units, zram too."""
    facts, keep = node.facts["swap"], node.settings["swap"] == "keep"
    rule = "the kubelet wants no swap"
    if facts["active"] and not keep:
        fix = "nothing to do: up turns it off"
        yield node.warning("swap", f"on: {', '.join(facts['active'])}", rule, fix)
    for line in facts["fstab"]:
        fix = "take the line out of /etc/fstab" if keep else "nothing to do: up comments the line out"
        yield node.warning("swap at boot", f"/etc/fstab: {' '.join(line.split())}", rule, fix)
    for unit in facts["units"]:
        fix = f"rm {unit}" if unit.startswith("/") else f"systemctl disable --now {unit}; systemctl mask {unit}"
        yield node.warning("swap at boot", unit, rule, fix)


def programs(node: Node, _whole: Whole) -> Iterator[Finding]:
    """Judge the programs that kubeadm and our own modules call."""
    have = node.facts["machine"]["programs"]
    for group, make in ((PROGRAMS, node.error), (USEFUL, node.warning)):
        names = [name for name in group if not have.get(name, True)]
        if names:
            rule = "kubeadm or our modules call them" if group is PROGRAMS else "the kubelet or its tools call them"
            family = data().family(node.facts["machine"])
            manager = node.facts["machine"]["packages"] or family.manager
            fix = f"{manager} install {' '.join(packages(family, names))}"
            yield make("programs", f"no {', '.join(names)}", rule, fix)


def kernel_modules(node: Node, _whole: Whole) -> Iterator[Finding]:
    """Judge whether the kernel has the modules that the cluster needs."""
    missing = node.facts["modules_missing"]
    if missing and not node.facts["reboot"]:
        fix = f"install the package with this kernel's modules ({node.facts['machine']['kernel']})"
        yield node.error("kernel modules", f"no {', '.join(missing)}", "the cluster's network needs them", fix)


def boot(node: Node, _whole: Whole) -> Iterator[Finding]:
    """Judge whether the machine waits for a reboot, or has only just booted."""
    for reason in node.facts["reboot"]:
        make = node.error if "modules" in reason else node.warning
        yield make("reboot", reason, "nodes run what is installed on them", "reboot the machine")
    state, uptime = node.facts["state"], node.facts["machine"]["uptime"]
    if state in ("initializing", "starting", "stopping", "maintenance", "offline"):
        rule = "the machine has booted"
        yield node.error("systemd", state, rule, "wait until `systemctl is-system-running --wait` returns")
    elif not node.container and uptime < BOOTED_SECONDS:
        fix = "look why it booted, if nobody wanted it: journalctl --boot=-1 --lines=50"
        yield node.warning("boot", f"{uptime:.0f} s ago", f"more than {BOOTED_SECONDS} s ago", fix)


def sysctls(node: Node, _whole: Whole) -> Iterator[Finding]:
    """Judge kernel parameters that a hardening sets against us, now and at boot."""
    live, at_boot = node.facts["sysctls"]["live"], node.facts["sysctls"]["at_boot"]
    if live["net.ipv4.conf.all.rp_filter"] == "2":
        fix = "sysctl -w net.ipv4.conf.all.rp_filter=1, and the same in /etc/sysctl.d"
        yield node.error("sysctl", "net.ipv4.conf.all.rp_filter = 2", "Calico starts with 0 or 1 only", fix)
    for key, wanted in FORWARDING.items():
        file, value = at_boot.get(key, ("", wanted))
        if value != wanted and file.rsplit("/", 1)[-1] > OWN_SYSCTLS.rsplit("/", 1)[-1]:
            rule = f"{key} is {wanted} at boot; the file comes after {OWN_SYSCTLS}"
            yield node.error("sysctl at boot", f"{file}: {key} = {value}", rule, f"take the line out of {file}")
    for key, least in INOTIFY.items():
        if not node.container and live[key].isdigit() and int(live[key]) < least:
            yield node.warning("sysctl", f"{key} = {live[key]}", f"at least {least}", f"sysctl -w {key}={least}")


def security(node: Node, _whole: Whole) -> Iterator[Finding]:
    """Warn of SELinux in enforcing mode, with which we have no experience."""
    if node.facts["machine"]["selinux"]:
        fix = "setenforce 0, and SELINUX=permissive in /etc/selinux/config, if pods cannot read their files"
        yield node.warning("SELinux", "enforcing", "not tried by kubesmith", fix)


RULES = (system, cgroups, size, disks, swap, programs, kernel_modules, boot, sysctls, security)
