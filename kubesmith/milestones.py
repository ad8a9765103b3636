"""Milestones on the way to a cluster that is ready, and what is lacking for each."""

from __future__ import annotations

import difflib
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils import workloads

from kubesmith import kube
from kubesmith.errors import InputError, KubesmithError

Item = dict[str, Any]
KINDS = "nodes,pods,daemonsets,deployments,endpointslices"
NAMESPACE = "kube-system"
CALICO = ("calico-node", "calico-kube-controllers")
DNS = ("coredns",)


def look(kubeconfig: Path, milestone: str, nodes: Sequence[str]) -> list[str]:
    """Ask the API server; return a sentence for each thing that is lacking for ``milestone``, none if it is reached."""
    try:
        answer = _raw(kubeconfig, "/readyz")
        if answer != "ok":
            return [f"the API server is not ready: {answer}"]
        items = kube.get(kubeconfig, [KINDS, "--all-namespaces"])["items"] if milestone != "api" else []
    except (KubesmithError, subprocess.TimeoutExpired) as error:
        return [f"the API server does not answer: {kube.last_line(str(error))}"]
    return MILESTONES[milestone](items, nodes)


def _raw(kubeconfig: Path, path: str) -> str:
    command = [kube.binary(), "get", f"--raw={path}", "--request-timeout=5s"]
    done = subprocess.run(
        command, env=kube.environment(kubeconfig), capture_output=True, text=True, check=False, timeout=15
    )
    return done.stdout.strip() if done.returncode == 0 else kube.last_line(done.stderr)


def _kind(items: Sequence[Item], kind: str, names: Sequence[str] = ()) -> list[Item]:
    rows = [item for item in items if item["kind"] == kind]
    rows = [item for item in rows if kind == "Node" or item["metadata"].get("namespace") == NAMESPACE]
    return [item for item in rows if not names or item["metadata"]["name"] in names]


def nodes_lacking(items: Sequence[Item], nodes: Sequence[str]) -> list[str]:
    """Return what lacks until every wanted node is registered and Ready."""
    return workloads.nodes_unready(_kind(items, "Node"), nodes)


def _rolled_out(items: Sequence[Item], names: Sequence[str]) -> list[str]:
    """Return what lacks until the named workloads of kube-system exist and are up, and their pods' own reasons."""
    sets, deployments = _kind(items, "DaemonSet", names), _kind(items, "Deployment", names)
    there = {item["metadata"]["name"] for item in (*sets, *deployments)}
    found = [f"{name} has not been installed" for name in names if name not in there]
    found += [reason for item in sets for reason in workloads.daemonset_unready(item)]
    found += [reason for item in deployments for reason in workloads.deployment_unready(item)]
    if not found:
        return []
    pods = [item for item in _kind(items, "Pod") if item["metadata"]["name"].startswith(tuple(names))]
    return found + [f"{workloads.name(item)}: {reason}" for item in pods if (reason := workloads.pod_reason(item))]


def network_lacking(items: Sequence[Item], nodes: Sequence[str]) -> list[str]:
    """Return what lacks until Calico is up and every node is Ready, which it is by its network only."""
    return _rolled_out(items, CALICO) + nodes_lacking(items, nodes)


def dns_lacking(items: Sequence[Item], _nodes: Sequence[str]) -> list[str]:
    """Return what lacks until CoreDNS is up and the service kube-dns has endpoints."""
    found = _rolled_out(items, DNS)
    slices = [
        row
        for row in _kind(items, "EndpointSlice")
        if row["metadata"].get("labels", {}).get("kubernetes.io/service-name") == "kube-dns"
    ]
    ready = [end for row in slices for end in row.get("endpoints") or () if end.get("conditions", {}).get("ready")]
    return found if ready else [*found, "the service kube-dns has no endpoint that is ready"]


def ready_lacking(items: Sequence[Item], nodes: Sequence[str]) -> list[str]:
    """Return what lacks until every node is Ready and everything in kube-system is up."""
    rest = workloads.unready([item for item in items if item["kind"] != "EndpointSlice"], nodes, [NAMESPACE])
    parts = network_lacking(items, nodes) + dns_lacking(items, nodes)
    return list(dict.fromkeys(parts + rest))


MILESTONES: Mapping[str, Callable[[Sequence[Item], Sequence[str]], list[str]]] = {
    "api": lambda _items, _nodes: [],
    "nodes": nodes_lacking,
    "network": network_lacking,
    "dns": dns_lacking,
    "ready": ready_lacking,
}


def check(name: str) -> str:
    """Return ``name``; raise InputError with the nearest milestone if there is none of that name."""
    if name in MILESTONES:
        return name
    near = difflib.get_close_matches(name, MILESTONES, n=1, cutoff=0.5)
    meant = f"did you mean {near[0]}? " if near else ""
    raise InputError(f"{name[:80]!r} is not a milestone", fix=f"{meant}milestones: {', '.join(MILESTONES)}")


def last_event(kubeconfig: Path) -> str:
    """Return the newest warning of the cluster, empty where there is none."""
    try:
        items = kube.get(kubeconfig, ["events", "--all-namespaces", "--field-selector=type=Warning"])["items"]
    except (KubesmithError, subprocess.TimeoutExpired):
        return ""
    if not items:
        return ""
    newest = max(items, key=_event_time)
    about = newest.get("involvedObject", {})
    return f"{about.get('kind', '')} {about.get('name', '')}: {newest.get('reason', '')}: {newest.get('message', '')}"


def _event_time(event: Item) -> str:
    series = event.get("series") or {}
    known = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return str(known or event["metadata"].get("creationTimestamp", ""))
