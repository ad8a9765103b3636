"""What lacks for each milestone, told by the object that lacks it."""

import pytest

from kubesmith import milestones
from kubesmith.errors import InputError, KubesmithError


def node(name, ready=True):
    condition = {"type": "Ready", "status": "True" if ready else "False", "message": "cni plugin not initialized"}
    return {"kind": "Node", "metadata": {"name": name}, "status": {"conditions": [condition]}}


def workload(kind, name, up=True):
    meta = {"name": name, "namespace": "kube-system", "generation": 1}
    status = {"observedGeneration": 1, "desiredNumberScheduled": 1}
    status |= {"updatedNumberScheduled": 1, "updatedReplicas": 1}
    status |= {"numberAvailable": 1, "availableReplicas": 1} if up else {}
    return {"kind": kind, "metadata": meta, "spec": {"replicas": 1}, "status": status}


def pod(name, waiting=""):
    state = {"waiting": {"reason": waiting, "message": "Back-off"}} if waiting else {"running": {}}
    container = {"name": "main", "ready": not waiting, "state": state}
    condition = {"type": "Ready", "status": "False" if waiting else "True"}
    status = {"phase": "Pending" if waiting else "Running", "conditions": [condition], "containerStatuses": [container]}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "kube-system"},
        "spec": {"nodeName": "w1"},
        "status": status,
    }


def endpoints(ready=True):
    meta = {"name": "kube-dns-x", "namespace": "kube-system", "labels": {"kubernetes.io/service-name": "kube-dns"}}
    return {"kind": "EndpointSlice", "metadata": meta, "endpoints": [{"conditions": {"ready": ready}}]}


def cluster(**changed):
    objects = {
        "cp1": node("cp1"),
        "calico": workload("DaemonSet", "calico-node"),
        "controllers": workload("Deployment", "calico-kube-controllers"),
        "dns": workload("Deployment", "coredns"),
        "pod": pod("calico-node-1"),
        "ends": endpoints(),
    }
    return [item for item in (objects | changed).values() if item]


@pytest.mark.parametrize("name", milestones.MILESTONES)
def test_a_cluster_that_is_up_has_reached_every_milestone(name):
    assert milestones.MILESTONES[name](cluster(), ["cp1"]) == []


@pytest.mark.parametrize(
    ("change", "lacking"),
    [
        ({"cp1": node("cp1", ready=False)}, {"nodes", "network", "ready"}),
        ({"cp1": None}, {"nodes", "network", "ready"}),
        ({"calico": None}, {"network", "ready"}),
        ({"calico": workload("DaemonSet", "calico-node", up=False)}, {"network", "ready"}),
        ({"dns": workload("Deployment", "coredns", up=False)}, {"dns", "ready"}),
        ({"ends": endpoints(ready=False)}, {"dns", "ready"}),
        ({"ends": None}, {"dns", "ready"}),
        ({"other": pod("kube-proxy-1", waiting="CrashLoopBackOff")}, {"ready"}),
    ],
)
def test_what_is_not_up_holds_back_its_milestones_only(change, lacking):
    items = cluster(**change)
    assert {name for name, rule in milestones.MILESTONES.items() if rule(items, ["cp1"])} == lacking


def test_the_reason_names_node_pod_and_condition():
    items = cluster(
        cp1=node("cp1", ready=False),
        calico=workload("DaemonSet", "calico-node", up=False),
        pod=pod("calico-node-1", waiting="ImagePullBackOff"),
    )
    assert milestones.network_lacking(items, ["cp1"]) == [
        "daemonset kube-system/calico-node has 0 of 1 pods available",
        "kube-system/calico-node-1: Pending on w1: main ImagePullBackOff: Back-off",
        "node cp1 is not Ready: cni plugin not initialized",
    ]


def test_an_unknown_milestone_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="'netwrk' is not a milestone") as caught:
        milestones.check("netwrk")
    assert caught.value.fix.startswith("did you mean network?")


def test_an_api_server_that_does_not_answer_is_the_reason(monkeypatch, tmp_path):
    def down(*_arguments):
        raise KubesmithError("the cluster has no kubeconfig yet")

    monkeypatch.setattr(milestones, "_raw", down)
    assert milestones.look(tmp_path, "api", []) == ["the API server does not answer: the cluster has no kubeconfig yet"]
