"""Milestones of a real cluster: reached at once when it is up, and what lacks named when something is taken away."""

import pytest

KUBECTL = "kubectl --kubeconfig /etc/kubernetes/admin.conf --namespace kube-system"


@pytest.fixture(scope="module")
def cluster(lab):
    """The lab with a cluster on it."""
    code, said = lab.up()
    assert code == 0, said
    return lab


@pytest.mark.parametrize("milestone", ["api", "nodes", "network", "dns", "ready"])
def test_a_cluster_that_is_up_has_reached_it(cluster, milestone):
    code, answer = cluster.json("wait-for", milestone, "--timeout", "120")
    assert (code, answer["reached"], answer["lacking"]) == (0, True, [])


def test_what_lacks_is_named_and_reached_once_it_is_back(cluster):
    cluster.on("cp1", f"{KUBECTL} scale deployment coredns --replicas=0")
    cluster.on("cp1", f"{KUBECTL} wait --for=delete pod --selector k8s-app=kube-dns --timeout=60s")
    try:
        code, answer = cluster.json("wait-for", "dns", "--timeout", "3")
        assert code == 1
        assert "the service kube-dns has no endpoint that is ready" in answer["lacking"]
        assert cluster.run("wait-for", "network", "--timeout", "60").returncode == 0
    finally:
        cluster.on("cp1", f"{KUBECTL} scale deployment coredns --replicas=2")
    assert cluster.run("wait-for", "ready", "--timeout", "180").returncode == 0


def test_an_api_server_that_is_away_is_the_reason(cluster):
    cluster.on("cp1", "mv /etc/kubernetes/manifests/kube-apiserver.yaml /root/")
    try:
        cluster.on("cp1", "for i in $(seq 60); do ss -ltn | grep -q ':6443 ' || break; sleep 1; done")
        done = cluster.run("wait-for", "nodes", "--timeout", "2")
    finally:
        cluster.on("cp1", "mv /root/kube-apiserver.yaml /etc/kubernetes/manifests/")
    assert done.returncode == 1
    assert "the API server" in done.stdout
    assert cluster.run("wait-for", "ready", "--timeout", "180").returncode == 0


def test_an_unknown_milestone_is_bad_input(cluster):
    done = cluster.run("wait-for", "netwrk")
    assert done.returncode == 2
    assert "did you mean network?" in done.stdout
