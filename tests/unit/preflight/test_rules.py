"""Every rule of preflight: facts in, exactly one finding out."""

import importlib.util
from pathlib import Path

import pytest

from kubesmith.preflight import CONTROLLER, Cluster, Finding, judge

# The folder is no package (importlib mode), so that its helper is loaded by its path.
LOADER = importlib.util.spec_from_file_location("preflight_facts", Path(__file__).with_name("facts.py"))
facts = importlib.util.module_from_spec(LOADER)
LOADER.loader.exec_module(facts)
node, member, CLUSTER = facts.node, facts.member, facts.CLUSTER


def found(*nodes, cluster=CLUSTER):
    return [(row.severity, row.node, row.what, row.seen, row.fix) for row in judge(nodes, cluster)]


def port(number, process, pid, protocol="tcp", address="0.0.0.0"):
    return {"port": number, "protocol": protocol, "address": address, "process": process, "pid": pid}


def machine(key, value):
    return ("machine", key), value


def program(name):
    return ("machine", "programs", name), False


def disk(path, **values):
    return ("disks", path), {"device": 2, "free": 20000, "size": 40000} | values


def trace(key, value):
    return ("traces", key), value


def sysctl(key, value):
    return ("sysctls", "live", key), value


RESET = "kubeadm reset --force --cleanup-tmp-dir; rm -rf /etc/cni/net.d"
FORWARD = "net.ipv4.ip_forward"
CASES = {
    "an old system": (
        node("w1", machine("os", {"id": "debian", "version": "10"})),
        ("warning", "operating system", "debian 10", "use one of these if something fails"),
    ),
    "an unknown system": (
        node("w1", machine("os", {"id": "void", "version": ""})),
        ("warning", "operating system", "void", "use one of these if something fails"),
    ),
    "another architecture": (
        node("w1", machine("machine", "aarch64")),
        ("error", "architecture", "arm64", "use a machine with amd64, or build a bundle for arm64"),
    ),
    "a kernel that kubeadm refuses": (
        node("w1", machine("kernel", "5.14.0-1")),
        ("error", "kernel", "5.14.0-1", "install a newer kernel and reboot"),
    ),
    "a kernel without what nftables mode needs": (
        node("w1", machine("kernel", "5.10.0-30")),
        ("error", "kernel", "5.10.0-30", "set network.proxy: iptables, or install a newer kernel"),
    ),
    "no systemd": (
        node("w1", machine("systemd", False)),
        ("error", "systemd", "does not run", "boot the machine with systemd"),
    ),
    "cgroups v1": (
        node("w1", machine("cgroups", "v1")),
        (
            "error",
            "cgroups",
            "v1",
            "boot with systemd.unified_cgroup_hierarchy=1, or set kubeadm.kubelet.failCgroupV1: false",
        ),
    ),
    "a controller switched off": (
        node("w1", machine("controllers", ["cpu", "cpuset", "pids"])),
        ("error", "cgroup controllers", "no memory", "boot with cgroup_enable=memory"),
    ),
    "drivers that disagree": (
        node("w1", trace("drivers", {"kubelet": "cgroupfs", "containerd": "true"})),
        (
            "error",
            "cgroup driver",
            "kubelet cgroupfs, containerd SystemdCgroup = true",
            "set cgroupDriver: systemd in /var/lib/kubelet/config.yaml",
        ),
    ),
    "containerd's driver changed by hand": (
        node("w1", trace("drivers", {"kubelet": "systemd", "containerd": "false"})),
        (
            "warning",
            "cgroup driver",
            "kubelet systemd, containerd SystemdCgroup = false",
            "nothing to do: up corrects containerd's file",
        ),
    ),
    "one CPU": (node("cp1", machine("cpus", 1)), ("error", "CPUs", "1", "give the machine another CPU")),
    "little memory on a control plane": (
        node("cp1", machine("memory_mib", 1699)),
        ("error", "memory", "1699 MiB", "give it more memory"),
    ),
    "little memory on a worker": (
        node("w1", machine("memory_mib", 512)),
        ("warning", "memory", "512 MiB", "give it more memory, or few and small pods"),
    ),
    "a full disk": (
        node("w1", disk("/var/lib/containerd", free=3000)),
        ("error", "disk", "3000 MiB free for /var/lib/containerd", "free some space, or mount a larger disk there"),
    ),
    "no room for the bundle": (
        node("w1", disk("/var/lib/kubesmith", free=1499)),
        ("error", "disk", "1499 MiB free for /var/lib/kubesmith", "free some space, or mount a larger disk there"),
    ),
    "a disk that the kubelet would empty": (
        node("w1", disk("/var/lib/kubelet", free=3900)),
        ("warning", "disk", "9 % free for /var/lib/kubelet", "free some space, or mount a larger disk there"),
    ),
    "a slow disk": (
        node("cp1", (("fsync_ms",), 10.01)),
        ("warning", "disk of /var/lib/etcd", "10.01 ms", "put etcd on an SSD that nothing else is busy with"),
    ),
    "swap": (
        node("w1", (("swap", "active"), ["/dev/sda2", "/dev/zram0"])),
        ("warning", "swap", "on: /dev/sda2, /dev/zram0", "nothing to do: up turns it off"),
    ),
    "swap in fstab": (
        node("w1", (("swap", "fstab"), ["/swapfile  none swap sw 0 0"])),
        (
            "warning",
            "swap at boot",
            "/etc/fstab: /swapfile none swap sw 0 0",
            "nothing to do: up comments the line out",
        ),
    ),
    "swap in fstab where up keeps it": (
        node("w1", (("swap", "fstab"), ["/swapfile none swap sw 0 0"]), settings={"swap": "keep"}),
        (
            "warning",
            "swap at boot",
            "/etc/fstab: /swapfile none swap sw 0 0",
            "take the line out of /etc/fstab",
        ),
    ),
    "a unit with zram": (
        node("w1", (("swap", "units"), ["dev-zram0.swap"])),
        (
            "warning",
            "swap at boot",
            "dev-zram0.swap",
            "systemctl disable --now dev-zram0.swap; systemctl mask dev-zram0.swap",
        ),
    ),
    "a generator of zram": (
        node("w1", (("swap", "units"), ["/etc/systemd/zram-generator.conf"])),
        ("warning", "swap at boot", "/etc/systemd/zram-generator.conf", "rm /etc/systemd/zram-generator.conf"),
    ),
    "programs that kubeadm demands": (
        node("w1", program("conntrack"), program("mount"), program("losetup")),
        ("error", "programs", "no conntrack, losetup, mount", "apt-get install conntrack mount"),
    ),
    "the same where dnf installs": (
        node("w1", program("conntrack"), program("ip"), machine("packages", "dnf")),
        ("error", "programs", "no conntrack, ip", "dnf install conntrack-tools iproute"),
    ),
    "programs that are useful": (
        node("w1", program("socat")),
        ("warning", "programs", "no socat", "apt-get install socat"),
    ),
    "kernel modules": (
        node("w1", (("modules_missing",), ["br_netfilter", "vxlan"])),
        (
            "error",
            "kernel modules",
            "no br_netfilter, vxlan",
            "install the package with this kernel's modules (6.1.0-18-amd64)",
        ),
    ),
    "a kernel that was replaced": (
        node(
            "w1",
            (("reboot",), ["the running kernel 6.1 has no modules in /lib/modules any more"]),
            (("modules_missing",), ["vxlan"]),
        ),
        ("error", "reboot", "the running kernel 6.1 has no modules in /lib/modules any more", "reboot the machine"),
    ),
    "a pending reboot": (
        node("w1", (("reboot",), ["/run/reboot-required exists (libc6)"])),
        ("warning", "reboot", "/run/reboot-required exists (libc6)", "reboot the machine"),
    ),
    "a machine that still boots": (
        node("w1", (("state",), "starting")),
        ("error", "systemd", "starting", "wait until `systemctl is-system-running --wait` returns"),
    ),
    "a machine that has just booted": (
        node("w1", machine("uptime", 12.3)),
        (
            "warning",
            "boot",
            "12 s ago",
            "look why it booted, if nobody wanted it: journalctl --boot=-1 --lines=50",
        ),
    ),
    "loose reverse path filter": (
        node("w1", sysctl("net.ipv4.conf.all.rp_filter", "2")),
        (
            "error",
            "sysctl",
            "net.ipv4.conf.all.rp_filter = 2",
            "sysctl -w net.ipv4.conf.all.rp_filter=1, and the same in /etc/sysctl.d",
        ),
    ),
    "forwarding switched off after our file": (
        node("w1", (("sysctls", "at_boot"), {FORWARD: ["/etc/sysctl.d/zzz-cis.conf", "0"]})),
        (
            "error",
            "sysctl at boot",
            "/etc/sysctl.d/zzz-cis.conf: net.ipv4.ip_forward = 0",
            "take the line out of /etc/sysctl.d/zzz-cis.conf",
        ),
    ),
    "few inotify instances": (
        node("w1", sysctl("fs.inotify.max_user_instances", "64")),
        ("warning", "sysctl", "fs.inotify.max_user_instances = 64", "sysctl -w fs.inotify.max_user_instances=128"),
    ),
    "SELinux": (
        node("w1", machine("selinux", True)),
        (
            "warning",
            "SELinux",
            "enforcing",
            "setenforce 0, and SELINUX=permissive in /etc/selinux/config, if pods cannot read their files",
        ),
    ),
    "no address": (
        node("w1", (("wanted", "address"), "")),
        ("error", "node address", "none", "set nodes[].address in the cluster file"),
    ),
    "an address that is elsewhere": (
        node("w1", (("wanted", "address"), "10.1.0.99")),
        (
            "error",
            "node address",
            "10.1.0.99 is on no interface (10.1.0.21)",
            "give nodes[].address an address that w1 has",
        ),
    ),
    "the NAT's address": (
        node("w1", (("wanted", "address"), "10.0.2.15"), (("interfaces", "eth0", "addresses"), ["10.0.2.15"])),
        (
            "error",
            "node address",
            "10.0.2.15 is local to this machine",
            "set nodes[].address to the address on the network that the nodes share",
        ),
    ),
    "no default route": (
        node("w1", (("default_route",), False)),
        ("warning", "default route", "none", "add one: ip route add default via GATEWAY"),
    ),
    "the API server's port": (
        node("cp1", (("ports",), [port(6443, "python3", 77), port(6443, "python3", 77, address="::")])),
        (
            "error",
            "port 6443/tcp",
            "python3 (pid 77) on 0.0.0.0",
            "stop it: systemctl status 77 names its unit, else kill 77",
        ),
    ),
    "a port of another kubelet": (
        node("w1", (("ports",), [port(10250, "kubelet", 78)])),
        (
            "error",
            "port 10250/tcp",
            "kubelet (pid 78) on 0.0.0.0",
            "it belongs to another cluster, see the leftovers of w1",
        ),
    ),
    "the port of another VXLAN device": (
        node("w1", (("ports",), [port(4789, "kernel", 0, protocol="udp")])),
        (
            "error",
            "port 4789/udp",
            "the kernel on 0.0.0.0",
            "ip -d link show type vxlan; delete the device that uses it",
        ),
    ),
    "firewalls": (
        node(
            "w1",
            (("services",), {"ufw": {"state": "active", "program": "/usr/sbin/ufw"}}),
            (("firewall", "drops"), ["nft inet filter input"]),
        ),
        (
            "warning",
            "firewall",
            "ufw is active, nft inet filter input drops by default",
            "let through, if it does not yet: 10250, 10256, 30000-32767/tcp, 4789/udp, "
            "and forwarding for the pod and service CIDRs",
        ),
    ),
    "no name server": (
        node("w1", (("dns", "servers"), [])),
        ("warning", "DNS", "/etc/resolv.conf has no nameserver", "write one, or pods resolve no outside name"),
    ),
    "a name server on loopback": (
        node("w1", (("dns", "servers"), ["127.0.0.53"])),
        ("error", "DNS", "only 127.0.0.53", "write the address of a real name server into /etc/resolv.conf"),
    ),
    "a name server that is silent": (
        node("w1", (("dns", "answering"), [])),
        (
            "warning",
            "DNS",
            "no answer from 10.1.0.1",
            "check the addresses, and that 53/udp is let out; inside the cluster names resolve nevertheless",
        ),
    ),
    "four name servers": (
        node("w1", (("dns", "servers"), ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4"])),
        ("warning", "DNS", "4 name servers", "leave the best ones in /etc/resolv.conf"),
    ),
    "a mirror that is away": (
        node("w1", (("registries",), {"https://mirror:5000": "Connection refused"})),
        ("warning", "registry", "https://mirror:5000: Connection refused", "check address and firewall"),
    ),
    "a member of another cluster": (
        node("w1", member("w1", ca="ca-prod", server="10.9.0.1:6443")),
        (
            "error",
            "other cluster",
            "complete member of cluster at 10.9.0.1:6443",
            f"take it out of its cluster; if that is gone: {RESET}",
        ),
    ),
    "the control plane of another cluster": (
        node("cp1", member("cp1", ca="ca-prod", server="10.9.0.1:6443", cluster="prod")),
        (
            "error",
            "other cluster",
            "complete member of cluster prod at 10.9.0.1:6443",
            f"take it out of its cluster; if that is gone: {RESET}",
        ),
    ),
    "pieces of nobody knows which": (
        node("w1", trace("member", "partial"), trace("ca", "ca-x"), trace("manifests", ["kube-apiserver.yaml"])),
        (
            "error",
            "leftovers",
            "/etc/kubernetes/manifests/kube-apiserver.yaml, /etc/kubernetes/pki/ca.crt",
            f"if nobody needs them: {RESET}",
        ),
    ),
    "the same on a machine that a provider makes": (
        node("cp1", trace("member", "partial"), trace("etcd", ["member"]), container=True),
        ("warning", "leftovers", "/var/lib/etcd", "nothing to do: up resets them"),
    ),
    "a kubeconfig alone": (
        node("w1", trace("confs", {"scheduler.conf": {"ca": "ca-x", "server": "10.9.0.1:6443"}})),
        ("error", "leftovers", "/etc/kubernetes/scheduler.conf", f"if nobody needs them: {RESET}"),
    ),
    "an etcd that is not empty": (
        node("cp1", trace("etcd", ["lost+found"])),
        ("error", "leftovers", "/var/lib/etcd holds lost+found", "if nobody needs it: rm -rf /var/lib/etcd/*"),
    ),
    "a network plug-in that would win": (
        node("w1", trace("cni", ["05-cilium.conflist", "README"])),
        ("error", "CNI", "/etc/cni/net.d/05-cilium.conflist", "rm /etc/cni/net.d/05-cilium.conflist"),
    ),
    "a network plug-in that would lose": (
        node("w1", trace("cni", ["87-podman.conflist"])),
        ("warning", "CNI", "/etc/cni/net.d/87-podman.conflist", "rm /etc/cni/net.d/87-podman.conflist"),
    ),
    "chains": (
        node("w1", (("firewall", "chains"), [f"nft ip nat KUBE-{number}" for number in range(6)])),
        (
            "warning",
            "leftovers",
            "nft ip nat KUBE-0, nft ip nat KUBE-1, nft ip nat KUBE-2, nft ip nat KUBE-3 and 2 more",
            "reboot, or nft flush ruleset if nothing else filters packets here",
        ),
    ),
    "docker": (
        node("w1", (("services",), {"docker": {"state": "active", "program": "/usr/bin/dockerd"}})),
        ("warning", "service", "docker runs", "systemctl disable --now docker"),
    ),
    "k3s": (
        node("w1", (("services",), {"k3s-agent": {"state": "active", "program": "/usr/local/bin/k3s"}})),
        ("error", "service", "k3s-agent runs", "systemctl disable --now k3s-agent"),
    ),
    "the distribution's containerd": (
        node("w1", (("services",), {"containerd": {"state": "active", "program": "/usr/bin/containerd"}})),
        (
            "warning",
            "service",
            "containerd is /usr/bin/containerd",
            "remove its package; up replaces the running containerd",
        ),
    ),
    "another host name": (
        node("w1", machine("hostname", "debian")),
        ("warning", "host name", "debian", "hostnamectl set-hostname w1"),
    ),
    "no rights": (
        node("w1", (("euid",), 1000)),
        ("error", "rights", "user id 1000", "set access.user: root, or allow the user sudo without a password"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_rule_finds_exactly_this(case):
    made, (severity, what, seen, fix) = CASES[case]
    assert found(made) == [(severity, made.name, what, seen, fix)]


def test_three_good_nodes_have_no_findings():
    assert found(node("cp1"), node("w1"), node("w2")) == []


def test_a_whole_cluster_of_ours_has_no_findings():
    own = [
        port(6443, "kube-apiserver", 1),
        port(2379, "etcd", 2),
        port(10250, "kubelet", 3),
        port(10249, "kube-proxy", 4),
        port(4789, "kernel", 0, protocol="udp"),
    ]
    chains = (("firewall", "chains"), ["nft ip nat KUBE-MARK-MASQ"])
    services = {name: {"state": "active", "program": f"/usr/local/bin/{name}"} for name in ("containerd", "kubelet")}
    running = (("services",), services)
    planes = node("cp1", member("cp1"), (("ports",), own), chains, running)
    worker = node("w1", member("w1"), (("ports",), own[2:]), chains, running)
    assert found(planes, worker) == []


def test_the_device_that_calico_left_is_not_in_its_own_way():
    assert found(node("w1", (("ports",), [port(4789, "vxlan.calico", 0, protocol="udp")]))) == []


def test_somebody_elses_listener_on_a_member_is_found():
    made = node("cp1", member("cp1"), (("ports",), [port(10250, "python3", 9)]))
    assert [row[2:4] for row in found(made)] == [("port 10250/tcp", "python3 (pid 9) on 0.0.0.0")]


def test_a_worker_of_the_cluster_before_is_found_by_its_ca():
    rows = found(node("cp1", member("cp1", ca="ca-new")), node("w1", member("w1", ca="ca-old")))
    assert [row[:3] for row in rows] == [("error", "w1", "other cluster")]


def test_the_kubeconfig_kept_here_tells_the_ca_where_the_control_plane_is_bare():
    cluster = Cluster("dev", "1.37.2", "ca-dev", facts.BUNDLE)
    assert found(node("cp1"), node("w1", member("w1", server="10.1.0.99:6443")), cluster=cluster) == []


def test_an_init_that_was_interrupted_is_ours():
    assert found(node("cp1", member("cp1", ca="ca-2", member="partial"))) == []


def test_a_join_that_was_interrupted_is_ours():
    traces = facts.PLAIN["traces"] | {
        "member": "partial",
        "confs": {"bootstrap-kubelet.conf": {"ca": "ca-dev", "server": "10.1.0.11:6443"}},
    }
    assert found(node("cp1", member("cp1")), node("w1", (("traces",), traces))) == []


def test_one_kubeconfig_of_another_cluster_on_a_member():
    traces = member("cp1")[1]
    traces["confs"]["admin.conf"] = {"ca": "ca-prod", "server": "10.9.0.1:6443"}
    assert found(node("cp1", (("traces",), traces))) == [
        (
            "error",
            "cp1",
            "other cluster",
            "/etc/kubernetes/admin.conf trusts another CA (10.9.0.1:6443)",
            "rm /etc/kubernetes/admin.conf",
        )
    ]


def test_equal_host_names():
    rows = found(node("w1"), node("w2", machine("hostname", "w1")))
    assert rows == [
        ("error", "w1", "host name", "w1, as w2", "rename w2"),
        ("error", "w2", "host name", "w1, as w1", "hostnamectl set-hostname w2"),
    ]


def test_a_copied_machine():
    copied = [machine("machine_id", "m"), machine("product_uuid", "p"), (("interfaces", "eth0", "mac"), "02:1")]
    rows = found(node("w1", *copied), node("w2", *copied))
    assert {row[:4] for row in rows} == {
        ("error", "w1", "product_uuid", "p, as w2"),
        ("error", "w2", "product_uuid", "p, as w1"),
        ("error", "w1", "MAC address", "02:1, as w2"),
        ("error", "w2", "MAC address", "02:1, as w1"),
        ("warning", "w1", "machine-id", "m, as w2"),
        ("warning", "w2", "machine-id", "m, as w1"),
    }


def test_containers_may_see_the_product_uuid_of_their_host():
    same = machine("product_uuid", "p")
    assert found(node("w1", same, container=True), node("w2", same, container=True)) == []


def test_equal_addresses():
    same = [(("wanted", "address"), "10.1.0.21"), (("interfaces", "eth0", "addresses"), ["10.1.0.21"])]
    rows = found(node("w1"), node("w2", *same))
    assert [row[1:4] for row in rows] == [
        ("w1", "node address", "10.1.0.21, as w2"),
        ("w2", "node address", "10.1.0.21, as w1"),
    ]


class TestClock:
    """How far apart clocks may be, and which of them is wrong."""

    def at(self, name, offset, took=0.8):
        """A node whose clock is ahead; asked at 100 s and answered ``took`` later by our clock."""
        return node(name, (("clock",), [100.2 + offset, 100.6 + offset]))

    def test_a_clock_ahead_is_found_with_its_bounds(self):
        rows = found(self.at("cp1", 0), self.at("w1", 0.3), self.at("w2", 5))
        assert [row[1:4] for row in rows] == [("w2", "clock", "+4.7 s from the others (within 0.2 s)")]

    def test_a_clock_behind_is_found(self):
        rows = found(self.at("cp1", 0), self.at("w1", 0), self.at("w2", -3600))
        assert [row[1:4] for row in rows] == [("w2", "clock", "-3600.0 s from the others (within 0.2 s)")]

    def test_clocks_that_may_agree_within_the_answers_times_are_not_found(self):
        assert found(self.at("cp1", 0), self.at("w1", 1.3)) == []

    def test_our_own_clock_does_not_matter(self):
        assert found(self.at("cp1", 900), self.at("w1", 900)) == []

    def test_of_two_the_one_that_is_not_with_us_is_named(self):
        rows = found(self.at("cp1", 0), self.at("w1", 90))
        assert [row[1:4] for row in rows] == [("w1", "clock", "+90.0 s from the others (within 0.2 s)")]
        assert [row[1] for row in found(self.at("cp1", -90), self.at("w1", 0))] == ["cp1"]

    def test_a_programs_clock_in_a_container_may_be_another_than_its_hosts(self):
        far = (("clock",), [500.0, 500.1])
        assert [row[1:3] for row in found(node("w1", container=True), node("w2", far, container=True))] == [
            ("w2", "clock")
        ]


def test_unequal_mtus():
    rows = found(node("cp1"), node("w1", (("interfaces", "eth0", "mtu"), 1450)))
    assert rows == [
        (
            "error",
            "cp1",
            "MTU",
            "1500 on eth0, 1450 on w1",
            "give all the same MTU, or set network.calico.mtu: 1400",
        )
    ]


def test_an_mtu_that_was_set_is_believed():
    assert found(node("cp1", (("paths",), {"10.1.0.21": "small"}), settings={"pod_mtu": 1300})) == []


def test_no_echo():
    assert found(node("cp1"), node("w1", (("paths",), {"10.1.0.11": "none"}))) == [
        (
            "warning",
            "w1",
            "way between nodes",
            "no echo from cp1 (10.1.0.11)",
            "ping 10.1.0.11; look at routes and firewalls between them, unless ICMP alone is filtered",
        )
    ]


def test_a_way_with_a_smaller_mtu():
    assert found(node("cp1"), node("w1", (("paths",), {"10.1.0.11": "small"}))) == [
        (
            "error",
            "w1",
            "MTU",
            "1500 bytes do not get to cp1 (10.1.0.11), 64 do",
            "set network.calico.mtu to what the way takes less 50, or mend the MTU of the switches between",
        )
    ]


def test_ways_to_a_node_that_does_not_answer_us_either():
    assert found(node("w1", (("paths",), {"10.1.0.11": "none"}))) == []


def test_a_cluster_on_the_same_machines_that_is_not_ours():
    assert [row[1:3] for row in found(node("cp1", member("cp1", cluster="old")))] == [("cp1", "other cluster")]
    assert [row[1:3] for row in found(node("cp1", member("cp1", cluster="")))] == [("cp1", "other cluster")]
    assert [row[1:3] for row in found(node("cp1"), node("w1", member("w1")))] == [("w1", "other cluster")]


@pytest.mark.parametrize(
    ("bundle", "seen"), [({}, "none"), (facts.BUNDLE | {"kubernetes": "1.36.3"}, "Kubernetes 1.36.3")]
)
def test_the_bundle(bundle, seen):
    assert found(node("w1"), cluster=Cluster("dev", "1.37.2", "", bundle)) == [
        ("error", CONTROLLER, "bundle", seen, "python3 runner.py bundle build")
    ]


def test_a_bundle_that_the_node_sees_needs_no_room():
    assert found(node("w1", disk("/var/lib/kubesmith", free=0), (("bundle",), "sha256:aa"))) == []


def test_rooms_on_one_disk_add_up():
    rows = found(
        node(
            "w1", *(disk(path, free=4000) for path in ("/var/lib/containerd", "/var/lib/kubelet", "/var/lib/kubesmith"))
        )
    )
    assert rows[0][3] == "4000 MiB free for /var/lib/containerd, /var/lib/kubelet, /var/lib/kubesmith"


def test_a_member_has_its_images_already():
    full = disk("/var/lib/containerd", free=300, size=1000)
    assert found(node("cp1", member("cp1")), node("w1", member("w1"), full)) == []


def test_forwarding_switched_off_before_our_file_does_not_matter():
    early = (("sysctls", "at_boot"), {FORWARD: ["/etc/sysctl.d/50-cis.conf", "0"]})
    assert found(node("w1", early)) == []


def test_errors_come_first_and_nodes_in_their_order():
    rows = judge([node("cp1", (("fsync_ms",), 50)), node("w1", machine("systemd", False))], Cluster("dev", "1.37.2"))
    assert [(row.severity, row.node) for row in rows] == [("error", CONTROLLER), ("error", "w1"), ("warning", "cp1")]


def test_every_finding_says_all_there_is_to_say():
    for made, _expected in CASES.values():
        for finding in judge([made], CLUSTER):
            assert isinstance(finding, Finding)
            assert all((finding.node, finding.what, finding.seen, finding.rule, finding.fix))


VIP = "10.1.0.9"
PLANES = Cluster("dev", "1.37.2", "", facts.BUNDLE, ("cp1",))


def plane(*changes):
    return node("cp1", (("wanted", "vip"), VIP), *changes)


def on_it(name="cp1"):
    return ("interfaces", "eth0", "addresses"), [facts.ADDRESSES[name], VIP]


def test_a_free_shared_address_is_no_finding():
    assert found(plane(), node("w1"), cluster=PLANES) == []


def test_a_shared_address_that_a_stranger_has():
    fix = "choose a free address for cluster.vip, or find who has this one: ip neighbour"
    seen = f"{VIP} answers as 02:99"
    wanted = [("error", "cp1", "cluster.vip", seen, fix)]
    assert found(plane((("vip_holder",), "02:99")), node("w1"), cluster=PLANES) == wanted
    # Another control plane, which was not looked at, may have it.
    more = Cluster("dev", "1.37.2", "", facts.BUNDLE, ("cp1", "cp2"))
    assert found(plane((("vip_holder",), "02:99")), cluster=more) == []


def test_a_shared_address_is_where_it_belongs():
    assert found(plane(member("cp1"), on_it(), (("vip_holder",), "02:cp1")), cluster=PLANES) == []


@pytest.mark.parametrize("name", ["cp1", "w1"])
def test_a_shared_address_that_was_put_on_a_node_by_somebody(name):
    row = node(name, (("wanted", "vip"), VIP), on_it(name))
    fix = f"ip address del {VIP}/32 dev eth0, and what set it; or choose another cluster.vip"
    others = [] if name == "cp1" else [plane((("vip_holder",), "02:w1"))]
    assert found(row, *others, cluster=PLANES) == [("error", name, "cluster.vip", f"{VIP} is on eth0", fix)]


@pytest.mark.parametrize(
    ("process", "ours", "errors"),
    [("haproxy", True, 0), ("haproxy", False, 1), ("nginx", True, 1), ("nginx", False, 1)],
)
def test_the_balancers_port_is_its_own(process, ours, errors):
    row = plane(*([member("cp1")] if ours else []), (("ports",), [port(8443, process, 77)]))
    seen = [what for _severity, _node, what, _seen, _fix in found(row, cluster=PLANES)]
    assert seen == ["port 8443/tcp"] * errors
