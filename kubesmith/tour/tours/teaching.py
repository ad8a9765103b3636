"""Teaching tours of scheduling and of change: labels, taints, affinity; cordon and drain; rollout and undo."""

from __future__ import annotations

import subprocess
import time
from typing import Any

from kubesmith import kube
from kubesmith.tour.api import STRATEGIC, Object
from kubesmith.tour.stage import Stage, condition, is_ready, leaving, set_back
from kubesmith.tour.tours import parts
from kubesmith.tour.workload import HOST, on, pod, web

LABEL, TAINT, DRAINED = "kubesmith.io/tour-place", "kubesmith.io/tour-only", "kubesmith.io/tour-drained"
REPLICAS = 9  # as in the lecture
DEADLINE = 15  # seconds in which a rollout must get on, instead of 600


def placement(stage: Stage) -> None:
    """T10: which node does the scheduler take, and why none? Labels, taints, affinity."""
    stage.space()
    node = f"/api/v1/nodes/{stage.worker}"
    stage.create(pod(stage.image(), "chooser", nodeSelector={LABEL: "here"}))
    why = _reason(stage, "chooser")
    stage.see("unmet", source="event", why=why)
    stage.claim("unmet", "selector" in why or "affinity" in why, why=why)
    change = {"metadata": {"labels": {LABEL: "here"}}}
    back = set_back(node, {"metadata": {"labels": {LABEL: None}}})
    stage.act("label", lambda: stage.api.patch(node, change), back, node=stage.worker, label=f"{LABEL}=here")
    stage.claim("labelled", _node_of(stage, "chooser") == stage.worker, node=stage.worker)
    _taints(stage, node)
    _affinity(stage)


def _taints(stage: Stage, node: str) -> None:
    stage.say("taint")
    before = stage.node(stage.worker)["spec"].get("taints", [])
    now = [*before, {"key": TAINT, "value": "true", "effect": "NoSchedule"}]
    back = parts.untainted(stage, stage.worker, TAINT)
    stage.act("taint", lambda: stage.api.patch(node, {"spec": {"taints": now}}), back, node=stage.worker, taint=TAINT)
    here = {LABEL: "here"}
    stage.create(pod(stage.image(), "stranger", nodeSelector=here))
    why = _reason(stage, "stranger")
    stage.see("untolerated", source="event", why=why)
    stage.claim("untolerated", "taint" in why, why=why)
    guest = pod(stage.image(), "guest", nodeSelector=here, tolerations=[{"key": TAINT, "operator": "Exists"}])
    stage.act("guest", lambda: stage.create(guest))
    stage.claim("tolerated", _node_of(stage, "guest") == stage.worker, node=stage.worker)
    stage.api.patch(node, {"spec": {"taints": [row for row in now if row["key"] != TAINT]}})
    stage.claim("untainted", _node_of(stage, "stranger") == stage.worker, node=stage.worker)


def _affinity(stage: Stage) -> None:
    stage.say("affinity")
    count = len(stage.nodes.variables) + 1
    apart = [{"labelSelector": {"matchLabels": {"app": "apart"}}, "topologyKey": HOST}]
    spec = on(list(stage.nodes.variables))
    spec["affinity"]["podAntiAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": apart}
    stage.act("apart", lambda: stage.create(web(stage.image(), count, name="apart", spec=spec)), count=count)
    ready = stage.ready("apart", count - 1)
    nodes = {row["spec"]["nodeName"] for row in ready}
    stage.claim("one_each", len(nodes) == count - 1, nodes=", ".join(sorted(nodes)))
    why = _reason(stage, "apart-")
    stage.claim("no_room", "anti-affinity" in why, why=why)


def _reason(stage: Stage, name: str) -> str:
    """Return why the scheduler found no node for a pod."""
    rows = stage.must("failed_scheduling", lambda: parts.events(stage, "FailedScheduling", name), 60)
    return str(rows[-1]["message"])[:220]


