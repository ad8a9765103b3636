"""What is not ready, and why."""

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import workloads


def node(name, status="True", message="kubelet is posting ready status"):
    conditions = [{"type": "Ready", "status": status, "message": message}]
    return {"kind": "Node", "metadata": {"name": name}, "status": {"conditions": conditions}}


def pod(name="web", phase="Running", ready="True", where="w1", namespace="kube-system", **status):
    conditions = [{"type": "Ready", "status": ready}]
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"nodeName": where} if where else {},
        "status": {"phase": phase, "conditions": conditions, **status},
    }


def waiting(reason, message="", **more):
    return {"name": "main", "state": {"waiting": {"reason": reason, "message": message}}, **more}


def unready(*objects, nodes=()):
    return workloads.unready(objects, list(nodes), ["kube-system"])


def test_all_is_ready():
    assert unready(node("w1"), pod(), pod(phase="Succeeded", ready="False"), nodes=["w1"]) == []


def test_nodes_that_are_missing_or_not_ready_are_named():
    found = unready(node("w1", "False", "cni plugin not initialized"), nodes=["w1", "w2"])
    assert found == ["node w2 is not registered", "node w1 is not Ready: cni plugin not initialized"]


def test_other_nodes_and_namespaces_do_not_count():
    assert unready(node("old", "False"), pod(phase="Pending", namespace="team")) == []


def test_a_waiting_container_says_why():
    broken = pod(
        phase="Pending", ready="False", containerStatuses=[waiting("ErrImagePull", "no such host", restartCount=0)]
    )
    assert unready(broken) == ["kube-system/web: Pending on w1: main ErrImagePull: no such host"]


def test_restarts_are_counted():
    broken = pod(ready="False", containerStatuses=[waiting("CrashLoopBackOff", "back-off", restartCount=4)])
    assert "main CrashLoopBackOff, 4 restarts: back-off" in unready(broken)[0]
    assert workloads.failing_container(broken) == "main"


def test_an_init_container_that_failed_comes_first():
    failed = {"name": "install-cni", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}
    broken = pod(
        phase="Pending", ready="False", initContainerStatuses=[failed], containerStatuses=[waiting("PodInitializing")]
    )
    assert unready(broken) == ["kube-system/web: Pending on w1: install-cni ended with 1 (Error)"]
    assert workloads.failing_container(broken) == "install-cni"


def test_a_pod_without_a_node_says_what_the_scheduler_says():
    stuck = pod(phase="Pending", ready="False", where="")
    stuck["status"]["conditions"].append(
        {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    )
    assert unready(stuck) == ["kube-system/web: Pending on no node: 0/3 nodes are available"]


def test_a_container_that_runs_but_is_not_ready():
    slow = pod(ready="False", containerStatuses=[{"name": "main", "state": {"running": {}}, "ready": False}])
    assert unready(slow) == ["kube-system/web: Running on w1: main runs but is not ready"]


def daemonset(wanted=3, available=3, updated=3, observed=1):
    status = {"desiredNumberScheduled": wanted, "numberAvailable": available, "updatedNumberScheduled": updated}
    metadata = {"name": "net", "namespace": "kube-system", "generation": 1}
    return {"kind": "DaemonSet", "metadata": metadata, "status": {**status, "observedGeneration": observed}}


def deployment(wanted=2, available=2, updated=2, observed=1):
    status = {"availableReplicas": available, "updatedReplicas": updated, "observedGeneration": observed}
    metadata = {"name": "dns", "namespace": "kube-system", "generation": 1}
    return {"kind": "Deployment", "metadata": metadata, "spec": {"replicas": wanted}, "status": status}


@pytest.mark.parametrize("make", [daemonset, deployment])
def test_rollouts(make):
    assert unready(make()) == []
    assert "1 of" in unready(make(available=1))[0]
    assert len(unready(make(updated=1))) == 1
    assert "not been looked at" in unready(make(observed=0))[0]
