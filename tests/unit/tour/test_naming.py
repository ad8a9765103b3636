"""Names explained from owners and hashes."""

from __future__ import annotations

from typing import Any

import pytest

from kubesmith.tour.naming import LETTERS, explain, waiting


def pod(
    name: str, kind: str = "", owner: str = "", labels: dict[str, str] | None = None, **status: Any
) -> dict[str, Any]:
    meta: dict[str, Any] = {"namespace": "default", "name": name, "labels": labels or {}}
    if kind:
        meta["ownerReferences"] = [{"kind": kind, "name": owner, "uid": f"uid-{owner}", "controller": True}]
    return {"metadata": meta, "status": {"phase": "Running", **status}}


def replicaset(name: str, deployment: str) -> dict[str, Any]:
    above = [{"kind": "Deployment", "name": deployment, "uid": "d", "controller": True}] if deployment else []
    return {"kind": "ReplicaSet", "metadata": {"name": name, "uid": f"uid-{name}", "ownerReferences": above}}


HASHED = {"pod-template-hash": "66bff467f8"}


@pytest.mark.parametrize(
    ("item", "rule", "parts"),
    [
        (
            pod("coredns-66bff467f8-x5z2q", "ReplicaSet", "coredns-66bff467f8", HASHED),
            "deployment",
            [("owner", "coredns"), ("hash", "66bff467f8"), ("suffix", "x5z2q")],
        ),
        (pod("own-x5z2q", "ReplicaSet", "own"), "replicaset", [("owner", "own"), ("suffix", "x5z2q")]),
        (
            pod("kube-proxy-7bbxz", "DaemonSet", "kube-proxy"),
            "daemonset",
            [("owner", "kube-proxy"), ("suffix", "7bbxz")],
        ),
        (pod("etcd-cp1", "Node", "cp1"), "static", [("name", "etcd"), ("node", "cp1")]),
        (pod("kube-scheduler-cp-1.x", "Node", "cp-1.x"), "static", [("name", "kube-scheduler"), ("node", "cp-1.x")]),
        (pod("db-11", "StatefulSet", "db"), "statefulset", [("owner", "db"), ("ordinal", "11")]),
        (pod("job-x5z2q", "Job", "job"), "job", [("owner", "job"), ("suffix", "x5z2q")]),
        (pod("job-3-x5z2q", "Job", "job"), "job", [("owner", "job"), ("suffix", "3-x5z2q")]),
        (pod("it-0", "Rollout", "it"), "other", [("owner", "it"), ("suffix", "0")]),
        (pod("alone"), "bare", [("name", "alone")]),
    ],
)
def test_each_rule(item: dict[str, Any], rule: str, parts: list[tuple[str, str]]) -> None:
    owners = [replicaset("coredns-66bff467f8", "coredns"), replicaset("own", "")]
    (name,) = explain([item], owners)
    assert (name.rule, list(name.parts), name.why) == (rule, parts, "")


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (pod("coredns-66bff467f8-x5a2q", "ReplicaSet", "coredns-66bff467f8", HASHED), "suffix"),  # a vowel
        (pod("coredns-66bff467f8-x5z2", "ReplicaSet", "coredns-66bff467f8", HASHED), "suffix"),
        (pod("coredns-66bff467f8-x5z2q", "ReplicaSet", "coredns-66bff467f8", {"pod-template-hash": "other"}), "hash"),
        (pod("renamed", "DaemonSet", "kube-proxy"), "owner"),
        (pod("kube-proxy-", "DaemonSet", "kube-proxy"), "owner"),
        (pod("etcd-cp2", "Node", "cp1"), "node"),
        (pod("db-x", "StatefulSet", "db"), "ordinal"),
    ],
)
def test_a_name_that_does_not_follow_its_rule(item: dict[str, Any], why: str) -> None:
    (name,) = explain([item], [replicaset("coredns-66bff467f8", "coredns")])
    assert (name.ok, name.why) == (False, why)


def test_a_long_owner_is_cut_as_kubernetes_cuts_it() -> None:
    owner = "a" * 62
    (name,) = explain([pod(f"{'a' * 58}x5z2q", "DaemonSet", owner)], [])
    assert name.ok
    assert list(name.parts) == [("owner", "a" * 58), ("suffix", "x5z2q")]


def test_the_letters_are_kubernetes_own() -> None:
    assert not set(LETTERS) & set("aeiou013")
    assert len(LETTERS) == 27


def test_pending_pods_are_named() -> None:
    assert waiting([pod("a", phase="Pending"), pod("b")]) == ["default/a"]
