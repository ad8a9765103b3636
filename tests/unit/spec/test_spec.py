"""Cluster files that are right, and a table of those that are not with the exact sentences."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pydantic
import pytest
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import inventory, load, spec
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.problems import SpecError

INVENTORIES = Path(__file__).parents[3] / "inventories"
LAB = "cluster: {name: lab}\nprovider: podman\n"
METAL = "cluster: {name: m}\nprovider: ssh\nnodes:\n"
CP = "  - {name: cp1, role: control-plane, address: 192.168.10.11}\n"


def check(text: str) -> spec.Spec:
    return spec.check(load.parse(text.encode(), "f"), "f")


def sentences(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        check(text)
    return str(caught.value).splitlines()


def test_pods_and_services_are_apart_from_the_controllers_own_networks() -> None:
    own = {"eth0": ipaddress.IPv4Network("10.96.0.0/24"), "wlan0": ipaddress.IPv4Network("192.168.1.0/24")}
    text = LAB + "network: {nodes: 192.168.1.0/26}\n"
    with pytest.raises(SpecError) as caught:
        spec.check(load.parse(text.encode(), "f"), "f", own)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(
        "f:3:1: network.services: 10.96.0.0/12 overlaps this machine's own network 10.96.0.0/24 (eth0)"
    )


def test_double_keys_are_told_with_all_else_that_is_wrong() -> None:
    rows = sentences(LAB + "provider: ssh\nwokers: 3\n")
    assert [row.split(": ")[1] for row in rows] == ["nodes", "provider", "wokers"]


@pytest.mark.parametrize("file", sorted(INVENTORIES.glob("*/cluster.yml")), ids=lambda file: file.parent.name)
def test_the_files_we_ship_are_right(file: Path) -> None:
    assert spec.read(file).machines()


def test_the_least_that_a_lab_needs() -> None:
    lab = check(LAB)
    assert [node.name for node in lab.machines()] == ["cp1"]
    assert lab.cluster.kubernetes == spec.VERSIONS[-1]
    assert lab.network.calico.encapsulation == "vxlan"


def test_counted_nodes_get_names() -> None:
    nodes = check(LAB + "control_planes: 3\nworkers: 2\n").machines()
    assert [(node.name, node.role) for node in nodes] == [
        ("cp1", "control-plane"),
        ("cp2", "control-plane"),
        ("cp3", "control-plane"),
        ("w1", "worker"),
        ("w2", "worker"),
    ]


@pytest.mark.parametrize("wanted", ["1.37.2", "v1.37.2", "1.37", "stable"])
def test_a_version_may_be_exact_a_minor_or_stable(wanted: str) -> None:
    assert check(f"cluster: {{name: a, kubernetes: {wanted}}}\nprovider: podman\n").cluster.kubernetes == "1.37.2"


def test_a_spec_cannot_be_changed() -> None:
    lab = check(LAB)
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        lab.lab = True  # type: ignore[misc]


BAD = {
    "eight mistakes at once": (
        """\
clustr: {}
cluster:
  name: Bad_Name
  kubernetes: 1.99
  kubernets: 1
provider: ssh
nodes:
  - {name: a, address: 10.0.0.300}
  - {name: a, address: 192.168.1.2}
network:
  pods: 10.96.0.0/16
  calico: {mtu: "big"}
