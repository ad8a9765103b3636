"""T2: why every pod is called what it is called, and that none is Pending."""

from __future__ import annotations

from kubesmith.tour import naming
from kubesmith.tour.api import Object
from kubesmith.tour.stage import Stage
from kubesmith.tour.workload import pod, service, web


def take(stage: Stage) -> None:
    """Take the tour: one pod of each kind is made beside those that the cluster has, and every name is explained."""
    stage.space()
    stage.act("kinds", lambda: _make(stage))
    stage.ready("web", 2)
    stage.ready("db", 2)
    stage.ready("alone", 1)
    pods = stage.api.items("/api/v1/pods")
    owners = []
    for kind, place in (("ReplicaSet", "/apis/apps/v1/replicasets"), ("Job", "/apis/batch/v1/jobs")):
        owners += [item | {"kind": kind} for item in stage.api.items(place)]
    names = naming.explain(pods, owners)
    for rule in dict.fromkeys(row.rule for row in names):
        stage.say(f"rule_{rule}", letters=naming.LETTERS)
        example = next(row for row in names if row.rule == rule)
        stage.see("example", pod=f"{example.namespace}/{example.pod}", parts=" + ".join(t for _, t in example.parts))
    for row in names:
        values = {"namespace": row.namespace, "pod": row.pod, "rule": row.rule, "parts": list(row.parts)}
        stage.record.rows.append(values | {"phase": row.phase, "ok": row.ok})
    wrong = [f"{row.namespace}/{row.pod} ({row.why})" for row in names if not row.ok]
    stage.claim("explained", not wrong, count=len(names), wrong=", ".join(wrong) or "-")
    waiting = naming.waiting(pods)
    stage.claim("none_pending", not waiting, pending=", ".join(waiting) or "-")
    _replaced(stage)


def _make(stage: Stage) -> None:
    image = stage.image()
    stateful: Object = web(image, 2, name="db") | {"kind": "StatefulSet"}
    stateful["spec"] |= {"serviceName": "db", "podManagementPolicy": "Parallel"}
    stage.create(web(image, 2), service("db", "db", clusterIP="None"), stateful, pod(image, "alone"))


def _replaced(stage: Stage) -> None:
    """Show what of a name stays when a pod is replaced: all but the ending, and of a StatefulSet's all of it."""
    stage.say("replaced")
    before = {app: [row["metadata"]["name"] for row in stage.ready(app, 2)] for app in ("web", "db")}
    victims = [names[0] for names in before.values()]
    places = [f"/api/v1/namespaces/{stage.namespace}/pods/{name}" for name in victims]
    uids = {stage.api.get(place)["metadata"]["uid"] for place in places}
    stage.act("delete_both", lambda: [*map(stage.api.delete, places)], pods=", ".join(victims))

    def again() -> dict[str, list[str]]:
        found = {app: stage.ready(app, 2) for app in before}
        if uids & {row["metadata"]["uid"] for rows in found.values() for row in rows}:
            return {}
        return {app: [row["metadata"]["name"] for row in rows] for app, rows in found.items()}

    after = stage.must("pods", again, 60)
    new = [name for name in after["web"] if name not in before["web"]]
    same = [name for name in new if name.rsplit("-", 1)[0] == victims[0].rsplit("-", 1)[0]]
    stage.claim("same_hash", same, old=victims[0], new=", ".join(new) or "-")
    stage.claim("same_name", victims[1] in after["db"], name=victims[1])
