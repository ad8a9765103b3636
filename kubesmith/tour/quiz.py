"""Exercises: a fault is planted, the learner mends it by hand, and the state of the cluster is the grade."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from kubesmith.tour.api import Object
from kubesmith.tour.journal import Undo
from kubesmith.tour.stage import Stage, condition, is_ready, leaving, removed, set_back
from kubesmith.tour.tours import access, network, parts
from kubesmith.tour.workload import on, pod, service, web

HINTS = 3
SAVED = f"{parts.PARKED}/kube-scheduler.saved"
SCHEDULER = f"{parts.MANIFESTS}/kube-scheduler.yaml"
TAINT = "kubesmith.io/maintenance"
REPLICAS = 2
LABELS = {"pod-security.kubernetes.io/enforce": "baseline"}


@dataclass(frozen=True)
class Goal:
    """One thing that must be so again: the key of its sentence, whether it is, and what fills the sentence."""

    key: str
    ok: bool
    values: dict[str, Any]


@dataclass(frozen=True)
class Exercise:
    """An exercise: how its fault is planted (what it returns is remembered) and what must be so when it is mended."""

    name: str
    plant: Callable[[Stage], dict[str, Any]]
    goals: Callable[[Stage, dict[str, Any]], list[Goal]]
    worker: bool = False


def served(stage: Stage) -> Goal:
    """The Deployment web is there and all its pods are Ready."""
    item = stage.api.find(f"/apis/apps/v1/namespaces/{stage.namespace}/deployments/web")
    pods = [row for row in stage.pods("app=web") if is_ready(row) and not leaving(row)]
    wanted = int(item["spec"]["replicas"]) if item else 0
    return Goal(
        "served", item is not None and len(pods) >= REPLICAS, {"ready": len(pods), "wanted": wanted or REPLICAS}
    )


def address(stage: Stage, name: str = "web") -> str:
    """Return a service's address, empty where there is no such service."""
    item = stage.api.find(f"/api/v1/namespaces/{stage.namespace}/services/{name}")
    return str(item["spec"].get("clusterIP", "")) if item else ""


# --- a service without endpoints


def _selector(stage: Stage) -> dict[str, Any]:
    stage.create(web(stage.image(), REPLICAS), service(app="wed"))
    stage.ready("web", REPLICAS)
    return {}


def _selector_goals(stage: Stage, _state: dict[str, Any]) -> list[Goal]:
    ip = address(stage)
    url = f"http://{ip}/hostname"
    return [served(stage), Goal("answers", bool(ip) and parts.answers(stage, stage.worker, url), {"url": url})]


# --- an image that there is not


