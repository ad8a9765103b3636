"""Failure tours of a node: kubelet, containerd, CNI, kube-proxy's rules, and the power."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from kubesmith.tour.api import Object
from kubesmith.tour.journal import Undo
from kubesmith.tour.power import Switch
from kubesmith.tour.stage import Stage, condition, is_ready, leaving
from kubesmith.tour.tours import parts
from kubesmith.tour.workload import HOST, PORT, on, patience, service, web

GRACE = 50.0  # seconds without news after which a node is Unknown (node-monitor-grace-period)
LEASE = 10.0  # seconds between two renewals of a node's Lease, at most
MONITOR = 5.0  # seconds between two looks of the node controller
SHORTENED = 20  # seconds instead of 300 that this tour's pods stay on a node that is lost
UNREACHABLE = "node.kubernetes.io/unreachable"
RUNTIME_DOWN = 30.0  # seconds without containerd after which the kubelet is not ready
REPORT = 10.0  # seconds between two reports of a kubelet, at most


def kubelet(stage: Stage) -> None:
    """T3: the kubelet is stopped; containers go on; the node is lost to the control plane."""
    _lost(stage, lambda: parts.stop_unit(stage, stage.worker, "kubelet"), _kubelet_on, running=True)


def power(stage: Stage) -> None:
    """T9: the node is switched off without a shutdown, its pods come up elsewhere, and it comes back."""
    switch, name = Switch(stage.job), stage.worker
    _lost(
        stage,
        lambda: stage.act("off", lambda: switch.off(name), Undo(machine=name), node=name),
        lambda stage: stage.act("on", lambda: switch.on(name), node=name),
        running=False,
    )


def _kubelet_on(stage: Stage) -> None:
    parts.start_unit(stage, stage.worker, "kubelet")


def leaning(first: str, second: str) -> Object:
    """Return the part of a pod's spec by which it goes to ``first`` while it can, else to ``second``."""
    spec = on([first, second])
    term = {"matchExpressions": [{"key": HOST, "operator": "In", "values": [first]}]}
    spec["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"] = [
        {"weight": 100, "preference": term}
    ]
    spec["tolerations"] = [*spec["tolerations"], *patience(SHORTENED)]
    return spec


def _lost(stage: Stage, cut: Callable[[], object], mend: Callable[[Stage], object], *, running: bool) -> None:
    """Lose a node by ``cut``, follow what the control plane makes of it, and have it again by ``mend``."""
    worker, spare = stage.worker, parts.other(stage)
    grace = parts.controller_seconds(stage, "node-monitor-grace-period", GRACE)
    stage.space()
    stage.create(web(stage.image(), spec=leaning(worker, spare)))
    pod = stage.ready()[0]
    stage.claim("placed", pod["spec"]["nodeName"] == worker, pod=pod["metadata"]["name"], node=worker)
    stage.say("cut", grace=grace, shortened=SHORTENED)
    renewed = moment(lease(stage, worker))
    stage.zero()
    cut()
    stage.see("lease", at=moment(lease(stage, worker)), source="lease", node=worker, before=renewed)
    stage.must("unknown", lambda: condition(stage.node(worker), "Ready").get("status") == "Unknown", grace + 60)
    stage.see("unknown", between=(grace - LEASE - 1, grace + MONITOR), source="node", node=worker)
    stage.must("taint", lambda: tainted(stage.node(worker), UNREACHABLE), 30)
    stage.see("taint", between=(grace - LEASE - 1, grace + MONITOR + 2), source="node", node=worker)
    if running:
        _still_running(stage, pod, spare)
    place = f"/api/v1/namespaces/{stage.namespace}/pods/{pod['metadata']['name']}"
    stage.must("evicted", lambda: leaving(stage.api.get(place)), SHORTENED + 60)
    late = grace + MONITOR + SHORTENED + 5
    stage.see("evicted", between=(grace - LEASE + SHORTENED - 3, late), source="pod", pod=pod["metadata"]["name"])
    new = stage.must("elsewhere", lambda: [p for p in stage.pods("app=web") if is_ready(p) and not leaving(p)], 90)[0]
    values = {"pod": new["metadata"]["name"], "node": new["spec"]["nodeName"]}
    stage.see("elsewhere", source="pod", **values)
    stage.claim("elsewhere", new["spec"]["nodeName"] == spare, **values)
    old = stage.api.find(place)
    stage.claim("terminating", old is not None and leaving(old), pod=pod["metadata"]["name"])
    stage.say("mend")
    mend(stage)
    back = time.time()
    stage.must("node_ready", lambda: condition(stage.node(worker), "Ready").get("status") == "True", 180)
    stage.see("node_ready", source="node", node=worker, seconds=time.time() - back)
    stage.must("pod_gone", lambda: stage.api.find(place) is None, 120)
    stage.see("old_gone", source="pod", pod=pod["metadata"]["name"])
    stage.claim("healed", not tainted(stage.node(worker), UNREACHABLE), node=worker, seconds=time.time() - back)


