"""Clusters whose pods and services have IPv4 and IPv6 addresses."""

from __future__ import annotations

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils.kubeadm import registration
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import inventory, load, spec
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.problems import SpecError

PAIR = "network: {pods: [10.244.0.0/16, 'fd00:10:244::/56'], services: '10.96.0.0/12, fd00:10:96::/112'}\n"
LAB = "cluster: {name: a}\nprovider: podman\nworkers: 1\n"
METAL = (
    "cluster: {name: a}\nprovider: ssh\nnodes:\n"
    "- {name: c, role: control-plane, address: 192.168.7.1, address6: 'fd00:7::1'}\n"
    "- {name: w, address: 192.168.7.2, address6: 'fd00:7::2'}\n"
)


def check(text: str) -> spec.Spec:
    return spec.check(load.parse(text.encode(), "f"), "f")


def test_a_list_and_a_text_with_a_comma_are_the_same() -> None:
    network = check(LAB + PAIR).network
    assert network.pods == "10.244.0.0/16,fd00:10:244::/56"
    assert network.services == "10.96.0.0/12,fd00:10:96::/112"


def test_nodes_get_both_addresses_and_forward_ipv6() -> None:
    built = inventory.build(check(METAL + PAIR), [], state="/s", bundle="/b")
    assert built.hosts["w"]["kubeadm_worker_node_address6"] == "fd00:7::2"
    assert built.hosts["w"]["containerd_host"]["sysctls"]["net.ipv6.conf.all.forwarding"] == "1"
    assert built.hosts["w"]["containerd_host"]["sysctls"]["net.ipv4.ip_forward"] == "1"
    assert built.variables["calico_pod_cidr"] == "10.244.0.0/16,fd00:10:244::/56"
    assert registration("w", "192.168.7.2,fd00:7::2", {}, (), (), {})["kubeletExtraArgs"][0]["value"].count(",") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            LAB + "network: {pods: [10.244.0.0/16, 'fd00::/56']}\n",
            "network.services: has one family, the other of pods",
        ),
        (LAB + "network: {services: '10.96.0.0/12,fd00:1::/112'}\n", "network.pods: has one family"),
        (
            LAB + "network: {pods: ['fd00::/56', 10.244.0.0/16]}\n",
            "is not an IPv4 network, or an IPv4 and then an IPv6 one",
        ),
        (LAB + "network: {pods: 'fd00::/56'}\n", "is not an IPv4 network"),
        (LAB + "network: {pods: [10.244.0.0/16, 'fd00::1/56']}\n", "has host bits set: the network is fd00::/56"),
        (LAB + "network: {pods: [10.1.0.0/16, 10.2.0.0/16]}\n", "is not an IPv4 network, or"),
        (LAB + "network: {pods: [1]}\n", "network.pods: [1] is not text"),
        (LAB + PAIR.replace("fd00:10:244::/56", "fd00:10:244::/65"), "it takes 48 to 64"),
        (LAB.replace("workers: 1", "workers: 3") + PAIR.replace("/56", "/63"), "a /64 for each of 4 nodes"),
        (LAB + PAIR.replace("/112", "/64"), "the API server takes 108 to 120 here"),
        (
            LAB + PAIR.replace("fd00:10:96::", "fd00:10:244::"),
            "fd00:10:244::/112 overlaps network.pods",
        ),
        (LAB + PAIR.replace("pods:", "calico: {encapsulation: ipip}, pods:"), "'ipip' excludes dual-stack"),
        (METAL.replace(", address6: 'fd00:7::2'", "") + PAIR, "f:5:3: nodes[1].address6: w has no IPv6 address"),
        (METAL.replace("fd00:7::2", "fd00:7::1") + PAIR, "nodes[1].address6: fd00:7::1 is the address of c too"),
        (METAL.replace("fd00:7::2", "fd00:10:244::9") + PAIR, "fd00:10:244::9 lies in network.pods fd00:10:244::/56"),
        (METAL.replace("fd00:7::2", "10.1.1.1") + PAIR, "'10.1.1.1' is not an IPv6 address"),
        (
            METAL.replace("{name: a}", "{name: a, endpoint: 'fd00:10:96::5'}") + PAIR,
            "fd00:10:96::5 lies in",
        ),
    ],
)
def test_what_two_families_make_wrong(text: str, expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        check(text)
    assert expected in str(caught.value)
