"""The role calico alone, on one node."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from typing import Any

import pytest

testinfra_hosts = ["ansible://all"]
KUBECTL = "kubectl --kubeconfig /etc/kubernetes/admin.conf"
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: %(name)s, labels: {app: %(name)s}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {name: agnhost, image: "%(image)s", args: [netexec], imagePullPolicy: Never}
"""


def kubectl(host: Any, words: str) -> Any:
    return json.loads(host.check_output(f"{KUBECTL} {words} -o json"))


@pytest.fixture(scope="module")
def pods(host: Any) -> Iterator[dict[str, str]]:
    """Two pods that serve HTTP, by name with their addresses."""
    image = next(name for name in host.check_output("ctr -n k8s.io images list -q").split() if "/agnhost:" in name)
    text = "---\n".join(POD % {"name": name, "image": image} for name in ("one", "two"))
    host.run_expect([0], f"cat <<'END' | {KUBECTL} apply -f -\n{text}\nEND")
    try:
        host.run_expect([0], f"{KUBECTL} wait --for=condition=Ready pod/one pod/two --timeout=90s")
        yield {name: kubectl(host, f"get pod {name}")["status"]["podIP"] for name in ("one", "two")}
    finally:
        host.run(f"{KUBECTL} delete pod one two --ignore-not-found --wait=false")


def test_with_a_network_the_node_is_ready(host: Any) -> None:
    (node,) = kubectl(host, "get nodes")["items"]
    assert {row["type"]: row["status"] for row in node["status"]["conditions"]}["Ready"] == "True"


def test_no_pod_of_the_system_is_left_behind(host: Any) -> None:
    """CoreDNS waited for a network; the role is done when it has one."""
    pods = kubectl(host, "get pods -n kube-system")["items"]
    assert {pod["status"]["phase"] for pod in pods} == {"Running"}
    assert {"calico-node", "kube-dns"} <= {pod["metadata"]["labels"].get("k8s-app") for pod in pods}


def test_calico_announces_the_nodes_own_address(host: Any) -> None:
    (node,) = kubectl(host, "get nodes")["items"]
    announced = node["metadata"]["annotations"]["projectcalico.org/IPv4Address"]
    assert announced.partition("/")[0] == host.ansible.get_variables()["kubesmith_node_address"]


def test_pods_get_addresses_of_the_pods_network_from_blocks_of_the_wanted_size(host: Any, pods: dict[str, str]) -> None:
    blocks = [ipaddress.ip_network(block["spec"]["cidr"]) for block in kubectl(host, "get ipamblocks")["items"]]
    assert {block.prefixlen for block in blocks} == {27}
    for address in pods.values():
        assert ipaddress.ip_address(address) in ipaddress.ip_network("10.244.0.0/16")
        assert any(ipaddress.ip_address(address) in block for block in blocks)


def test_pods_have_the_wanted_mtu(host: Any, pods: dict[str, str]) -> None:
    assert host.check_output(f"{KUBECTL} exec one -- cat /sys/class/net/eth0/mtu") == "1400"


def test_the_tunnel_is_the_wanted_one(host: Any) -> None:
    assert host.interface("vxlan.calico").exists
    assert not host.interface("tunl0").exists or host.run("ip -br address show tunl0").stdout.split()[2:] == []


def test_a_pod_reaches_a_pod_and_the_node_reaches_both(host: Any, pods: dict[str, str]) -> None:
    assert host.run(f"{KUBECTL} exec one -- /agnhost connect --timeout=5s {pods['two']}:8080").rc == 0
    for address in pods.values():
        opened = f"import urllib.request as r; print(r.urlopen('http://{address}:8080/hostname', timeout=5).status)"
        assert host.check_output(f'python3 -c "{opened}"') == "200"


def test_a_policy_blocks_and_its_removal_opens(host: Any, pods: dict[str, str]) -> None:
    policy = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: closed}, spec: {podSelector: "
    policy += "{matchLabels: {app: two}}, policyTypes: [Ingress]}}"
    connect = f"{KUBECTL} exec one -- /agnhost connect --timeout=2s {pods['two']}:8080"
    host.run_expect([0], f"echo '{policy}' | {KUBECTL} apply -f -")
    try:
        host.run_expect([0], f"timeout 30 sh -c 'while {connect}; do sleep 0.5; done'")
    finally:
        host.run_expect([0], f"{KUBECTL} delete networkpolicy closed")
    host.run_expect([0], f"timeout 30 sh -c 'until {connect}; do sleep 0.5; done'")
