"""`status` of a lab in which one part after the other is broken: which, on which node, since when, why."""

import time

import pytest

from lifecycle.lab import made

MANIFESTS = "/etc/kubernetes/manifests"
ON_PLANES = {"API", "etcd", "scheduler", "controller manager", "kube-proxy", "CNI", "kubelet"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    for lab in made(tmp_path_factory.mktemp("status"), "lifecycle-status"):
        lab.must("up", "--only", "converge")
        yield lab


def until(lab, node, part, states, seconds=150):
    """Look until a part is in one of ``states``; return its row and the exit code."""
    ends = time.monotonic() + seconds
    row = None
    while time.monotonic() < ends:
        code, answer = lab.json("status")
        row = next((row for row in answer["parts"] if (row["node"], row["name"]) == (node, part)), None)
        if row and row["state"] in states:
            return row, code
        time.sleep(2)
    pytest.fail(f"{part} of {node} is {row}, wanted {states}")


def test_each_part_of_each_node_is_available(lab):
    code, answer = lab.json("status")
    assert code == 0, answer
    rows = {(row["node"], row["name"]): row for row in answer["parts"]}
    assert {name for node, name in rows if node == "cp1"} - {"DNS"} == ON_PLANES
    assert {name for node, name in rows if node == "w1"} - {"DNS"} == {"kube-proxy", "CNI", "kubelet"}
    assert ("cluster", "DNS") in rows
    assert any(name == "DNS" for node, name in rows if node != "cluster")
    assert {row["state"] for row in rows.values()} == {"available"}
    assert all(row["since"] for row in rows.values())
    shown = lab.must("status")
    assert all(word in shown for word in ("scheduler", "controller manager", "available", "Since", "Why"))


@pytest.mark.parametrize(
    ("part", "manifest"),
    [("scheduler", "kube-scheduler"), ("controller manager", "kube-controller-manager")],
)
def test_a_static_pod_that_is_gone(lab, part, manifest):
    lab.on("cp1", f"mv {MANIFESTS}/{manifest}.yaml /root/")
    row, code = until(lab, "cp1", part, ["degraded"])
    assert (code, row["why"]) == (1, "it has no pod here")
    lab.on("cp1", f"mv /root/{manifest}.yaml {MANIFESTS}/")
    assert until(lab, "cp1", part, ["available"])[0]["since"]


def test_an_api_server_that_is_gone_leaves_what_ssh_tells(lab):
    lab.on("cp1", f"mv {MANIFESTS}/kube-apiserver.yaml /root/")
    _row, code = until(lab, "cp1", "API", ["degraded"])
    assert code == 1
    _code, answer = lab.json("status")
    rows = {(row["node"], row["name"]): row for row in answer["parts"]}
    assert "does not answer" in answer["trouble"]
    assert rows["cp1", "etcd"]["state"] == rows["w1", "kubelet"]["state"] == "available"
    assert rows["cp1", "etcd"]["since"]
    lab.on("cp1", f"mv /root/kube-apiserver.yaml {MANIFESTS}/")
    lab.must("wait-for", "ready")


def test_a_kubelet_that_stops_reporting(lab):
    lab.on("w1", "systemctl stop kubelet")
    row, code = until(lab, "w1", "kubelet", ["degraded"])
    assert code == 1
    assert "stopped posting" in row["why"]
    assert row["since"]
    assert until(lab, "w1", "CNI", ["degraded"])[0]["why"] == "not known: the kubelet does not report"
    lab.on("w1", "systemctl start kubelet")
    until(lab, "w1", "kubelet", ["available"])


def test_dns_without_pods(lab):
    lab.must("kubectl", "scale", "-n", "kube-system", "deployment/coredns", "--replicas=0")
    row, code = until(lab, "cluster", "DNS", ["degraded"])
    assert (code, row["why"]) == (1, "deployment kube-system/coredns is scaled to 0")
    lab.must("kubectl", "scale", "-n", "kube-system", "deployment/coredns", "--replicas=2")
    until(lab, "cluster", "DNS", ["available"])


def test_a_broken_image_of_the_network_plugin(lab):
    set_image = ("kubectl", "set", "image", "-n", "kube-system", "daemonset/calico-node")
    image = lab.must(
        *("kubectl", "get", "-n", "kube-system", "daemonset/calico-node"),
        "-o=jsonpath={.spec.template.spec.containers[0].image}",
    ).strip()
    lab.must(*set_image, "calico-node=kubesmith.internal/no-such-image:1")
    node = ""
    ends = time.monotonic() + 150
    while not node and time.monotonic() < ends:
        _code, answer = lab.json("status")
        bad = [row for row in answer["parts"] if row["name"] == "CNI" and row["state"] == "degraded"]
        node = next((row["node"] for row in bad if "Image" in row["why"] or "Err" in row["why"]), "")
    assert node
    lab.must(*set_image, f"calico-node={image}")
    for name in ("cp1", "w1"):
        until(lab, name, "CNI", ["available"], 240)
