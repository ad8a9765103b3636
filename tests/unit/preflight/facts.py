"""A node as the module node_preflight describes it, with nothing wrong."""

import copy

from kubesmith.preflight import Cluster, Node

ADDRESSES = {"cp1": "10.1.0.11", "w1": "10.1.0.21", "w2": "10.1.0.22"}
BUNDLE = {"digest": "sha256:aa", "arch": "amd64", "kubernetes": "1.37.2", "mib": 1500}
CLUSTER = Cluster("dev", "1.37.2", "", BUNDLE)
PLAIN = {
    "euid": 0,
    "machine": {
        "hostname": "",
        "os": {"id": "debian", "version": "12"},
        "kernel": "6.1.0-18-amd64",
        "machine": "x86_64",
        "python": "3.11.2",
        "cpus": 2,
        "memory_mib": 2048,
        "systemd": True,
        "cgroups": "v2",
        "like": [],
        "controllers": ["cpu", "cpuset", "memory", "pids"],
        "uptime": 4000.0,
        "selinux": False,
        "apparmor": True,
        "programs": dict.fromkeys(
            ("conntrack", "losetup", "mount", "ip", "iptables", "nsenter", "socat", "modprobe"), True
        ),
        "packages": "apt-get",
        "machine_id": "",
        "product_uuid": "",
    },
    "dns": {"servers": ["10.1.0.1"], "behind": [], "answering": ["10.1.0.1"]},
    "firewall": {"drops": [], "chains": []},
    "services": {},
    "state": "running",
    "swap": {"active": [], "fstab": [], "units": []},
    "paths": {},
    "registries": {},
    "fsync_ms": None,
    "traces": {
        "member": "absent",
        "control_plane": "absent",
        "ca": "",
        "cluster": "",
        "confs": {},
        "manifests": [],
        "etcd": [],
        "cni": [],
        "drivers": {"kubelet": "", "containerd": ""},
    },
    "ports": [],
    "sysctls": {
        "live": {
            "net.ipv4.ip_forward": "0",
            "net.ipv4.conf.all.rp_filter": "0",
            "net.bridge.bridge-nf-call-iptables": "",
            "net.bridge.bridge-nf-call-ip6tables": "",
            "fs.inotify.max_user_instances": "128",
            "fs.inotify.max_user_watches": "8192",
        },
        "at_boot": {},
    },
    "interfaces": {"eth0": {"mtu": 1500, "addresses": [], "mac": "", "pods": False}},
    "default_route": True,
    "disks": {
        path: {"device": 1, "free": 20000, "size": 40000}
        for path in ("/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd", "/var/lib/kubesmith")
    },
    "modules_missing": [],
    "reboot": [],
    "bundle": "",
    "clock": [100.2, 100.6],
}
SETTINGS = {"swap": "disable", "encapsulation": "vxlan", "pod_mtu": 0, "fail_cgroup_v1": True, "proxy": "nftables"}


def node(name="w1", *changes, container=False, settings=None):
    """Return a node with ``changes``, each (path with slashes after the first part's dots, value)."""
    role = "control-plane" if name.startswith("cp") else "worker"
    wanted = {"node": name, "address": ADDRESSES[name], "role": role, "container": container}
    facts = copy.deepcopy(PLAIN) | {"wanted": wanted | {"settings": SETTINGS | (settings or {})}}
    facts["machine"] |= {"hostname": name, "machine_id": f"id-{name}", "product_uuid": f"uuid-{name}"}
    facts["interfaces"]["eth0"] |= {"addresses": [ADDRESSES[name]], "mac": f"02:{name}"}
    for path, value in changes:
        *above, last = path
        place = facts
        for part in above:
            place = place[part]
        place[last] = value
    return Node(name, facts, asked=100.0, answered=100.8)


def member(name, ca="ca-dev", cluster="dev", server="10.1.0.11:6443", member="complete"):
    """Return the changes that make a node a member of a cluster."""
    traces = copy.deepcopy(PLAIN["traces"]) | {
        "member": member,
        "ca": ca,
        "confs": {"kubelet.conf": {"ca": ca, "server": server}},
        "cni": ["10-calico.conflist", "calico-kubeconfig"],
    }
    if name.startswith("cp"):
        traces |= {"control_plane": member, "cluster": cluster, "manifests": ["etcd.yaml"], "etcd": ["member"]}
    return ("traces",), traces