def _still_running(stage: Stage, pod: Object, asker: str) -> None:
    count = parts.containers(stage, stage.worker, pod)
    url = f"http://{pod['status']['podIP']}:{PORT}/hostname"
    stage.claim("containers_run", count, count=count, node=stage.worker)
    stage.claim("still_serves", parts.answers(stage, asker, url), node=asker, url=url)


def lease(stage: Stage, node: str) -> Object:
    """Return a node's Lease."""
    return stage.api.get(f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{node}")


def moment(item: Object) -> float:
    """Return when a Lease was renewed, in seconds since the epoch."""
    return datetime.fromisoformat(item["spec"]["renewTime"].replace("Z", "+00:00")).timestamp()


def tainted(node: Object, key: str) -> bool:
    """Tell whether a node has the taint KEY:NoExecute."""
    return any(row["key"] == key and row["effect"] == "NoExecute" for row in node["spec"].get("taints", ()))


def containerd(stage: Stage) -> None:
    """T13: containerd is stopped; containers go on by their shims; the kubelet says that it has no runtime."""
    worker = stage.worker
    pod, url, asker = _served(stage)
    with stage.asking(asker, {"pod": url}) as answers:
        stage.zero()
        parts.stop_unit(stage, worker, "containerd")
        stage.must("not_ready", lambda: condition(stage.node(worker), "Ready").get("status") == "False", 150)
        stage.see("not_ready", between=(1, RUNTIME_DOWN + REPORT), source="node", node=worker)
        message = condition(stage.node(worker), "Ready").get("message", "")
        stage.see("message", source="node", message=message[:200])
        stage.claim("message", "runtime" in message, message=message[:200])
        count = parts.containers(stage, worker, pod)
        stage.claim("containers_run", count, count=count, node=worker)
        stage.say("mend")
        parts.start_unit(stage, worker, "containerd")
        back = time.time()
        stage.must("node_ready", lambda: condition(stage.node(worker), "Ready").get("status") == "True", 120)
        stage.see("node_ready", source="node", node=worker, seconds=time.time() - back)
    row = answers["pod"]
    stage.claim("served", row["sent"] and row["good"] == row["sent"], good=row["good"], sent=row["sent"])


def _served(stage: Stage) -> tuple[Object, str, str]:
    """Have a pod serve on the worker; return it, its address, and the node that asks it."""
    stage.space()
    stage.create(web(stage.image(), spec=on([stage.worker])))
    pod = stage.ready()[0]
    url, asker = f"http://{pod['status']['podIP']}:{PORT}/hostname", parts.other(stage)
    stage.must("answers", lambda: parts.answers(stage, asker, url), 30)
    return pod, url, asker


CNI = "/etc/cni/net.d"
CNI_PARKED = "/var/lib/kubesmith-tour/cni"
CNI_BACK = f"""\
[ ! -d {CNI_PARKED} ] || for f in {CNI_PARKED}/*; do [ ! -e "$f" ] || mv "$f" {CNI}/; done
rmdir -p {CNI_PARKED} 2>/dev/null || true"""
CNI_AWAY = f"""\
install -d -m 700 {CNI_PARKED}
for f in {CNI}/*.conf {CNI}/*.conflist; do [ ! -e "$f" ] || mv "$f" {CNI_PARKED}/; done"""


def cni(stage: Stage) -> None:
    """T13: the CNI's configuration is removed; what runs goes on; what is new gets no network."""
    worker = stage.worker
    _, url, asker = _served(stage)
    with stage.asking(asker, {"pod": url}) as answers:
        stage.zero()
        way = Undo(node=worker, script=CNI_BACK)
        stage.act("away", lambda: stage.nodes.run(worker, CNI_AWAY), way, node=worker, folder=CNI)
        stage.must("not_ready", lambda: condition(stage.node(worker), "Ready").get("status") == "False", 120)
        stage.see("not_ready", between=(0, REPORT + MONITOR), source="node", node=worker)
        message = condition(stage.node(worker), "Ready").get("message", "")
        stage.see("message", source="node", message=message[:200])
        stage.claim("message", "network" in message.lower(), message=message[:200])
        fresh = web(stage.image(), name="fresh", spec={"nodeName": worker, "tolerations": [{"operator": "Exists"}]})
        stage.act("fresh", lambda: stage.create(fresh), node=worker)
        stage.must("network_event", lambda: parts.events(stage, "NetworkNotReady", "fresh"), 60)
        stage.see("network_event", source="event", note=parts.events(stage, "NetworkNotReady")[0]["message"][:160])
        waiting = [pod for pod in stage.pods("app=fresh") if not pod["status"].get("podIP")]
        stage.claim("no_address", waiting, pod=waiting[0]["metadata"]["name"] if waiting else "-")
        stage.say("mend")
        stage.act("back", lambda: stage.nodes.run(worker, CNI_BACK), node=worker, folder=CNI)
        back = time.time()
        stage.must("node_ready", lambda: condition(stage.node(worker), "Ready").get("status") == "True", 120)
        stage.see("node_ready", source="node", node=worker, seconds=time.time() - back)
        stage.claim("fresh_runs", stage.ready("fresh"), seconds=time.time() - back)
    row = answers["pod"]
    stage.claim("served", row["sent"] and row["good"] == row["sent"], good=row["good"], sent=row["sent"])


#: The table or chain in which kube-proxy's rules stand, by its mode: how they are counted, and how they go.
RULES = """\
if nft list table ip kube-proxy >/dev/null 2>&1; then nft list table ip kube-proxy | grep -c . || true
else iptables-save -t nat | grep -c -- '-A KUBE-' || true; fi"""
FLUSH = """\
if nft list table ip kube-proxy >/dev/null 2>&1; then nft delete table ip kube-proxy
else iptables -t nat -F KUBE-SERVICES; fi"""
#: It is woken and ended; the kubelet starts it again, and it writes its rules anew. Over when they are there.
PROXY_BACK = """\
pkill -CONT -x kube-proxy || true
if ! { nft list table ip kube-proxy || iptables -t nat -S KUBE-SERVICES | grep -q KUBE-SVC; } >/dev/null 2>&1
then pkill -KILL -x kube-proxy || true; fi
for i in $(seq 120)
do if nft list table ip kube-proxy >/dev/null 2>&1 || iptables -t nat -S KUBE-SERVICES 2>/dev/null | grep -q KUBE-SVC
then exit 0; fi; sleep 0.5; done
echo "kube-proxy has not written its rules" >&2; exit 1"""


def kube_proxy(stage: Stage) -> None:
    """T4: kube-proxy is held still, then its rules are taken away: who carries the traffic, it or the kernel?"""
    worker = stage.worker
    stage.space()
    stage.create(web(stage.image()), service())
    pod = stage.ready()[0]
    spaces = f"/api/v1/namespaces/{stage.namespace}/services"
    old = f"http://{stage.api.get(f'{spaces}/web')['spec']['clusterIP']}/hostname"
    direct = f"http://{pod['status']['podIP']}:{PORT}/hostname"
    stage.must("answers", lambda: parts.answers(stage, worker, old), 30)
    count = int(stage.nodes.run(worker, RULES))
    stage.see("rules", source="probe", node=worker, count=count)
    stage.zero()
    way = Undo(node=worker, script=PROXY_BACK)
    with stage.asking(worker, {"pod": direct}) as answers:
        stage.act("held", lambda: stage.nodes.run(worker, "pkill -STOP -x kube-proxy"), way, node=worker)
        stage.create(service("late"))
        late = f"http://{stage.api.get(f'{spaces}/late')['spec']['clusterIP']}/hostname"
        time.sleep(3)  # time enough for a kube-proxy that works
        stage.claim("old_works", parts.answers(stage, worker, old), url=old)
        stage.claim("late_not", not parts.answers(stage, worker, late), url=late)
        stage.say("flush")
        stage.act("flush", lambda: stage.nodes.run(worker, FLUSH), node=worker)
        stage.claim("old_not", not parts.answers(stage, worker, old), url=old)
        stage.say("mend")
        stage.act("back", lambda: stage.nodes.run(worker, PROXY_BACK, seconds=120), node=worker)
        began = time.time()
        stage.must("answers", lambda: parts.answers(stage, worker, old), 60)
        stage.see("answers", source="probe", node=worker, seconds=time.time() - began, url=old)
        stage.claim("late_works", stage.until(lambda: parts.answers(stage, worker, late), 30), url=late)
    row = answers["pod"]
    stage.claim(
        "pod_direct", row["sent"] and row["good"] == row["sent"], good=row["good"], sent=row["sent"], url=direct
    )
