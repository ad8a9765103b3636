"""Eight steps out of evidence: read from what was noted, and from nothing else."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest

from kubesmith.tour import flow
from kubesmith.tour.flow import EIGHT, PARTS, Evidence, Gap, nanoseconds, order, steps

ZERO = 1795568785 * 10**9
SPACE = "kubesmith-tour-abc"
UID = "1234-abcd"


def at(ms: float) -> int:
    return ZERO + round(ms * 1e6)


def stamp(ms: float) -> str:
    moment = datetime.fromtimestamp(at(ms) // 10**9, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at(ms) % 10**9:09d}Z"


def request(user: str, verb: str, what: str, begin: float, end: float, code: int = 201) -> dict[str, Any]:
    resource, _, sub = what.partition("/")
    return {
        "auditID": f"{user}{verb}{what}{begin}",
        "stage": "ResponseComplete",
        "verb": verb,
        "user": {"username": user},
        "objectRef": {"resource": resource, "namespace": SPACE} | ({"subresource": sub} if sub else {}),
        "responseStatus": {"code": code},
        "requestReceivedTimestamp": stamp(begin),
        "stageTimestamp": stamp(end),
    }


def key(resource: str, name: str, revision: int, ms: float) -> dict[str, Any]:
    row = {"at": at(ms), "key": f"/registry/{resource}/{SPACE}/{name}", "revision": revision, "deleted": False}
    return row | {"bytes": 1701, "version": 1}


def seen(kind: str, revision: int, ms: float, item: dict[str, Any]) -> dict[str, Any]:
    return {"at": at(ms), "kind": kind, "type": "MODIFIED", "revision": revision, "object": item}


CONTROLLER = "system:serviceaccount:kube-system"
POD = {"metadata": {"name": "web-6d-x5z2q", "uid": UID}, "spec": {"nodeName": "w1"}, "status": {"podIP": "10.244.1.9"}}
READY = {**POD, "status": {"podIP": "10.244.1.9", "conditions": [{"type": "Ready", "status": "True"}]}}
SLICE = {"metadata": {"name": "web-s"}, "endpoints": [{"conditions": {"ready": True}}]}


def evidence() -> Evidence:
    """One pod's way as it is noted on a lab; each test takes some of it away or turns it round."""
    audit = [
        request("kubernetes-admin", "create", "deployments", 90, 100),
        request(f"{CONTROLLER}:deployment-controller", "create", "replicasets", 110, 118),
        request(f"{CONTROLLER}:replicaset-controller", "create", "pods", 130, 150),
        request("system:kube-scheduler", "create", "pods/binding", 160, 170),
        request("system:node:w1", "create", "serviceaccounts/token", 200, 205),
        request("system:node:w1", "patch", "pods/status", 210, 215, 200),
        request(f"{CONTROLLER}:calico-cni-plugin", "patch", "pods/status", 600, 610, 200),
        request("system:node:w1", "patch", "pods/status", 1500, 1510, 200),
        request(f"{CONTROLLER}:endpointslice-controller", "update", "endpointslices", 1520, 1530, 200),
        request("somebody", "create", "deployments", 10, 20, 403),  # was refused, and is no step
    ]
    told = {
        "kubectl": {
            "begin": at(0),
            "command": "kubectl create -f -",
            "log": [{"at": at(88), "text": '"Request" curl -v -XPOST'}],
        },
        "etcd": [key("deployments", "web", 283, 120), key("replicasets", "web-6d", 284, 121)],
        "watch": [
            seen("Pod", 287, 151, {**POD, "spec": {}, "status": {}}),
            seen("Pod", 291, 171, {**POD, "status": {}}),
            seen("Pod", 299, 1512, READY),
            seen("EndpointSlice", 282, 1, {"metadata": {"name": "web-s"}, "endpoints": None}),
            seen("EndpointSlice", 300, 1532, SLICE),
        ],
        "http": {"at": at(1600), "url": "http://10.96.7.7/hostname", "answer": "web-6d-x5z2q"},
        "dns": {"at": at(1580), "name": "web-pods", "answer": ["10.244.1.9"]},
    }
    runtime = {
        "containers": [
            {"kind": "sandbox", "id": "a" * 64, "created": stamp(450), "cri": {}},
            {"kind": "container", "id": "b" * 64, "created": stamp(800), "cri": {"Status": {"StartedAt": at(900)}}},
        ],
        "journal": [
            {"at": at(190) // 1000, "unit": "kubelet.service", "text": "SyncLoop ADD"},
            {
                "at": at(402) // 1000,
                "unit": "containerd.service",
                "text": f'time="{stamp(400)}" level=info msg="RunPodSandbox for web"',
            },
        ],
    }
    return Evidence(told, audit, runtime, READY, "w1", "cp1")


def by_key(made: Evidence) -> dict[str, flow.Step]:
    return {step.key: step for step in steps(made)}


def test_each_step_has_its_times_from_its_evidence() -> None:
    made = by_key(evidence())
    assert list(made) == [*EIGHT, *PARTS]
    times = {name: (step.begin, step.end) for name, step in made.items()}
    assert times == {
        "kubectl": (0, 88),
        "api": (90, 100),
        "etcd": (100, 100),  # its watch was heard at 120, but the API server had answered by 100
        "controllers": (110, 150),
        "scheduler": (160, 170),
        "kubelet": (190, 400),
        "cri": (400, 900),
        "pod": (900, 1510),
        "cni": (600, 610),
        "slice": (1520, 1532),
        "proxy": (1600, 1600),
        "dns": (1580, 1580),
    }
    assert (made["etcd"].revision, made["scheduler"].revision, made["pod"].revision) == (283, 291, 299)
    assert made["scheduler"].values == {"node": "w1"}


def test_the_order_holds() -> None:
    pairs = order(steps(evidence()))
    assert all(pair.ok for pair in pairs)
    assert [(pair.before, pair.after) for pair in pairs[:7]] == [*pairwise(EIGHT)]
    assert {pair.by for pair in pairs} == {"revision", "time"}


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda e: e.told["etcd"][1].update(revision=200), ("etcd", "controllers")),
        (lambda e: e.told["watch"][1].update(revision=280), ("controllers", "scheduler")),
        (lambda e: e.told["kubectl"]["log"][0].update(at=at(95)), ("kubectl", "api")),
        (lambda e: e.runtime["journal"][0].update(at=at(155) // 1000), ("scheduler", "kubelet")),
        (lambda e: e.told["dns"].update(at=at(1000)), ("slice", "dns")),
    ],
)
def test_a_wrong_order_is_seen(change: Any, wrong: tuple[str, str]) -> None:
    made = copy.deepcopy(evidence())
    change(made)
    assert wrong in [(pair.before, pair.after) for pair in order(steps(made)) if not pair.ok]


