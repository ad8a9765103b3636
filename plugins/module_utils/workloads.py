# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What of a cluster is not ready yet, and why, out of the objects that kubectl prints. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any, Optional

Item = dict[str, Any]


def unready(objects: Iterable[Item], nodes: Sequence[str], namespaces: Container[str]) -> list[str]:
    """Return one sentence for each thing that is not ready.

    ``objects`` are items of ``kubectl get nodes,pods,daemonsets,deployments -o json``; every name in ``nodes`` must be
    a Ready node, and every workload and pod of ``namespaces`` must be up.
    """
    by_kind: dict[str, list[Item]] = {}
    for item in objects:
        by_kind.setdefault(item["kind"], []).append(item)

    def inside(kind: str) -> list[Item]:
        return [item for item in by_kind.get(kind, ()) if item["metadata"]["namespace"] in namespaces]

    found = nodes_unready(by_kind.get("Node", ()), nodes)
    found += [reason for item in inside("DaemonSet") for reason in daemonset_unready(item)]
    found += [reason for item in inside("Deployment") for reason in deployment_unready(item)]
    return found + [f"{name(item)}: {pod_reason(item)}" for item in inside("Pod") if pod_reason(item)]


def name(item: Item) -> str:
    """Return ``namespace/name`` of an object."""
    return "{namespace}/{name}".format(**item["metadata"])


def nodes_unready(items: Iterable[Item], wanted: Sequence[str]) -> list[str]:
    """Return a sentence for each wanted node that is not registered or not Ready."""
    states = {item["metadata"]["name"]: ready_condition(item) for item in items}
    found = [f"node {node} is not registered" for node in wanted if node not in states]
    for node, condition in states.items():
        if node in wanted and condition.get("status") != "True":
            found.append(f"node {node} is not Ready: {condition.get('message', 'the kubelet has not reported yet')}")
    return found


def of_other_version(items: Iterable[Item], wanted: Sequence[str], version: str) -> list[str]:
    """Return a sentence for each wanted node whose kubelet has not told that it is of ``version``."""
    seen = {
        item["metadata"]["name"]: item["status"]["nodeInfo"]["kubeletVersion"]
        for item in items
        if item["kind"] == "Node" and item["metadata"]["name"] in wanted
    }
    return [
        f"node {node} has a kubelet of {told}, and not of v{version}"
        for node, told in seen.items()
        if told.removeprefix("v") != version
    ]


def ready_condition(item: Item) -> Item:
    """Return the condition Ready of a node or pod, or an empty dictionary."""
    conditions = item.get("status", {}).get("conditions", ())
    return next((condition for condition in conditions if condition["type"] == "Ready"), {})


def daemonset_unready(item: Item) -> list[str]:
    """Return a sentence if a DaemonSet is not rolled out to all of its nodes."""
    status = item.get("status", {})
    wanted = status.get("desiredNumberScheduled", 0)
    if status.get("observedGeneration", 0) < item["metadata"]["generation"]:
        return [f"daemonset {name(item)} has not been looked at by its controller yet"]
    if status.get("updatedNumberScheduled", 0) < wanted or status.get("numberAvailable", 0) < wanted:
        return [f"daemonset {name(item)} has {status.get('numberAvailable', 0)} of {wanted} pods available"]
    return []


def deployment_unready(item: Item) -> list[str]:
    """Return a sentence if a Deployment is not rolled out."""
    status = item.get("status", {})
    wanted = item["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < item["metadata"]["generation"]:
        return [f"deployment {name(item)} has not been looked at by its controller yet"]
    if status.get("updatedReplicas", 0) < wanted or status.get("availableReplicas", 0) < wanted:
        return [f"deployment {name(item)} has {status.get('availableReplicas', 0)} of {wanted} pods available"]
    return []


def pod_reason(item: Item) -> str:
    """Return why a pod is not up, or an empty string if it is (or ended well)."""
    status = item.get("status", {})
    phase = status.get("phase", "Pending")
    if phase == "Succeeded" or (phase == "Running" and ready_condition(item).get("status") == "True"):
        return ""
    where = item["spec"].get("nodeName")
    reasons = [reason for reason in map(container_reason, containers(status)) if reason]
    if not where:
        reasons += [
            c["message"] for c in status.get("conditions", ()) if c["type"] == "PodScheduled" and c.get("message")
        ]
    detail = "; ".join(reasons) or status.get("message") or "its containers have not reported ready"
    return f"{phase} on {where or 'no node'}: {detail}"


def containers(status: Item) -> list[Item]:
    """Return the states of a pod's containers, init containers first."""
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def container_reason(container: Item) -> str:
    """Return why a container does not run, or an empty string."""
    state = container.get("state", {})
    restarts = f", {container['restartCount']} restarts" if container.get("restartCount") else ""
    if "waiting" in state and state["waiting"].get("reason") not in (None, "PodInitializing", "ContainerCreating"):
        waiting = state["waiting"]
        return f"{container['name']} {waiting['reason']}{restarts}: {waiting.get('message', '')}".rstrip(": ")
    ended = state.get("terminated", {})
    if ended.get("exitCode"):
        return f"{container['name']} ended with {ended['exitCode']} ({ended.get('reason', 'no reason')}){restarts}"
    if "running" in state and not container.get("ready", True):
        return f"{container['name']} runs but is not ready{restarts}"
    return ""


def failing_container(item: Item) -> Optional[str]:
    """Return the name of the container whose log explains an unready pod, or None."""
    statuses = containers(item.get("status", {}))
    bad = [container for container in statuses if container_reason(container)]
    return bad[0]["name"] if bad else None
