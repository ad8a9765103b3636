"""Which pods leave a node, which budgets are in the way, and the drain itself against a server of the test's own."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import drain
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import ApiError
from ansible_collections.kubesmith.cluster.plugins.modules import kube_drain


def pod(name: str, owner: str = "ReplicaSet", *, phase: str = "Running", **more: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "default", "uid": f"u-{name}", "labels": {"app": "web"}, **more}
    if owner:
        meta["ownerReferences"] = [{"kind": owner, "name": "x", "controller": True}]
    return {"metadata": meta, "status": {"phase": phase}}


def budget(selector: Any, allowed: int = 0, healthy: int = 2, wanted: int = 2) -> dict[str, Any]:
    status = {"disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": wanted}
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": {"selector": selector}, "status": status}


def test_daemons_static_pods_and_ended_ones_stay() -> None:
    static = pod("etcd-cp1", "Node", annotations={drain.MIRROR: "x"})
    pods = [pod("a"), pod("d", "DaemonSet"), static, pod("done", phase="Succeeded"), pod("bare", "")]
    assert [row["metadata"]["name"] for row in drain.leaving(pods)] == ["a", "bare"]
    assert drain.lost(pods) == ["default/bare"]


@pytest.mark.parametrize(
    ("selector", "taken"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "db"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, True),
    ],
)
def test_selectors(selector: Any, taken: bool) -> None:
    assert drain.matches(selector, {"app": "web"}) is taken
    assert bool(drain.undrainable([budget(selector)], [pod("a")])) is taken


def test_a_budget_with_room_or_without_pods_here_is_in_nobodys_way() -> None:
    everything: dict[str, Any] = {}
    assert drain.undrainable([budget(everything, allowed=1)], [pod("a")]) == []
    assert drain.undrainable([budget(everything)], [pod("d", "DaemonSet")]) == []
    assert "2 healthy, 2 wanted" in drain.undrainable([budget(everything)], [pod("a")])[0]


def test_the_last_pod_has_nowhere_to_go_without_another_node() -> None:
    everything: dict[str, Any] = {}
    roomy = budget(everything, allowed=1, wanted=1)
    assert drain.undrainable([roomy], [pod("a")], elsewhere=True) == []
    assert "no other node" in drain.undrainable([roomy], [pod("a")], elsewhere=False)[0]
    assert drain.undrainable([budget(everything, allowed=1, wanted=0)], [pod("a")], elsewhere=False) == []
    taint = {"key": "x", "effect": "NoSchedule"}
    specs: list[dict[str, Any]] = [{}, {"unschedulable": True}, {"taints": [taint]}]
    assert [drain.takes_pods({"spec": spec}) for spec in specs] == [True, False, False]


class Server:
    """Holds a node and pods; refuses the first evictions, as a budget would."""

    def __init__(self, pods: list[dict[str, Any]], refusals: int = 0) -> None:
        self.node: dict[str, Any] = {"metadata": {"name": "w1", "annotations": {}}, "spec": {}}
        self.pods = {row["metadata"]["name"]: row for row in pods}
        self.refusals = refusals

    def request(self, method: str, path: str, body: Any = None, content: str = "") -> Any:
        if method == "PATCH":
            spec = {**self.node["spec"], **body["spec"]}
            self.node["spec"] = {k: v for k, v in spec.items() if v is not None}
            notes = {**self.node["metadata"]["annotations"], **body["metadata"]["annotations"]}
            self.node["metadata"]["annotations"] = {k: v for k, v in notes.items() if v is not None}
            return self.node
        if method in ("POST", "DELETE"):
            if method == "POST" and self.refusals:
                self.refusals -= 1
                raise ApiError("Cannot evict pod as it would violate the pod's disruption budget.", 429)
            self.pods.pop(path.split("/")[6])
            return {}
        return {"items": list(self.pods.values())} if "/pods" in path else self.node


def drained(server: Server, monkeypatch: pytest.MonkeyPatch, **wanted: Any) -> kube_drain.Node:
    monkeypatch.setattr(kube_drain, "Api", lambda **_: server)
    monkeypatch.setattr(kube_drain, "INTERVAL", 0.01)
    settings = {"node": "w1", "reason": "upgrade", "force": False, "timeout": 1, **wanted}
    node = kube_drain.Node(settings, wanted.get("check", False))
    node.take(server.node)
    return node


def test_a_node_is_cordoned_marked_emptied_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server([pod("a"), pod("d", "DaemonSet")], refusals=2)
    node = drained(server, monkeypatch)
    assert node.actions == ["cordon w1", "evict default/a"]
    assert server.node["spec"]["unschedulable"] and "upgrade" in server.node["metadata"]["annotations"][drain.CORDONED]
    node.uncordon(server.node)
    assert server.node == {"metadata": {"name": "w1", "annotations": {}}, "spec": {}}


def test_a_cordon_of_somebody_else_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server([])
    server.node["spec"]["unschedulable"] = True
    node = drained(server, monkeypatch)
    node.uncordon(server.node)
    assert node.actions == []
    assert server.node["spec"]["unschedulable"]


def test_a_node_that_cannot_be_emptied_is_given_back_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server([pod("a")], refusals=10**6)
    with pytest.raises(ApiError, match="default/a: Cannot evict pod as it would violate"):
        drained(server, monkeypatch)
    assert "unschedulable" not in server.node["spec"]


def test_a_node_that_is_given_back_meanwhile_keeps_its_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server([pod("a"), pod("b")], refusals=1)
    ask = server.request

    def interrupted(method: str, path: str, body: Any = None, content: str = "") -> Any:
        if method == "POST":
            server.node["spec"] = {}
        return ask(method, path, body, content)

    server.request = interrupted  # type: ignore[method-assign]
    with pytest.raises(ApiError, match="was uncordoned while it was being emptied"):
        drained(server, monkeypatch, timeout=60)
    assert "a" in server.pods


def test_by_force_what_a_budget_holds_is_deleted_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    node = drained(Server([pod("a")], refusals=10**6), monkeypatch, force=True)
    assert node.actions == ["cordon w1", "delete default/a"]


def test_pods_that_nothing_makes_anew_are_not_lost_by_accident(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server([pod("bare", "")])
    with pytest.raises(ApiError, match="nothing would make default/bare anew"):
        drained(server, monkeypatch)
    assert server.node["spec"] == {}


def test_check_mode_only_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server([pod("a")])
    node = drained(server, monkeypatch, check=True)
    assert node.actions == ["cordon w1", "evict default/a"]
    assert server.node["spec"] == {} and "a" in server.pods