def test_clocks_that_differ_are_let_pass_only_by_as_much() -> None:
    made = copy.deepcopy(evidence())
    made.runtime["journal"][0]["at"] = at(158) // 1000  # 2 ms before the binding
    failed = [(pair.before, pair.after) for pair in order(steps(made), 5) if not pair.ok]
    assert failed == []
    assert ("scheduler", "kubelet") in [(p.before, p.after) for p in order(steps(made), 1) if not p.ok]


def test_the_workers_clock_is_set_to_the_control_planes() -> None:
    ahead = 50_000_000
    made = copy.deepcopy(evidence())
    for row in made.runtime["journal"]:
        row["at"] += ahead // 1000
    made.runtime["journal"][1]["text"] = f'time="{stamp(450)}" msg="RunPodSandbox for web"'
    moved = Evidence(made.told, made.audit, made.runtime, made.pod, "w1", "cp1", ahead=ahead)
    assert (by_key(moved)["kubelet"].begin, by_key(moved)["cri"].begin) == (190, 400)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda e: e.audit.pop(0), "deployments"),
        (lambda e: e.audit.pop(3), "pods/binding"),
        (lambda e: e.told["etcd"].clear(), "etcd"),
        (lambda e: e.told["kubectl"]["log"].clear(), "kubectl"),
        (lambda e: e.runtime["containers"].pop(1), "containerd has no container"),
        (lambda e: e.runtime.update(containers={"error": "no ctr"}), "no ctr"),
        (lambda e: e.told["watch"].pop(2), "Pod"),
        (lambda e: e.told["http"].update(answer=""), "service"),
        (lambda e: e.told["dns"].update(answer=[]), "DNS"),
    ],
)
def test_a_step_without_evidence_is_named(change: Any, says: str) -> None:
    made = copy.deepcopy(evidence())
    change(made)
    with pytest.raises(Gap, match=says):
        steps(made)


def test_without_journals_the_audit_log_and_containerds_records_tell() -> None:
    made = copy.deepcopy(evidence())
    made.runtime["journal"] = {"error": "no journalctl"}
    found = by_key(made)
    assert (found["kubelet"].begin, found["cri"].begin) == (200, 450)
    assert all(pair.ok for pair in order(steps(made)))


def test_a_cni_that_writes_nothing_to_the_api() -> None:
    made = copy.deepcopy(evidence())
    del made.audit[6]
    assert by_key(made)["cni"].source == "pod"
    assert all(pair.ok for pair in order(steps(made)))


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("2026-11-25T01:06:25.223120Z", 223_120_000),
        ("2026-11-25T01:06:25Z", 0),
        ("2026-11-25T10:06:25.123456789+09:00", 123_456_789),
    ],
)
def test_times_keep_their_nanoseconds(text: str, rest: int) -> None:
    assert nanoseconds(text) == ZERO + rest
    with pytest.raises(Gap):
        nanoseconds("soon")
