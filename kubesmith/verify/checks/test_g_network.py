"""G: do packets get through, and only those that may?"""

from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest

OVERHEAD = {"VXLAN": 50, "IPIP": 20, "none": 0}


def test_calico_is_the_only_network_plugin(node, facts):
    """G1: Calico's configuration is the only one for containerd, and its kubeconfig is root's"""
    files = facts["cni_files"]
    assert [name for name in files if name.endswith((".conf", ".conflist", ".json"))] == ["10-calico.conflist"]
    assert files.get("calico-kubeconfig") == "600"


def test_calico_runs_on_every_node(cluster):
    """G2: calico-node is Ready on every node, its controllers too"""
    status = cluster.daemon_set("calico-node")["status"]
    assert status["numberReady"] == len(cluster.nodes)
    controllers = [
        d for d in cluster.of_kind("Deployment") if d["metadata"]["name"] in ("calico-kube-controllers", "calico-typha")
    ]
    assert [
        d["metadata"]["name"] for d in controllers if d["status"].get("readyReplicas", 0) < d["spec"]["replicas"]
    ] == []
    assert "calico-kube-controllers" in [d["metadata"]["name"] for d in controllers]


def test_felix_is_ready(node, facts):
    """G3: Felix has programmed this node"""
    assert facts["felix_ready"] in (200, 204)


def within(inner: IPv4Network | IPv6Network, outer: IPv4Network | IPv6Network) -> bool:
    """Tell whether ``inner`` lies in ``outer``; networks of two families never do."""
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and inner.subnet_of(outer)


def test_pods_get_their_addresses_from_the_wanted_range(cluster):
    """G4: Calico's pools lie in the pod CIDR"""
    wanted = cluster.api.variables.get("kubeadm_master_pod_cidr")
    if not wanted:
        pytest.skip("the inventory names no pod CIDR")
    pools = [pool["cidr"] for pool in cluster.objects["ip_pools"] if not pool.get("disabled")]
    assert pools != []
    networks = [ip_network(part) for part in wanted.split(",")]
    assert [pool for pool in pools if not any(within(ip_network(pool), network) for network in networks)] == []
    assert {ip_network(pool).version for pool in pools} == {network.version for network in networks}


def test_networks_do_not_overlap(cluster):
    """G4: pods, services and nodes have addresses of their own"""
    pools = [ip_network(pool["cidr"]) for pool in cluster.objects["ip_pools"]]
    cidrs = cluster.api.variables.get("kubeadm_master_service_cidr") or ""
    services = [ip_network(cidr) for cidr in cidrs.split(",") if cidr]
    nodes = [ip_address(node.address) for node in cluster.nodes.values()]
    assert [
        f"{pool} and {service}"
        for pool in pools
        for service in services
        if pool.version == service.version and pool.overlaps(service)
    ] == []
    assert [f"{node} in {network}" for node in nodes for network in [*pools, *services] if node in network] == []


def test_pod_reaches_pod(pair, paths, cluster):
    """G5: a pod on the first node reaches a pod on the second"""
    _, target = pair
    assert _answer(paths["pod_to_pod"], target) == _pod(cluster, target)


def test_pod_reaches_pod_by_ipv6(pair, paths, cluster):
    """G5: a pod on the first node reaches a pod on the second over IPv6, in a dual-stack cluster"""
    if "," not in cluster.api.variables.get("kubeadm_master_pod_cidr", ""):
        pytest.skip("the cluster is not dual-stack")
    _, target = pair
    assert cluster.probe["pods"][target.name]["ip6"], f"the probe pod on {target} has no IPv6 address"
    assert _answer(paths["pod_to_pod6"], target) == _pod(cluster, target)


def test_pod_reaches_pod_on_its_own_node(node, paths, cluster):
    """G5: the probe pod answers at its own address"""
    assert _answer(paths["pod_to_pod"], node) == _pod(cluster, node)


def _answer(answers, target):
    if target.name not in answers:
        pytest.skip(f"no probe pod is Ready on {target}")
    return answers[target.name]


def _pod(cluster, node):
    return cluster.probe["pods"][node.name]["name"]