def _image(stage: Stage) -> dict[str, Any]:
    item = web(f"{stage.image()}-typo", REPLICAS)
    item["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "Never"
    stage.create(item)
    return {}


def _image_goals(stage: Stage, _state: dict[str, Any]) -> list[Goal]:
    return [served(stage)]


# --- a kubelet that does not run


def _kubelet(stage: Stage) -> dict[str, Any]:
    node = stage.worker
    way = Undo(node=node, script="systemctl enable --now kubelet 2>/dev/null")
    stage.act("fault", lambda: stage.nodes.run(node, "systemctl disable --now kubelet 2>/dev/null"), way)
    return {"node": node}


def _kubelet_goals(stage: Stage, state: dict[str, Any]) -> list[Goal]:
    node = str(state["node"])
    ready = condition(stage.node(node), "Ready").get("status", "")
    unit = stage.nodes.run(node, "systemctl is-active kubelet; systemctl is-enabled kubelet", check=False).split()
    return [
        Goal("active", unit[:1] == ["active"], {"node": node, "seen": unit[0] if unit else "-"}),
        Goal("enabled", unit[1:] == ["enabled"], {"node": node, "seen": unit[1] if unit[1:] else "-"}),
        Goal("node_ready", ready == "True" and unit[:1] == ["active"], {"node": node, "seen": ready}),
    ]


# --- a scheduler that does not come up


def _scheduler(stage: Stage) -> dict[str, Any]:
    back = f"[ ! -e {SAVED} ] || mv {SAVED} {SCHEDULER}\nrmdir {parts.PARKED} 2>/dev/null || true"
    spoil = f"""\
install -d -m 700 {parts.PARKED}; cp -p {SCHEDULER} {SAVED}
sed 's/--leader-elect=true/--leader-elect=yse/' {SAVED} >{parts.PARKED}/new; chmod 600 {parts.PARKED}/new
mv {parts.PARKED}/new {SCHEDULER}"""
    for node in stage.nodes.control_planes:
        stage.act("fault", partial(stage.nodes.run, node, spoil), Undo(node=node, script=back))
    parts.ended(stage, "kube-scheduler")
    stage.create(web(stage.image(), REPLICAS))
    return {}


def _scheduler_goals(stage: Stage, _state: dict[str, Any]) -> list[Goal]:
    rows = stage.api.items("/api/v1/namespaces/kube-system/pods?labelSelector=component%3Dkube-scheduler")
    ready = sum(is_ready(row) for row in rows)
    wanted = len(stage.nodes.control_planes)
    return [Goal("scheduler", ready == wanted, {"ready": ready, "wanted": wanted}), served(stage)]


# --- a node that takes no pods


def _tainted(stage: Stage) -> dict[str, Any]:
    for node in stage.nodes.workers:
        place = f"/api/v1/nodes/{node}"
        taints = stage.node(node)["spec"].get("taints", [])
        change = {"spec": {"unschedulable": True, "taints": [*taints, {"key": TAINT, "effect": "NoSchedule"}]}}
        ways = (set_back(place, {"spec": {"unschedulable": None}}), parts.untainted(stage, node, TAINT))
        stage.act("fault", partial(stage.api.patch, place, change), *ways)
    item = web(stage.image(), REPLICAS, spec={"affinity": on(stage.nodes.workers)["affinity"]})
    stage.create(item)
    return {}


def _tainted_goals(stage: Stage, _state: dict[str, Any]) -> list[Goal]:
    nodes = [stage.node(name) for name in stage.nodes.workers]
    tainted = [n["metadata"]["name"] for n in nodes if any(t["key"] == TAINT for t in n["spec"].get("taints", ()))]
    cordoned = [n["metadata"]["name"] for n in nodes if n["spec"].get("unschedulable")]
    return [
        Goal("untainted", not tainted, {"nodes": ", ".join(tainted) or "-"}),
        Goal("uncordoned", not cordoned, {"nodes": ", ".join(cordoned) or "-"}),
        served(stage),
    ]


# --- a policy that forbids too much


def _policy(stage: Stage) -> dict[str, Any]:
    image = stage.image()
    friend = pod(image, "friend", labels={"app": "friend"} | network.FRIEND)
    stage.create(web(image, REPLICAS), service(), friend, pod(image, "stranger"), network.policy("web", []))
    stage.ready("web", REPLICAS)
    stage.ready("friend")
    stage.ready("stranger")
    return {}


def _policy_goals(stage: Stage, _state: dict[str, Any]) -> list[Goal]:
    ip = address(stage)
    seen = {}
    for name in ("friend", "stranger"):
        item = stage.api.find(f"/api/v1/namespaces/{stage.namespace}/pods/{name}")
        there = item is not None and is_ready(item)
        url = {"web": f"http://{ip}/hostname"}
        seen[name] = network.ask(stage, item, url, [])["pages"]["web"][0] if there and item and ip else -1
    return [
        served(stage),
        Goal("friend", seen["friend"] == 200, {"status": seen["friend"]}),
        Goal("stranger", seen["stranger"] == 0, {"status": seen["stranger"]}),
    ]


# --- a right that is lacking


def _rights(stage: Stage) -> dict[str, Any]:
    role, binding = access.objects()
    binding["subjects"] = [{"kind": "ServiceAccount", "name": "raeder"}]
    stage.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": access.ACCOUNT}}, role, binding)
    return {}


def may(stage: Stage, verb: str, resource: str) -> bool:
    """Tell whether the exercise's service account may do something in its namespace."""
    attributes = {"namespace": stage.namespace, "verb": verb, "resource": resource}
    user = f"system:serviceaccount:{stage.namespace}:{access.ACCOUNT}"
    asked: Object = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {"name": ""},
        "spec": {"user": user, "groups": ["system:serviceaccounts"], "resourceAttributes": attributes},
    }
    place = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    return bool(json.loads(stage.api.raw("POST", place, asked))["status"].get("allowed"))


def _rights_goals(stage: Stage, _state: dict[str, Any]) -> list[Goal]:
    account = stage.api.find(f"/api/v1/namespaces/{stage.namespace}/serviceaccounts/{access.ACCOUNT}")
    reads, writes = may(stage, "list", "pods"), may(stage, "delete", "pods") or may(stage, "get", "secrets")
    return [
        Goal("reads", account is not None and reads, {"account": access.ACCOUNT}),
        Goal("no_more", not writes, {"account": access.ACCOUNT}),
    ]


EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for exercise in (
        Exercise("service-selector", _selector, _selector_goals),
        Exercise("bad-image", _image, _image_goals),
        Exercise("rbac-binding", _rights, _rights_goals),
        Exercise("network-policy", _policy, _policy_goals),
        Exercise("tainted-nodes", _tainted, _tainted_goals, worker=True),
        Exercise("kubelet-down", _kubelet, _kubelet_goals, worker=True),
        Exercise("scheduler-flag", _scheduler, _scheduler_goals),
    )
}


def solved(goals: Sequence[Goal]) -> bool:
    """Tell whether everything is as it must be."""
    return bool(goals) and all(goal.ok for goal in goals)


def space(stage: Stage) -> Object:
    """Make the namespace that an exercise is set in, called like it; return the request that removes it."""
    item: Object = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": stage.namespace, "labels": LABELS | {"kubesmith.io/tour": stage.record.tour}},
    }
    stage.journal.note(removed(f"/api/v1/namespaces/{stage.namespace}"))
    stage.api.create(item)
    account = f"/api/v1/namespaces/{stage.namespace}/serviceaccounts/default"
    stage.must("account", lambda: stage.api.find(account), 30)
    return item
