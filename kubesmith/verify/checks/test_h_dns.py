"""H: do names become addresses?"""

import pytest


def test_coredns_is_ready(cluster):
    """H1: CoreDNS runs, and every replica is Ready"""
    deployment = next(d for d in cluster.of_kind("Deployment") if d["metadata"]["name"] == "coredns")
    assert deployment["spec"]["replicas"] >= 1
    assert deployment["status"].get("readyReplicas", 0) == deployment["spec"]["replicas"]


def test_pod_finds_the_api_server_by_name(node, paths, cluster):
    """H2: a pod on this node resolves kubernetes.default to the API service's address"""
    assert paths["dns"]["api"] == cluster.api_service_address


def test_pod_reaches_a_service_by_name(node, paths, cluster):
    """H2: a pod on this node reaches a service of its namespace by its short name"""
    assert paths["service"]["by_name"] in [pod["name"] for pod in cluster.probe["pods"].values()]


def test_pod_resolves_names_outside(node, paths):
    """H3: a pod resolves a name of the outside world, where its node does"""
    from_node = paths["dns"]["outside_from_node"]
    if not from_node[:1].isdigit() or "knows no" in from_node or ": " in from_node:
        pytest.skip("the node itself resolves no outside name")
    assert paths["dns"]["outside"][:1].isdigit() is True, paths["dns"]["outside"]


def test_headless_service_names_every_pod(node, paths, cluster):
    """H4: a headless service resolves to the addresses of all its pods"""
    ready = sorted(pod["ip"] for pod in cluster.probe["pods"].values() if pod["ready"])
    assert sorted(paths["dns"]["headless"].split(",")) == ready


def test_kubelet_hands_out_the_dns_service(node, cluster):
    """H5: the kubelet gives pods the address of the DNS service"""
    wanted = cluster.service("kube-system", "kube-dns")["spec"]["clusterIP"]
    assert cluster.configz(node.name)["clusterDNS"] == [wanted]


def test_coredns_sees_no_loop(cluster):
    """H5: CoreDNS does not forward queries to itself"""
    assert [
        line for line in cluster.objects["coredns_log"].splitlines() if "plugin/loop" in line and "detected" in line
    ] == []


def test_no_lookup_is_lost(node, paths):
    """H6: of many lookups in a row none goes unanswered"""
    many = paths["dns"]["many"]
    assert many["lost"] == 0, f"{many['asked']} asked, slowest percent {many['p99_ms']} ms"