def _node_of(stage: Stage, name: str) -> str:
    """Return the node that a pod is scheduled to, once it is."""
    place = f"/api/v1/namespaces/{stage.namespace}/pods/{name}"
    return str(stage.must("placed", lambda: stage.api.get(place)["spec"].get("nodeName"), 60))


def drain(stage: Stage) -> None:
    """T11: a node is cordoned and drained under a disruption budget; no pod is lost."""
    worker, spare = stage.worker, parts.other(stage)
    stage.space()
    spec = on([worker, spare])
    spec["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": HOST,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app": "web"}},
        }
    ]
    budget: Object = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "web"},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    }
    made = web(stage.image(), REPLICAS, spec=spec)
    made["spec"]["template"]["metadata"]["labels"][DRAINED] = "yes"  # of all pods on the node, drain is to see these
    stage.create(made, budget)
    before = stage.ready("web", REPLICAS)
    here = [row for row in before if row["spec"]["nodeName"] == worker]
    stage.see("spread", source="pod", count=len(here), all=REPLICAS, node=worker)
    node = f"/api/v1/nodes/{worker}"
    way = set_back(node, {"spec": {"unschedulable": None}})
    stage.act("cordon", lambda: stage.api.patch(node, {"spec": {"unschedulable": True}}), way, node=worker)
    scale(stage, REPLICAS + 2)
    after = stage.ready("web", REPLICAS + 2)
    known = {row["metadata"]["uid"] for row in before}
    fresh = [row["spec"]["nodeName"] for row in after if row["metadata"]["uid"] not in known]
    stage.claim("cordoned", fresh and worker not in fresh, nodes=", ".join(fresh))
    stage.claim("stay", len([row for row in after if row["spec"]["nodeName"] == worker]) == len(here), count=len(here))
    stage.say("drain")
    _drain(stage, REPLICAS + 2)
    stage.say("uncordon")
    stage.act("uncordon", lambda: stage.api.patch(node, {"spec": {"unschedulable": None}}), node=worker)
    left = [row for row in stage.pods("app=web") if row["spec"].get("nodeName") == worker]
    stage.claim("not_back", not left, count=len(left), node=worker)


def _drain(stage: Stage, replicas: int) -> None:
    """Drain by kubectl, of this tour's pods only, and follow how many are available."""
    worker = stage.worker
    command = [
        *(kube.binary(), "drain", worker, f"--pod-selector={DRAINED}=yes", "--ignore-daemonsets", "--timeout=180s"),
        *("--delete-emptydir-data",),
    ]
    stage.zero()
    going = stage.act(
        "drain",
        lambda: subprocess.Popen(
            command,
            env=kube.environment(stage.job.kubeconfig),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ),
        command=f"kubectl {' '.join(command[1:4])}",
    )
    lowest = replicas
    while going.poll() is None:
        lowest = min(lowest, sum(is_ready(row) for row in stage.pods("app=web") if not leaving(row)))
        time.sleep(0.2)
    said = going.stdout.read() if going.stdout else ""
    stage.ready("web", replicas)
    stage.see("drained", source="kubectl", lines=len(said.splitlines()))
    blocked = said.count("violate the pod's disruption budget")
    stage.open("scheduler", "log", "kubectl drain", said)
    stage.claim("drained", going.returncode == 0, code=going.returncode)
    stage.claim("blocked", blocked, count=blocked)
    stage.claim("available", lowest >= replicas - 1, lowest=lowest, wanted=replicas - 1)


def scale(stage: Stage, replicas: int) -> None:
    """Have the tour's Deployment want another number of pods."""
    place = f"/apis/apps/v1/namespaces/{stage.namespace}/deployments/web"
    stage.act("scale", lambda: stage.api.patch(place, {"spec": {"replicas": replicas}}), name="web", replicas=replicas)