def _pods(cluster):
    return [pod["name"] for pod in cluster.probe["pods"].values()]


def test_full_packet_gets_through(pair, paths):
    """G6: a packet as large as the pod network takes arrives in one piece, one byte more is refused"""
    _, target = pair
    seen = _answer(paths["packets"], target)
    assert (seen["full"], seen["one_more"]) == ("echoed", "Message too long"), f"at an MTU of {seen['mtu']}"


def test_encapsulated_packet_fits(node, facts, cluster):
    """G6: a full packet of a pod, wrapped for the way to another node, fits through the node's interface"""
    under = next(link["mtu"] for link in facts["links"] if node.address in link["addresses"])
    pods = [link["mtu"] for link in facts["links"] if link["name"].startswith("cali")]
    if not pods:
        pytest.skip("no pod has an interface of its own on this node")
    assert max(pods) + OVERHEAD[_encapsulation(cluster)] <= under


def _encapsulation(cluster):
    pool = cluster.objects["ip_pools"][0]
    return (
        "VXLAN"
        if pool.get("vxlanMode", "Never") != "Never"
        else "IPIP"
        if pool.get("ipipMode", "Never") != "Never"
        else "none"
    )


def test_way_to_other_pods_is_the_overlay(pair, paths, cluster):
    """G7: the node sends packets for another node's pods through Calico's own interface"""
    _, target = pair
    device = {"VXLAN": "vxlan.calico", "IPIP": "tunl0"}.get(_encapsulation(cluster))
    if device is None:
        pytest.skip("the pods' packets are not encapsulated")
    assert _answer(paths["device"], target) == device


def test_service_answers_the_node(node, paths, cluster):
    """G8: a service answers at its cluster address from the node"""
    assert paths["service"]["from_node"] in _pods(cluster)


def test_service_answers_a_pod(node, paths, cluster):
    """G8: a service answers at its cluster address from a pod"""
    assert paths["service"]["from_pod"] in _pods(cluster)


def test_pod_reaches_itself_through_its_service(node, paths, cluster):
    """G8: a pod reaches itself through a service (hairpin)"""
    assert paths["service"]["hairpin"] == _pod(cluster, node)


def test_node_port_answers_on_every_node(node, paths, cluster):
    """G8: a NodePort answers on every node, asked from this one"""
    answers, pods = paths["node_port"], _pods(cluster)
    assert {target: answer for target, answer in answers.items() if answer not in pods} == {}


def test_host_port_answers_on_every_node(node, paths, cluster):
    """G8: a host port answers on every node, asked from this one, with that node's pod"""
    answers = dict(paths["host_port"])
    assert answers == {target: _pod(cluster, cluster.nodes[target]) for target in answers}


def test_policy_blocks_and_allows(workload):
    """G9: a NetworkPolicy cuts pods off, and another lets the wanted ones in again"""
    assert workload["policy"] == {"before": "open", "denied": "blocked", "allowed": "open"}


def test_node_reaches_pods(node, paths, cluster):
    """G10: the node itself reaches the pods of every node"""
    answers = dict(paths["node_to_pod"])
    assert answers == {target: _pod(cluster, cluster.nodes[target]) for target in answers}


def test_calico_uses_the_nodes_address(node, cluster):
    """G11: Calico found the address in the inventory, not that of another interface"""
    annotations = cluster.api_node(node.name)["metadata"].get("annotations", {})
    assert annotations.get("projectcalico.org/IPv4Address", "none").partition("/")[0] == node.address


def test_kube_proxy_runs_on_every_node(cluster):
    """G12: kube-proxy is Ready on every node"""
    assert cluster.daemon_set("kube-proxy")["status"]["numberReady"] == len(cluster.nodes)


def test_kube_proxy_has_the_wanted_mode(node, facts, cluster):
    """G12: kube-proxy works in the mode that the inventory asks for"""
    wanted = cluster.api.variables.get("kubeadm_master_proxy_config", {}).get("mode")
    if not wanted:
        pytest.skip("the inventory asks for no mode")
    assert facts["proxy_mode"] == wanted
