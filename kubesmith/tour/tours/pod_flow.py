"""T1: a Deployment's way from kubectl to a container in eight steps, each by its own evidence."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from kubesmith.errors import KubesmithError
from kubesmith.tour import flow
from kubesmith.tour.api import Object
from kubesmith.tour.flow import Evidence
from kubesmith.tour.record import Step
from kubesmith.tour.stage import Stage
from kubesmith.tour.workload import on, service, web

SECONDS = 90
WRITTEN = {"deployments": "etcd", "replicasets": "controllers", "pods": "pod", "endpointslices": "slice"}
CLOCK_SLACK = 2_000_000  # nanoseconds that two machines' clocks may be apart at least, beside what was measured


def take(stage: Stage) -> None:
    """Take the tour."""
    stage.space()
    stage.create(service(), service("web-pods", clusterIP="None"))
    evidence = collect(stage)
    try:
        made = flow.steps(evidence)
    except flow.Gap as gap:
        raise KubesmithError(str(gap)) from gap
    stage.record.zero = stage.teller.zero = evidence.told["kubectl"]["begin"] / 1e9
    stage.steps(made)
    show(stage, evidence, made)
    for pair in flow.order(made, evidence.slack / 1e6):
        names = {"before": f"@steps.{pair.before}", "after": f"@steps.{pair.after}"}
        stage.claim(f"order_{pair.by}", pair.ok, **names, first=pair.values[0], second=pair.values[1])
    keep(stage, evidence)


def show(stage: Stage, evidence: Evidence, made: list[Step]) -> None:
    """Tell each step: what it is for, and what was seen of it."""
    for step in made:
        stage.say(f"step_{step.key}")
        # The step's own values last: the scheduler's "node" is the one it picked, not the one it runs on.
        values: dict[str, Any] = {
            "begin": step.begin,
            "end": step.end,
            "node": step.node,
            "revision": step.revision,
        } | step.values
        stage.see(f"step_{step.key}", at=stage.record.zero + step.begin / 1000, source=step.source, **values)


def collect(stage: Stage) -> Evidence:
    """Make the Deployment with kubectl on the control plane, and bring what everybody noted of it."""
    control_plane, space = stage.nodes.control_planes[0], stage.namespace
    address = stage.api.get(f"/api/v1/namespaces/{space}/services/web")["spec"]["clusterIP"]
    workers = stage.nodes.workers or [stage.worker]
    manifest = web(stage.image(), spec=on(workers))
    manifest["metadata"]["namespace"] = space
    question = {
        "step": "record",
        "namespace": space,
        "manifest": manifest,
        "service": {"address": address, "headless": "web-pods"},
        "domain": stage.job.spec.network.dns_domain,
        "seconds": SECONDS * stage.patience,
    }
    told = stage.act(
        "create",
        lambda: stage.nodes.ask(control_plane, "flow", question, seconds=(SECONDS + 60) * stage.patience),
        node=control_plane,
        deployment=f"{space}/web",
    )
    pod = stage.ready()[0]
    worker = pod["spec"]["nodeName"]
    began = told["kubectl"]["begin"] / 1e9
    runtime = stage.nodes.ask(worker, "runtime", pod_question(pod, began, [address]))
    ahead, slack = clocks(stage, control_plane, worker)
    return Evidence(told, audit(stage), runtime, pod, worker, control_plane, slack, ahead)


def pod_question(pod: Object, since: float, services: list[str]) -> Object:
    """Return what ``remote/runtime.py`` is asked of a pod."""
    meta, status = pod["metadata"], pod["status"]
    own = status.get("podIP", "") if not pod["spec"].get("hostNetwork") else ""
    return {"uid": meta["uid"], "name": meta["name"], "ip": own, "since": since - 1, "services": services}


def audit(stage: Stage) -> list[Object]:
    """Return what every API server's audit log has of the tour's namespace: each logs the requests that it served."""
    rows: list[Object] = []
    for name in stage.nodes.control_planes:
        rows += stage.nodes.ask(name, "flow", {"step": "audit", "word": stage.namespace})["events"]
    return rows


def clocks(stage: Stage, one: str, other: str) -> tuple[int, int]:
    """Return by how much the clock of ``other`` goes before that of ``one``, and how wrong that may be (nanoseconds).

    Nodes that are containers share a kernel, and with it the clock.
    """
    if one == other or stage.nodes.variables[one].get("kubesmith_container_node"):
        return 0, 0
    offsets = {name: offset(stage, name) for name in (one, other)}
    middle = {name: (low + high) // 2 for name, (low, high) in offsets.items()}
    width = sum(high - low for low, high in offsets.values()) // 2
    return middle[other] - middle[one], width + CLOCK_SLACK


def offset(stage: Stage, name: str) -> tuple[int, int]:
    """Return by how many nanoseconds a node's clock goes before ours, at least and at most."""
    stage.nodes.run(name, "true")  # the connection is there now, and the question is short
    sent = time.time_ns()
    there = int(stage.nodes.run(name, "date +%s%N"))
    return there - time.time_ns(), there - sent


