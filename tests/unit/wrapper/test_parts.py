"""What ``status`` says of each part, out of objects as the API server gives them."""

from datetime import UTC, datetime

import pytest

from kubesmith.parts import ago, parts, silent

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
LONG_AGO, JUST_NOW = "2026-11-24T10:00:00Z", "2026-11-24T11:59:30Z"
PLANE = ("kube-apiserver", "etcd", "kube-scheduler", "kube-controller-manager")


def node(name, ready="True", message="", since=LONG_AGO, **spec):
    condition = {"type": "Ready", "status": ready, "message": message, "lastTransitionTime": since}
    meta = {"name": name, "creationTimestamp": since}
    return {"kind": "Node", "metadata": meta, "spec": spec, "status": {"conditions": [condition]}}


def pod(where, labels, *, state=None, since=LONG_AGO, ready=True, **meta):
    container = {"name": "main", "ready": ready, "state": state or {"running": {}}}
    conditions = [{"type": "Ready", "status": str(ready), "lastTransitionTime": since}]
    return {
        "kind": "Pod",
        "metadata": {"namespace": "kube-system", "labels": labels, "creationTimestamp": since, **meta},
        "spec": {"nodeName": where},
        "status": {"phase": "Running", "containerStatuses": [container], "conditions": conditions},
    }


def dns(available="True", replicas=2):
    return {
        "kind": "Deployment",
        "metadata": {"namespace": "kube-system", "name": "coredns", "generation": 1},
        "spec": {"replicas": 2},
        "status": {
            "observedGeneration": 1,
            "updatedReplicas": 2,
            "availableReplicas": replicas,
            "conditions": [{"type": "Available", "status": available, "lastTransitionTime": LONG_AGO}],
        },
    }


def whole(*more):
    """Return a cluster of cp1 and w1; later objects replace earlier ones of the same node and labels."""
    items = [node("cp1"), node("w1"), dns()]
    items += [pod("cp1", {"component": name}) for name in PLANE]
    items += [pod(where, {"k8s-app": name}) for where in ("cp1", "w1") for name in ("kube-proxy", "calico-node")]
    kept = {
        (i["kind"], i["metadata"].get("name"), i["spec"].get("nodeName"), str(i["metadata"].get("labels"))): i
        for i in items
    }
    for item in more:
        key = (
            item["kind"],
            item["metadata"].get("name"),
            item["spec"].get("nodeName"),
            str(item["metadata"].get("labels")),
        )
        kept[key] = item
    return list(kept.values())


def judged(items):
    return {(part.node, part.name): part for part in parts(items, ["cp1"], ["w1"], NOW)}


def test_a_whole_cluster_is_available_in_every_part():
    rows = judged(whole())
    assert {part.state for part in rows.values()} == {"available"}
    assert [name for where, name in rows if where == "cp1"] == [
        *("API", "etcd", "scheduler", "controller manager", "kube-proxy", "CNI", "kubelet")
    ]
    assert [name for where, name in rows if where == "w1"] == ["kube-proxy", "CNI", "kubelet"]
    assert ("cluster", "DNS") in rows


CRASHES = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}}
CREATES = {"waiting": {"reason": "ContainerCreating"}}
ETCD, CALICO = {"component": "etcd"}, {"k8s-app": "calico-node"}
CASES = {
    "a crash loop": (
        pod("cp1", ETCD, state=CRASHES, ready=False, since=JUST_NOW),
        ("cp1", "etcd"),
        "degraded",
        "CrashLoop",
    ),
    "just begun": (
        pod("w1", CALICO, state=CREATES, ready=False, since=JUST_NOW),
        ("w1", "CNI"),
        "progressing",
        "Running on w1",
    ),
    "begun long ago": (pod("w1", CALICO, state=CREATES, ready=False), ("w1", "CNI"), "degraded", "Running on w1"),
    "on its way out": (pod("w1", CALICO, deletionTimestamp=JUST_NOW), ("w1", "CNI"), "degraded", "ending"),
    "a silent kubelet": (node("w1", "Unknown", "stopped posting"), ("w1", "kubelet"), "degraded", "stopped posting"),
    "a new node": (node("w1", "False", "cni not ready", JUST_NOW), ("w1", "kubelet"), "progressing", "cni not ready"),
    "a cordoned node": (node("w1", unschedulable=True), ("w1", "kubelet"), "available", "cordoned"),
    "one of two": (dns(replicas=1), ("cluster", "DNS"), "progressing", "1 of 2"),
    "a node whose kubelet reports what it lacks": (node("w1", "False", "no network"), ("w1", "CNI"), "available", ""),
    "no DNS": (dns("False", 0), ("cluster", "DNS"), "degraded", "0 of 2"),
}


@pytest.mark.parametrize("case", CASES)
def test_one_part_is_not_as_the_others(case):
    item, where, state, why = CASES[case]
    rows = judged(whole(item))
    assert rows[where].state == state
    assert why in rows[where].why


def test_what_runs_on_a_silent_node_is_not_claimed_to_run():
    rows = judged(whole(node("w1", "Unknown", "stopped posting")))
    assert {rows["w1", name].state for name in ("CNI", "kube-proxy", "kubelet")} == {"degraded"}
    assert rows["cp1", "CNI"].state == "available"


def test_what_is_not_there():
    rows = judged([node("cp1")])
    assert rows["w1", "kubelet"].why == "no node of this name is registered"
    assert rows["cp1", "etcd"].why == "it has no pod here"
    assert rows["cluster", "DNS"].state == "degraded"


def test_during_a_rollout_the_newest_pod_counts():
    old = pod("w1", {"k8s-app": "calico-node", "old": ""}, state=CRASHES, ready=False)
    new = pod("w1", {"k8s-app": "calico-node", "new": ""}, since=JUST_NOW)
    items = [item for item in whole() if item["metadata"].get("labels") != CALICO or item["spec"]["nodeName"] != "w1"]
    assert judged([*items, old, new])["w1", "CNI"].state == "available"


@pytest.mark.parametrize(
    ("time", "words"),
    [
        ("", ""),
        (JUST_NOW, "30 s"),
        ("2026-11-24T11:30:00Z", "30 min"),
        (LONG_AGO, "2 h"),
        ("2026-11-20T12:00:00Z", "4 d"),
    ],
)
def test_times_as_people_say_them(time, words):
    assert ago(time, NOW) == words


def test_dns_is_told_of_the_nodes_that_run_it_and_of_the_cluster():
    rows = judged(whole(pod("w1", {"k8s-app": "kube-dns"}, state=CRASHES, ready=False)))
    assert rows["w1", "DNS"].state == "degraded"
    assert ("cp1", "DNS") not in rows
    none = dns()
    none["spec"]["replicas"] = 0
    assert judged(whole(none))["cluster", "DNS"].why.endswith("is scaled to 0")


def test_without_an_api_server_nodes_tell_what_runs():
    answers = {"cp1": {"kube-apiserver": LONG_AGO, "etcd": JUST_NOW, "kubelet": LONG_AGO}}
    rows = {(part.node, part.name): part for part in silent(["cp1"], ["w1"], answers, "it does not answer")}
    assert (rows["cp1", "API"].state, rows["cp1", "API"].since, rows["cp1", "API"].why) == (
        *("degraded", LONG_AGO, "it does not answer"),
    )
    assert (rows["cp1", "etcd"].state, rows["cp1", "etcd"].since) == ("available", JUST_NOW)
    assert (rows["cp1", "scheduler"].state, rows["cp1", "scheduler"].why) == ("degraded", "it does not run")
    assert rows["w1", "kubelet"].why == "not known: neither the API server nor SSH answers"