lab: 1
""",
        [
            "f:1:1: clustr: is not a known setting; did you mean cluster?",
            "f:3:3: cluster.name: 'Bad_Name' is not a name: lower-case letters, digits and inner hyphens",
            "f:4:3: cluster.kubernetes: '1.99' is not a Kubernetes version that this release builds: "
            "1.36.3, 1.37.2, or stable",
            "f:5:3: cluster.kubernets: is not a known setting; did you mean kubernetes?",
            "f:7:1: nodes: there is no control plane; give one node 'role: control-plane'",
            "f:8:15: nodes[0].address: '10.0.0.300' is not an IPv4 address such as 192.168.56.10",
            "f:9:6: nodes[1].name: 'a' is the name of nodes[0] too; rename one",
            "f:10:1: network.services: 10.96.0.0/12 overlaps network.pods 10.96.0.0/16; "
            "choose ranges that share no address",
            "f:12:12: network.calico.mtu: 'big' is not a whole number",
            "f:13:1: lab: 1 is not true or false",
        ],
    ),
    "an empty file": ("", ["f:1:1: is nothing, not a mapping; begin with 'cluster:'"]),
    "a list": ("- a\n", ["f:1:1: is ['a'], not a mapping; begin with 'cluster:'"]),
    "no cluster": ("provider: podman\n", ["f:1:1: cluster: is missing; it has no default"]),
    "an empty cluster": (
        "cluster:\nprovider: podman\n",
        ["f:1:1: cluster: nothing is not a mapping; settings here are endpoint, kubernetes, name, vip, vip_port"],
    ),
    "no name": ("cluster: {}\nprovider: podman\n", ["f:1:1: cluster.name: is missing; it has no default"]),
    "a name that is too long": (
        f"cluster: {{name: {'a' * 33}}}\nprovider: podman\n",
        [f"f:1:11: cluster.name: '{'a' * 33}' has 33 characters, the most is 32"],
    ),
    "a name that is a number": (
        "cluster: {name: 5}\nprovider: podman\n",
        ['f:1:11: cluster.name: 5 is not text; write "5" in quotes'],
    ),
    "a setting unlike any other": (
        LAB + "network: {colour: red}\n",
        [
            "f:3:11: network.colour: is not a known setting; "
            "settings here are calico, dns_domain, nodes, pods, proxy, services"
        ],
    ),
    "a word that is not a choice": (
        "cluster: {name: a}\nprovider: podmann\nnodes: [{name: a, role: control-plane, address: 10.1.1.1}]\n",
        ["f:2:1: provider: 'podmann' is not one of 'podman', 'vagrant' or 'ssh'; did you mean podman?"],
    ),
    "a role misspelt does not also claim that there is no control plane": (
        METAL + "  - {name: a, role: controlplane, address: 10.1.1.1}\n",
        [
            "f:4:15: nodes[0].role: 'controlplane' is not one of 'control-plane' or 'worker'; "
            "did you mean control-plane?"
        ],
    ),
    "counts out of range": (
        LAB + "control_planes: 9\nworkers: -1\n",
        ["f:3:1: control_planes: 9 is more than 7", "f:4:1: workers: -1 is less than 0"],
    ),
    "half a worker": (LAB + "workers: 2.5\n", ["f:3:1: workers: '2.5' is not a whole number"]),
    "a port beyond the last": (
        METAL + "  - {name: a, role: control-plane, address: 10.1.1.1, port: 70000}\n",
        ["f:4:55: nodes[0].port: 70000 is more than 65535"],
    ),
    "nodes as a mapping": (
        "cluster: {name: a}\nnodes: {a: 10.1.1.1}\n",
        ["f:2:1: nodes: {'a': '10.1.1.1'} is not a list; begin each item with '- ', or write [a, b]"],
    ),
    "a node as a word": (
        METAL + CP + "  - w1\n",
        [
            "f:5:5: nodes[1]: 'w1' is not a mapping; settings here are address, address6, group, host, kubelet, "
            "labels, name, port, role, taints, user"
        ],
    ),
    "a typo inside a group": (
        METAL + CP + "groups: {gpu: {label: {a: b}}}\n",
        ["f:5:16: groups.gpu.label: is not a known setting; did you mean labels?"],
    ),
    "a wrong provider does not also claim that nodes are lacking": (
        "cluster: {name: a}\nprovider: vmware\n",
        ["f:2:1: provider: 'vmware' is not one of 'podman', 'vagrant' or 'ssh'"],
    ),
    "the words of other tools": (
        METAL + "  - {name: a, role: master, address: 10.1.1.1, port: '22', labels: {a: true}}\n"
        "features: {audit_log: yes}\nnetwork: {calico: {encapsulation: VXLAN}}\n"
        "access: {user: Admin}\n",
        [
            "f:4:15: nodes[0].role: 'master' is not one of 'control-plane' or 'worker'; did you mean control-plane?",
            "f:4:48: nodes[0].port: '22' is not a whole number; write 22 without quotes",
            'f:4:69: nodes[0].labels.a: true is not text; write "true" in quotes',
            "f:5:12: features.audit_log: 'yes' is not true or false; write true",
            "f:6:20: network.calico.encapsulation: 'VXLAN' is not one of 'vxlan', 'ipip' or 'none'; "
            "did you mean vxlan?",
            "f:7:10: access.user: 'Admin' is not a user name: lower-case letters, digits, '-' and '_', 32 at most",
        ],
    ),
    "a port in the endpoint": (
        "cluster: {name: a, endpoint: 'x.example:6443'}\nprovider: podman\n",
        [
            "f:1:20: cluster.endpoint: 'x.example:6443' is not a host name or address: it has no https:// and no "
            "port, which is 6443"
        ],
    ),
    "nodes outside their network": (
        LAB + "network: {nodes: 10.9.0.0/24}\nnodes:\n  - {name: a, role: control-plane, address: 10.9.0.0}\n"
        "  - {name: b, address: 10.8.0.7}\n  - {name: c, address: 10.9.0.1}\n",
        [
            "f:5:36: nodes[0].address: 10.9.0.0 is no address of a machine in network.nodes 10.9.0.0/24; "
            "change the address or network.nodes, or leave both out",
            "f:6:15: nodes[1].address: 10.8.0.7 is no address of a machine in network.nodes 10.9.0.0/24; "
            "change the address or network.nodes, or leave both out",
            "f:7:15: nodes[2].address: 10.9.0.1 is this machine's own address in network.nodes 10.9.0.0/24; "
            "take another one in it",
        ],
    ),
    "a node network without room": (
        LAB + "workers: 3\nnetwork: {nodes: 10.9.0.0/30}\n",
        [
            "f:4:11: network.nodes: 10.9.0.0/30 has room for 1 machines, the cluster has 4; "
            "take a /24 or wider, or leave it out: a free one is found"
        ],
    ),
    "nine control planes": (
        METAL.replace("name: m", "name: m, vip: 10.1.2.3")
        + "".join(f"  - {{name: c{i}, role: control-plane, address: 10.1.1.{i}}}\n" for i in range(1, 10)),
        [
            "f:3:1: nodes: 9 control planes make 9 etcd members, more than 7; "
            "take 3 or 5: each further one makes every write slower"
        ],
    ),
    "a registry twice": (
        LAB + "runtime: {registries: [{upstream: docker.io}, {upstream: docker.io}]}\n",
        [
            "f:3:48: runtime.registries[1].upstream: docker.io is the upstream of registries[0] too; "
            "give all its mirrors in one place"
        ],
    ),
    "a node without a name": (
        METAL + CP + "  - {address: 10.1.1.1}\n  - {address: 10.1.1.2}\n",
        [
            "f:5:5: nodes[1].name: is missing; it has no default",
            "f:6:5: nodes[2].name: is missing; it has no default",
        ],
    ),
    "a host's address for a network's": (
        LAB + "network: {pods: 10.244.0.1/16}\n",
        ["f:3:11: network.pods: '10.244.0.1/16' has host bits set: the network is 10.244.0.0/16"],
    ),
    "a network without a length": (
        LAB + "network: {pods: 10.244.0.0}\n",
        [
            "f:3:11: network.pods: '10.244.0.0' is not an IPv4 network in CIDR notation such as 10.244.0.0/16",
        ],
    ),
    "a network that is none": (
        LAB + "network: {pods: 10.244.0.0/33, services: fd00::/108}\n",
        [
            "f:3:11: network.pods: '10.244.0.0/33' is not an IPv4 network in CIDR notation such as 10.244.0.0/16",
            "f:3:32: network.services: 'fd00::/108' is not an IPv4 network in CIDR notation such as 10.244.0.0/16",
        ],
    ),
    "networks that overlap": (
        LAB + "network: {pods: 10.96.0.0/16, nodes: 10.96.8.0/24}\n",
        [
            "f:3:1: network.services: 10.96.0.0/12 overlaps network.pods 10.96.0.0/16; "
            "choose ranges that share no address",
            "f:3:31: network.nodes: 10.96.8.0/24 overlaps network.pods 10.96.0.0/16; "
            "choose ranges that share no address",
            "f:3:31: network.nodes: 10.96.8.0/24 overlaps network.services 10.96.0.0/12; "
            "choose ranges that share no address",
        ],
    ),
    "too few pod addresses": (
        LAB + "workers: 4\nnetwork: {pods: 10.244.0.0/24}\n",
        [
            "f:4:11: network.pods: 10.244.0.0/24 has room for 4 nodes (a /26 each), the cluster has 5; "
            "take a larger network"
        ],
    ),
    "a pod network smaller than a block": (
        LAB + "network: {pods: 10.244.0.0/27}\n",
        [
            "f:3:11: network.pods: 10.244.0.0/27 has room for 0 nodes (a /26 each), the cluster has 1; "
            "take a larger network"
        ],
    ),
    "a service network that the API server refuses": (
        LAB + "network: {services: 11.0.0.0/8}\n",
        [
            "f:3:11: network.services: 11.0.0.0/8 has the prefix length 8, the API server takes 12 to 24 here; "
            "for example 10.96.0.0/16"
        ],
    ),
    "a node inside the service network": (
        METAL + "  - {name: a, role: control-plane, address: 10.96.0.10}\n",
        [
            "f:4:36: nodes[0].address: 10.96.0.10 lies in network.services 10.96.0.0/12; "
            "keep node addresses out of both ranges"
        ],
    ),
    "an address twice": (
        METAL + CP + "  - {name: w1, address: 192.168.10.11}\n",
        ["f:5:16: nodes[1].address: 192.168.10.11 is the address of cp1 too; give each its own"],
    ),
    "a name twice": (
        METAL + CP + "  - {name: cp1, address: 192.168.10.12}\n",
        ["f:5:6: nodes[1].name: 'cp1' is the name of nodes[0] too; rename one"],
    ),
    "no control plane": (
        LAB + "control_planes: 0\nworkers: 1\n",
        ["f:3:1: control_planes: there is no control plane; give one node 'role: control-plane'"],
    ),
    "an even number of etcd members": (
        LAB + "control_planes: 2\n",
        ["f:3:1: control_planes: 2 control planes make 2 etcd members, an even number; take 1, 3 or 5"],
    ),
    "nodes listed and counted": (
        LAB + "workers: 2\nnodes: [{name: cp1, role: control-plane}]\n",
        ["f:3:1: workers: is given beside nodes; list the nodes or count them, not both"],
    ),
    "machines that exist without addresses": (
        METAL + "  - {name: cp1, role: control-plane}\n",
        ["f:4:5: nodes[0].address: cp1 has no address; provider ssh needs the address of each node"],
    ),
    "machines that exist, but none listed": (
        "cluster: {name: a}\nworkers: 3\n",
        ["f:1:1: nodes: provider ssh makes no machines and none is listed; list each with name, role and address"],
    ),
    "an endpoint inside the cluster": (
        "cluster: {name: a, endpoint: 10.97.0.1}\nprovider: podman\n",
        ["f:1:20: cluster.endpoint: 10.97.0.1 lies in network.services 10.96.0.0/12; take one outside both ranges"],
    ),
    "several control planes that share nothing": (
        METAL + CP + "".join(f"  - {{name: cp{i}, role: control-plane, address: 192.168.10.1{i}}}\n" for i in (2, 3)),
        [
            "f:1:1: cluster.vip: is missing: 3 control planes need an address in common; cluster.vip: a free address "
            "in the nodes' network; or cluster.endpoint: a load balancer of your own"
        ],
    ),
    "a shared address that is a node's": (
        METAL.replace("name: m", "name: m, vip: 192.168.10.11") + CP,
        [
            "f:1:20: cluster.vip: 192.168.10.11 is the address of cp1; "
            "take a free one: it moves between the control planes"
        ],
    ),
    "a shared address among the pods": (
        METAL.replace("name: m", "name: m, vip: 10.244.0.9") + CP,
        ["f:1:20: cluster.vip: 10.244.0.9 lies in network.pods 10.244.0.0/16; take a free one of the nodes' network"],
    ),
    "a shared address among the services": (
        METAL.replace("name: m", "name: m, vip: 10.96.0.9") + CP,
        ["f:1:20: cluster.vip: 10.96.0.9 lies in network.services 10.96.0.0/12; take a free one of the nodes' network"],
    ),
    "a shared address outside of the nodes' network": (
        METAL.replace("name: m", "name: m, vip: 192.168.11.9") + CP + "network: {nodes: 192.168.10.0/24}\n",
        [
            "f:1:20: cluster.vip: 192.168.11.9 is no address of a machine in network.nodes 192.168.10.0/24; "
            "take another one in it"
        ],
    ),
    "a shared address and a balancer of one's own": (
        METAL.replace("name: m", "name: m, vip: 192.168.10.9, endpoint: api.example.org") + CP,
        ["f:1:20: cluster.vip: 192.168.10.9 is given beside cluster.endpoint api.example.org; give one of the two"],
    ),
    "a shared address in a network that is not known yet": (
        LAB.replace("name: lab", "name: lab, vip: 10.9.0.9"),
        [
            "f:1:22: cluster.vip: 10.9.0.9: the machines' network is not known before they are made; "
            "give network.nodes as well, or leave vip out: a free address is picked"
        ],
    ),
    "a shared address that is this machine's, on a port of Kubernetes": (
        LAB.replace("name: lab", "name: lab, vip: 10.9.0.1, vip_port: 10247") + "network: {nodes: 10.9.0.0/24}\n",
        [
            "f:1:22: cluster.vip: 10.9.0.1 is this machine's own address in network.nodes 10.9.0.0/24; "
            "take another one in it",
            "f:1:37: cluster.vip_port: 10247: a part of Kubernetes listens at 10248; take 8443, or another free pair",
        ],
    ),
    "a port that is a privileged one": (
        METAL.replace("name: m", "name: m, vip: 192.168.10.9, vip_port: 80") + CP,
        ["f:1:39: cluster.vip_port: 80 is less than 1024"],
    ),
    "labels and taints": (
        LAB + 'nodes: [{name: cp1, role: control-plane, labels: {"a b": x, rack: 12}, taints: [gpu]}]\n',
        [
            "f:3:51: nodes[0].labels.a b: 'a b' is not a label key such as tier or example.org/tier",
            'f:3:61: nodes[0].labels.rack: 12 is not text; write "12" in quotes',
            "f:3:81: nodes[0].taints[0]: 'gpu' is not a taint such as dedicated=gpu:NoSchedule",
        ],
    ),
    "a registry without what it needs, and a rule between settings broken too": (
        LAB + "runtime: {registries: [{mirrors: [{}]}, {upstream: a b}]}\nnetwork: {services: 11.0.0.0/8}\n",
        [
            "f:3:24: runtime.registries[0].upstream: is missing; it has no default",
            "f:3:35: runtime.registries[0].mirrors[0].url: is missing; it has no default",
            "f:3:42: runtime.registries[1].upstream: 'a b' is not a registry's host",
            "f:4:11: network.services: 11.0.0.0/8 has the prefix length 8, the API server takes 12 to 24 here; "
            "for example 10.96.0.0/16",
        ],
    ),
    "kubeadm patches of the wrong type": (
        LAB + "kubeadm: {kubelet: 3, cert_sans: [-x]}\n",
        [
            "f:3:11: kubeadm.kubelet: 3 is not a mapping",
            "f:3:35: kubeadm.cert_sans[0]: '-x' is not a host name or address",
        ],
    ),
    "a misspelt setting is not also told as missing": (
        METAL + "  - {name: cp1, role: control-plane, adress: 10.1.1.1}\n  - {name: w1, rolle: worker}\n",
        [
            "f:4:38: nodes[0].adress: is not a known setting; did you mean address?",
            "f:5:5: nodes[1].address: w1 has no address; provider ssh needs the address of each node",
            "f:5:16: nodes[1].rolle: is not a known setting; did you mean role?",
        ],
    ),
    "a misspelt role": (
        METAL + "  - {name: cp1, rolle: control-plane, address: 10.1.1.1}\n",
        ["f:4:17: nodes[0].rolle: is not a known setting; did you mean role?"],
    ),
    "what stands under a misspelt setting is judged too": (
        "cluster: {name: m}\nprovder: podman\nwokers: -1\nnetwrok:\n  pods: 10.9.0.0/33\n  calco: {mtuu: 10000}\n",
        [
            "f:2:1: provder: is not a known setting; did you mean provider?",
            "f:3:1: wokers: -1 is less than 0",
            "f:3:1: wokers: is not a known setting; did you mean workers?",
            "f:4:1: netwrok: is not a known setting; did you mean network?",
            "f:5:3: netwrok.pods: '10.9.0.0/33' is not an IPv4 network in CIDR notation such as 10.244.0.0/16",
            "f:6:3: netwrok.calco: is not a known setting; did you mean calico?",
            "f:6:11: netwrok.calco.mtuu: 10000 is more than 9000",
            "f:6:11: netwrok.calco.mtuu: is not a known setting; did you mean mtu?",
        ],
    ),
    "a misspelt setting beside the right one does not hide what is wrong with that": (
        LAB + "netwrok: {}\nnetwork: {pods: 10.20.0.0/16, services: 10.20.128.0/20}\n",
        [
            "f:3:1: netwrok: is not a known setting; did you mean network?",
            "f:4:31: network.services: 10.20.128.0/20 overlaps network.pods 10.20.0.0/16; "
            "choose ranges that share no address",
        ],
    ),
    "a misspelt list of nodes": (
        "cluster: {name: m}\nnodess:\n" + CP + "  - {nme: w1, addres: 192.168.10.11}\n",
        [
            "f:2:1: nodess: is not a known setting; did you mean nodes?",
            "f:4:6: nodess[1].nme: is not a known setting; did you mean name?",
            "f:4:15: nodess[1].addres: 192.168.10.11 is the address of cp1 too; give each its own",
            "f:4:15: nodess[1].addres: is not a known setting; did you mean address?",
        ],
    ),
    "a value that shows that another setting was meant": (
        LAB + "node: 3\n",
        ["f:3:1: node: is not a known setting; did you mean nodes?"],
    ),
    "addresses that no other machine reaches": (
        METAL.replace("name: m", "name: m, endpoint: api.example.org")
        + "".join(
            f"  - {{name: n{number}, role: control-plane, address: {address}}}\n"
            for number, address in enumerate(("127.0.0.1", "0.0.0.0", "224.0.0.1", "169.254.7.7", "255.255.255.255"))
        )
        + "network: {pods: 127.0.0.0/16, services: 224.0.0.0/16}\n",
        [
            *(
                f"f:{4 + number}:37: nodes[{number}].address: {seen} address, "
                "at which no other machine reaches this one"
                for number, seen in enumerate(
                    (
                        "'127.0.0.1' is a loopback",
                        "'0.0.0.0' is an unspecified",
                        "'224.0.0.1' is a multicast",
                        "'169.254.7.7' is a link-local",
                        "'255.255.255.255' is a reserved",
                    )
                )
            ),
            "f:9:11: network.pods: '127.0.0.0/16' has addresses that do not leave a machine: "
            "take a private network such as 10.244.0.0/16",
            "f:9:31: network.services: '224.0.0.0/16' has addresses that do not leave a machine: "
            "take a private network such as 10.244.0.0/16",
        ],
    ),
    "two cgroup drivers": (
        LAB + "kubeadm: {kubelet: {cgroupDriver: cgroupfs}}\n",
        [
            "f:3:21: kubeadm.kubelet.cgroupDriver: 'cgroupfs' is not containerd's driver, systemd: "
            "with two of them no pod starts; leave it out"
        ],
    ),
    "names that mean something else": (
        METAL + CP + "  - {name: localhost, address: 10.1.1.1}\n  - {name: all, address: 10.1.1.2}\n",
        [
            "f:5:6: nodes[1].name: 'localhost' means something else already: every machine itself",
            "f:6:6: nodes[2].name: 'all' means something else already: Ansible's group of all machines",
        ],
    ),
    "addresses in the place of names": (
        "cluster: {name: m, endpoint: 10.0.0.256}\naccess: {bastion: 'admin@jump:70000'}\nnodes:\n"
        "  - {name: cp1, role: control-plane, address: 192.168.10.11, host: 1.2.3}\n",
        [
            "f:1:20: cluster.endpoint: '10.0.0.256' is not a host name or address",
            "f:2:10: access.bastion: 'admin@jump:70000' is not a jump host as user@host:port",
            "f:4:62: nodes[0].host: '1.2.3' is not a host name or address",
        ],
    ),
    "logins": (
        LAB + "runtime:\n  proxy: {no_proxy: [a]}\n  registries:\n"
        "  - {upstream: a, auth: {username: u, password: hunter2}}\n"
        "  - {upstream: b, auth: {username: u, password_env: A, password_file: /b}}\n"
        "  - {upstream: c, mirrors: [{url: 'http://m', auth: {username: u, password_file: b}}]}\n"
        "  - {upstream: _default, auth: {username: 'u:v', password_env: A}}\n",
        [
            "f:4:3: runtime.proxy: names no proxy; give http, https or both",
            "f:6:39: runtime.registries[0].auth.password: is not a known setting; did you mean password_env?",
            "f:7:19: runtime.registries[1].auth: needs one of password_env and password_file; "
            "name the variable or the file on the controller that holds the password",
            "f:8:67: runtime.registries[2].mirrors[0].auth.password_file: 'b' is not an absolute path",
            "f:9:33: runtime.registries[3].auth.username: 'u:v' is empty, or has white space or a colon",
        ],
    ),
    "a group's settings": (
        LAB
        + "groups:\n  gpu:\n    max_unavailable: 120%\n    kubelet:\n      maxPods: many\n      max_pods: 5\n"
        + "      evictionHard: {memory.available: 5}\n      cgroupDriver: cgroupfs\n      syncFrequency: 60\n",
        [
            "f:5:5: groups.gpu.max_unavailable: '120%' is neither a number of nodes from 1 to 5000 nor a percentage "
            "from 1% to 100%",
            "f:7:7: groups.gpu.kubelet.maxPods: 'many' is not a whole number",
            "f:8:7: groups.gpu.kubelet.max_pods: is not a setting of KubeletConfiguration; did you mean maxPods?",
            "f:9:7: groups.gpu.kubelet.evictionHard: {'memory.available': 5} is not a mapping of texts",
            "f:10:7: groups.gpu.kubelet.cgroupDriver: 'cgroupfs' is not containerd's driver, systemd: "
            "with two of them no pod starts; leave it out",
            "f:11:7: groups.gpu.kubelet.syncFrequency: 60 is not a duration such as 30s or 1h30m",
        ],
    ),
    "a node's and the cluster's kubelet settings": (
        METAL + "  - {name: a, role: control-plane, address: 10.1.1.1, kubelet: {failSwapOn: no way}}\n"
        "kubeadm: {kubelet: {nonsense: 1}}\ngroups: {a: {max_unavailable: 0}, b: {max_unavailable: true}}\n",
        [
            "f:4:65: nodes[0].kubelet.failSwapOn: 'no way' is not true or false",
            "f:5:21: kubeadm.kubelet.nonsense: is not a setting of KubeletConfiguration; "
            "see https://kubernetes.io/docs/reference/config-api/",
            "f:6:14: groups.a.max_unavailable: 0 is neither a number of nodes from 1 to 5000 nor a percentage "
            "from 1% to 100%",
            "f:6:39: groups.b.max_unavailable: true is neither a number of nodes from 1 to 5000 nor a percentage "
            "from 1% to 100%",
        ],
    ),
    "an unprintable setting": (
        LAB + '"qu\\nx": 1\n',
        [
            "f:3:1: 'qu\\nx': is not a known setting; settings here are access, adopted, backup, bundle, "
            "certificates, cluster, control_planes, features, groups, kubeadm, lab, network, nodes, plugin, "
            "podman, provider, runtime, security, vagrant, workers"
        ],
    ),
}


@pytest.mark.parametrize(("text", "expected"), BAD.values(), ids=BAD.keys())
def test_a_bad_file_is_told_in_exact_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@pytest.mark.parametrize("bastion", ["jump", "admin@jump.example.org:2222", "a@10.0.0.1,b@[fd00::1]:22"])
def test_jump_hosts(bastion: str) -> None:
    assert check(f"{METAL}{CP}access: {{bastion: '{bastion}'}}\n").access.bastion == bastion


def test_an_endless_file_is_not_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yml"
    with file.open("wb") as content:
        content.truncate(2**36)  # a hole: it takes no disk, but would take all memory
    with pytest.raises(SpecError, match="has more than 4194304 bytes"):
        spec.read(file)


def big(nodes: int) -> str:
    rows = [f"  - {{name: w{n}, address: 172.{16 + n // 65536}.{n // 256 % 256}.{n % 256}}}\n" for n in range(1, nodes)]
    return METAL + CP + "".join(rows) + "network: {pods: 10.128.0.0/9}\n"


def test_five_thousand_nodes_are_read() -> None:
    assert len(check(big(5000)).machines()) == 5000


def test_a_mistake_in_every_one_of_five_thousand_nodes_is_cut_short() -> None:
    assert len(sentences(big(5000).replace("address:", "adress:"))) == 200


PATCHES = "cluster: {name: a}\nprovider: podman\nworkers: 1\nkubeadm:\n  patches:\n    "


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ("kube-apiservr: {a: 1}", "did you mean kube-apiserver?"),
        ("kubelet: {a: 1}", "which kubeadm cannot patch: a target is one of etcd, kube-apiserver"),
        ("etcd+jsn: {a: 1}", "cannot patch"),
        ("etcd: [1]", "has [1] for etcd, which takes a mapping (a list goes with +json)"),
        ("etcd: 4", "has 4 for etcd, which takes a mapping"),
        ("etcd+json: {a: 1}", "which takes a list of operations"),
        ("etcd+json: [{op: put, path: /a}]", "which is no operation with 'op' and 'path'"),
        ("etcd+json: [4]", "which is no operation"),
    ],
)
def test_a_patch_that_kubeadm_would_refuse(patch: str, expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec.check(load.parse((PATCHES + patch).encode(), "f"), "f")
    assert expected in str(caught.value)
    assert str(caught.value).startswith("f:5:3: kubeadm.patches: ")


def test_patches_and_features_become_variables_of_the_roles() -> None:
    text = PATCHES + "{kubeletconfiguration+merge: {maxPods: 50}, etcd+json: [{op: add, path: /a, value: 1}]}\n"
    made = spec.check(load.parse((text + "features: {schedule_control_planes: true}\n").encode(), "f"), "f")
    variables = inventory.build(made, [], state="/s", bundle="/b").variables
    assert set(variables["kubeadm_master_patches"]) == {"kubeletconfiguration+merge", "etcd+json"}
    assert variables["kubeadm_worker_patches"] == {"kubeletconfiguration+merge": {"maxPods": 50}}
    assert variables["kubeadm_master_features"]["audit_log"]
    assert not variables["kubeadm_master_features"]["encrypt_secrets"]
    assert variables["kubeadm_master_taints"] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "features: {schedule_control_planes: true}\nprovider: podman\n"
            "nodes: [{name: c, role: control-plane, taints: ['node-role.kubernetes.io/control-plane:NoSchedule']}]\n",
            "f:2:12: features.schedule_control_planes: excludes the taint",
        ),
        (
            "provider: podman\n"
            "kubeadm: {patches: {kube-apiserver+json: [{op: replace, path: /spec/volumes, value: []}]}}\n",
            "replace of /spec/volumes undoes what limits access, the audit log and encryption",
        ),
    ],
)
def test_a_feature_that_another_setting_excludes(text: str, expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec.check(load.parse(f"cluster: {{name: a}}\n{text}".encode(), "f"), "f")
    assert expected in str(caught.value)


AGE = "age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("backup: {keep: 0}", "backup.keep: 0 is less than 1"),
        ("backup: {keep: 1001}", "backup.keep: 1001 is more than 1000"),
        ("backup: {kep: 1}", "backup.kep: is not a known setting; did you mean keep?"),
        ("backup: {before_changes: 1}", "backup.before_changes: 1 is not true or false"),
        ("backup: {recipients: [age1x]}", "is not a public key of age"),
        ("backup: {recipients: [ssh-ed25519 AAAA]}", "is not a public key of age"),
        ("backup: {targets: [{}]}", "backup.targets[0].url: is missing"),
        ("backup: {targets: [{url: 'ftp://h/x'}]}", "is no s3://bucket/folder and no ssh://user@host:port/folder"),
        ("backup: {targets: [{url: 's3://'}]}", "is no s3://bucket/folder"),
        ("backup: {targets: [{url: 'ssh://h'}]}", "is no s3://bucket/folder"),
        ("backup: {targets: [{url: 'ssh://h/a b'}]}", "is no s3://bucket/folder"),
        ("backup: {targets: [{url: 'ssh://user:word@h/x'}]}", "is no s3://bucket/folder"),
        ("backup: {targets: [{url: 's3://abc', endpoint: 'h:1'}]}", "is not an http or https address"),
        ("backup: {targets: [{url: 's3://abc', region: 'A B'}]}", "is not a region"),
        ("backup: {targets: [{url: 'ssh://h/x', key: k}]}", "is not an absolute path"),
        ("backup: {targets: [{url: 'ssh://h/x', known_hosts: k}]}", "is not an absolute path"),
        ("backup: {targets: [{url: 's3://abc', key: /k}]}", "backup.targets[0].key: says nothing to s3://abc"),
        ("backup: {targets: [{url: 'ssh://h/x', endpoint: 'http://h'}]}", "endpoint: says nothing to ssh://h/x"),
        ("backup: {targets: [{url: 's3://abc'}, {url: 's3://abc'}]}", "s3://abc is a target already"),
        ("backup: {targets: [{url: 's3://abc', auth: {username: k}}]}", "needs one of password_env and password_file"),
    ],
)
def test_a_backup_that_could_not_be_made_is_refused(text: str, expected: str) -> None:
    assert any(expected in row for row in sentences(LAB + text + "\n")), sentences(LAB + text + "\n")


def test_backups_have_defaults_and_take_all_that_they_need() -> None:
    assert (check(LAB).backup.keep, check(LAB).backup.before_changes) == (14, True)
    text = (
        f"backup: {{keep: 3, recipients: [{AGE}], targets: [{{url: 's3://abc/x'}}, {{url: 'ssh://u@[::1]:22/~/x'}}]}}\n"
    )
    assert [target.url for target in check(LAB + text).backup.targets] == ["s3://abc/x", "ssh://u@[::1]:22/~/x"]


def test_a_setting_called_as_elsewhere_is_answered_with_its_name_here() -> None:
    text = """\
cluster: {name: shop, version: 1.37.2, controlPlaneEndpoint: api.example.org}
provider: ssh
network: {pod_cidr: 10.96.0.0/14, serviceSubnet: 10.96.0.0/12}
nodes:
  - {name: cp1, ip: 192.168.7.30, role: control-plane}
  - {name: w1, address: 192.168.7.31}
"""
    assert sentences(text) == [
        "f:1:23: cluster.version: is not a known setting; did you mean kubernetes?",
        "f:1:40: cluster.controlPlaneEndpoint: is not a known setting; did you mean endpoint?",
        "f:3:11: network.pod_cidr: is not a known setting; did you mean pods?",
        "f:3:35: network.serviceSubnet: 10.96.0.0/12 overlaps network.pods 10.96.0.0/14; "
        "choose ranges that share no address",
        "f:3:35: network.serviceSubnet: is not a known setting; did you mean services?",
        "f:5:17: nodes[0].ip: is not a known setting; did you mean address?",
    ]