def rollout(stage: Stage) -> None:
    """T12: a new version, a bad image that gets stuck, and the way back."""
    stage.space()
    place = f"/apis/apps/v1/namespaces/{stage.namespace}/deployments/web"
    limits = {"rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}}
    made = web(stage.image(), 3, strategy=limits, progressDeadlineSeconds=DEADLINE)
    stage.create(made)
    stage.ready("web", 3)
    watch = Availability(stage, place)
    first = _current(stage)
    stage.see("version", source="pod", revision=first[0], hash=first[1])
    change = {"spec": {"template": {"metadata": {"annotations": {"kubesmith.io/version": "2"}}}}}
    stage.act("update", lambda: stage.api.patch(place, change))
    stage.must("rolled_out", lambda: watch.look() and _rolled_out(stage.api.get(place)), 120)
    second = _current(stage)
    stage.see("version", source="pod", revision=second[0], hash=second[1])
    stage.claim("new_hash", first[1] != second[1] and second[0] == first[0] + 1, old=first[1], new=second[1])
    stage.say("bad")
    container = {"name": "server", "image": "kubesmith.internal/no-such-image:0", "imagePullPolicy": "Never"}
    bad = {"spec": {"template": {"spec": {"containers": [container]}}}}
    stage.zero()
    stage.act("bad", lambda: stage.api.patch(place, bad, STRATEGIC), image=container["image"])
    stage.must("stuck", lambda: watch.look() and _stuck(stage.api.get(place)), DEADLINE + 60)
    stage.see("stuck", between=(DEADLINE - 2, DEADLINE + 5), source="pod", message=_stuck(stage.api.get(place)))
    waiting = {row["state"]["waiting"]["reason"] for p in stage.pods("app=web") for row in _waiting(p)}
    stage.claim("image", waiting, reason=", ".join(sorted(waiting)) or "-")
    stage.say("undo")
    stage.act("undo", lambda: parts.kubectl(stage, "rollout", "undo", "deployment/web"), command="kubectl rollout undo")
    stage.must("rolled_out", lambda: watch.look() and _rolled_out(stage.api.get(place)), 120)
    third = _current(stage)
    stage.see("version", source="pod", revision=third[0], hash=third[1])
    stage.claim("undone", third[1] == second[1] and third[0] > second[0], hash=third[1], revision=third[0])
    stage.claim("available", watch.lowest >= 2, lowest=watch.lowest)


class Availability:
    """Follows how few pods of a Deployment were available."""

    def __init__(self, stage: Stage, place: str) -> None:
        self.stage = stage
        self.place = place
        self.lowest = 3

    def look(self) -> bool:
        """Look once."""
        status = self.stage.api.get(self.place)["status"]
        self.lowest = min(self.lowest, int(status.get("availableReplicas", 0)))
        return True


def _current(stage: Stage) -> tuple[int, str]:
    """Return the revision and the hash of the ReplicaSet that has the Deployment's pods now."""
    rows = stage.api.items(f"/apis/apps/v1/namespaces/{stage.namespace}/replicasets")
    newest = max(rows, key=lambda row: int(row["metadata"]["annotations"]["deployment.kubernetes.io/revision"]))
    labels: dict[str, Any] = newest["metadata"]["labels"]
    return int(newest["metadata"]["annotations"]["deployment.kubernetes.io/revision"]), labels["pod-template-hash"]


def _rolled_out(item: Object) -> bool:
    status, wanted = item["status"], item["spec"]["replicas"]
    seen = status.get("observedGeneration", 0) >= item["metadata"]["generation"]
    counts = [status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")]
    return seen and counts == [wanted] * 3


def _stuck(item: Object) -> str:
    row = condition(item, "Progressing")
    return row.get("message", "") if row.get("reason") == "ProgressDeadlineExceeded" else ""


def _waiting(item: Object) -> list[Object]:
    return [row for row in item["status"].get("containerStatuses", ()) if "waiting" in row.get("state", {})]
