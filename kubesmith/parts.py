"""What each part of the cluster does on each node, by what the API server knows of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils import workloads

Item = dict[str, Any]
AVAILABLE, PROGRESSING, DEGRADED = "available", "progressing", "degraded"
NAMESPACE = "kube-system"
PLANE = "node-role.kubernetes.io/control-plane"
ON_PLANES = {"API": "kube-apiserver", "etcd": "etcd", "scheduler": "kube-scheduler"}
ON_PLANES["controller manager"] = "kube-controller-manager"
EVERYWHERE = {"kube-proxy": "k8s-app=kube-proxy", "CNI": "k8s-app=calico-node"}
DNS, DNS_LABEL = "coredns", "k8s-app=kube-dns"
#: The program of each part, as the kernel names its process (15 characters at most).
PROCESSES = {"API": "kube-apiserver", "etcd": "etcd", "scheduler": "kube-scheduler", "CNI": "calico-node"}
PROCESSES |= {"controller manager": "kube-controller", "kube-proxy": "kube-proxy", "kubelet": "kubelet"}
YOUNG = 120  # seconds in which a part that is not up is starting, and after which something is wrong
STARTING = ("", "PodInitializing", "ContainerCreating")


@dataclass(frozen=True)
class Part:
    """A part on a node (the whole cluster's DNS has node ``cluster``). ``since`` is an RFC 3339 time, or empty."""

    node: str
    name: str
    state: str
    since: str
    why: str = ""


def parts(items: Sequence[Item], planes: Sequence[str], workers: Sequence[str], now: datetime) -> list[Part]:
    """Return a row for each part of each wanted node, out of ``kubectl get nodes,pods,deployments -o json``."""
    of = {kind: [item for item in items if item["kind"] == kind] for kind in ("Node", "Pod", "Deployment")}
    pods = [item for item in of["Pod"] if item["metadata"].get("namespace") == NAMESPACE]
    nodes = {item["metadata"]["name"]: item for item in of["Node"]}
    rows = [part for name in (*planes, *workers) for part in _of_node(name, name in planes, nodes.get(name), pods, now)]
    return [*rows, _dns(of["Deployment"], now)]


def _of_node(name: str, plane: bool, node: Item | None, pods: Sequence[Item], now: datetime) -> Iterator[Part]:
    here = [pod for pod in pods if pod["spec"].get("nodeName") == name]
    kubelet = _kubelet(name, node, now)
    reports = node is not None and workloads.ready_condition(node).get("status") != "Unknown"
    silent = "" if reports else "not known: the kubelet does not report"
    wanted = [*(ON_PLANES.items() if plane else ()), *EVERYWHERE.items(), ("DNS", DNS_LABEL)]
    for title, label in wanted:
        key, _equals, value = label.partition("=")
        named = [p for p in here if (_labels(p).get(key) == value if value else _labels(p).get("component") == key)]
        if title == "DNS" and not named:  # it runs on some nodes only
            continue
        part = _pod(name, title, named, now)
        yield Part(name, title, DEGRADED, kubelet.since, silent) if silent else part
    yield kubelet


def silent(
    planes: Sequence[str], workers: Sequence[str], answers: Mapping[str, Mapping[str, str]], why: str
) -> list[Part]:
    """Return a row for each part of each node where the API server does not answer (``why``).

    ``answers`` is {node: {process: since when}} of what runs there, as SSH tells it; a node that did not answer is not
    in it. The kubelet is there only if it says that it is healthy.
    """
    rows = []
    for name in (*planes, *workers):
        titles = [*(ON_PLANES if name in planes else ()), *EVERYWHERE, "kubelet"]
        for title in titles:
            since = answers.get(name, {}).get(PROCESSES[title], "")
            if name not in answers:
                rows.append(Part(name, title, DEGRADED, "", "not known: neither the API server nor SSH answers"))
            elif not since:
                healthy = ", or is not healthy" if title == "kubelet" else ""
                rows.append(Part(name, title, DEGRADED, "", f"it does not run{healthy}"))
            elif title == "API":
                rows.append(Part(name, title, DEGRADED, since, why))
            else:
                rows.append(Part(name, title, AVAILABLE, since, "it runs; the API server cannot tell more"))
    return rows


def _labels(item: Item) -> dict[str, str]:
    labels: dict[str, str] = item["metadata"].get("labels") or {}
    return labels


def _kubelet(name: str, node: Item | None, now: datetime) -> Part:
    if node is None:
        return Part(name, "kubelet", DEGRADED, "", "no node of this name is registered")
    condition = workloads.ready_condition(node)
    since = condition.get("lastTransitionTime", "")
    if condition.get("status") == "True":
        cordoned = "cordoned: it takes no new pods" if node["spec"].get("unschedulable") else ""
        return Part(name, "kubelet", AVAILABLE, since, cordoned)
    why = condition.get("message", "it has not reported yet")
    young = condition.get("status") != "Unknown" and _age(node["metadata"].get("creationTimestamp", ""), now) < YOUNG
    return Part(name, "kubelet", PROGRESSING if young else DEGRADED, since, why)


def _pod(node: str, title: str, pods: Iterable[Item], now: datetime) -> Part:
    """Judge a part by its newest pod: during a rollout the old one is on its way out."""
    newest = max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default=None)
    if newest is None:
        return Part(node, title, DEGRADED, "", "it has no pod here")
    since = workloads.ready_condition(newest).get("lastTransitionTime", newest["metadata"].get("creationTimestamp", ""))
    why = workloads.pod_reason(newest)
    if not why and "deletionTimestamp" not in newest["metadata"]:
        return Part(node, title, AVAILABLE, since)
    return Part(node, title, PROGRESSING if _starts(newest, since, now) else DEGRADED, since, why or "it is ending")


def _starts(pod: Item, since: str, now: datetime) -> bool:
    """Tell whether a pod is on its way: nothing in it has failed, and it has not been at it for long."""
    waiting = [row.get("state", {}).get("waiting", {}) for row in workloads.containers(pod.get("status", {}))]
    failed = any(row.get("reason", "") not in STARTING for row in waiting)
    return not failed and _age(since, now) < YOUNG


def _dns(deployments: Iterable[Item], now: datetime) -> Part:
    mine = (d for d in deployments if (d["metadata"]["namespace"], d["metadata"]["name"]) == (NAMESPACE, DNS))
    found = next(mine, None)
    if found is None:
        return Part("cluster", "DNS", DEGRADED, "", f"there is no deployment {NAMESPACE}/{DNS}")
    conditions = {row["type"]: row for row in found.get("status", {}).get("conditions", ())}
    since = conditions.get("Available", {}).get("lastTransitionTime", found["metadata"].get("creationTimestamp", ""))
    lacking = "; ".join(workloads.deployment_unready(found))
    if not found["spec"].get("replicas", 1):
        return Part("cluster", "DNS", DEGRADED, since, f"deployment {NAMESPACE}/{DNS} is scaled to 0")
    if conditions.get("Available", {}).get("status") == "True":
        return Part("cluster", "DNS", PROGRESSING if lacking else AVAILABLE, since, lacking)
    return Part("cluster", "DNS", PROGRESSING if _age(since, now) < YOUNG else DEGRADED, since, lacking)


def _age(text: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(text)).total_seconds() if text else 0.0


def ago(text: str, now: datetime) -> str:
    """Return a time as people say it: ``45 s``, ``12 min``, ``3 h``, ``2 d``; empty for none."""
    if not text:
        return ""
    seconds = max(0, int(_age(text, now)))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def now() -> datetime:
    """Return the time by which ages are told."""
    return datetime.now(UTC)