def keep(stage: Stage, evidence: Evidence) -> None:
    """Keep what each step wrote, to be opened."""
    told = evidence.told
    for row in told["kubectl"]["log"]:
        stage.open("kubectl", "log", row["text"].split("\n")[0][:90], row["text"])
    made = flow.calls(evidence.audit)
    owners = {"deployments": "api", "replicasets": "controllers", "pods": "controllers", "pods/binding": "scheduler"}
    for call in made:
        step = owners.get(call.what) if call.verb == "create" else None
        if call.user.startswith("system:node:"):
            step = "kubelet"
        elif "calico" in call.user:
            step = "cni"
        elif call.what == "endpointslices":
            step = "slice"
        if step:
            stage.open(step, "request", f"{call.verb} {call.what} · {call.user}", call.row)
    for row in told["etcd"]:
        kind = row["key"].split("/")[2]
        stage.open(WRITTEN.get(kind, "etcd"), "key", f"{row['key']} @{row['revision']}", row)
    for row in told["watch"]:
        if row["kind"] == "Event" and row["type"] == "ADDED":
            item = row["object"]
            step_key = {"deployment-controller": "controllers", "replicaset-controller": "controllers"}
            step_key |= {"default-scheduler": "scheduler", "kubelet": "kubelet"}
            source = item.get("reportingController") or item.get("deprecatedSource", {}).get("component", "")
            name = f"{item.get('reason', '')} · {item.get('note', '')[:70]}"
            stage.open(step_key.get(source, "pod"), "event", name, item)
    keep_node(stage, evidence.runtime, evidence.pod)


def keep_node(stage: Stage, runtime: Mapping[str, Any], pod: Mapping[str, Any]) -> None:
    """Keep what the node has of the pod: containerd's records, processes, network, rules, logs."""
    for row in runtime["containers"]:
        stage.open("cri", "container", f"{row['name']} {row['id'][:13]}", row)
    parts = {"processes": ("pod", "process"), "network": ("cni", "network"), "rules": ("proxy", "rules")}
    for part, (step, kind) in parts.items():
        if part == "processes" and isinstance(runtime.get(part), dict):
            for name, row in runtime[part].items():
                label = f"{row.get('pid')} {row.get('command', '')[:60]}" if isinstance(row, dict) else name
                stage.open(step, kind, label, row)
        elif part in runtime:
            stage.open(step, kind, pod["status"].get("podIP", ""), runtime[part])
    if isinstance(runtime["journal"], list):
        for unit, step in (("kubelet", "kubelet"), ("containerd", "cri")):
            rows = [row["text"] for row in runtime["journal"] if row["unit"].startswith(unit)]
            stage.open(step, "journal", f"journalctl -u {unit}", "\n".join(rows) or "-")
    if isinstance(runtime["cni"], list) and runtime["cni"]:
        stage.open("cni", "journal", "/var/log/calico/cni/cni.log", "\n".join(runtime["cni"]))
