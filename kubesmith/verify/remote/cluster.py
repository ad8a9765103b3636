"""What the API server knows of the cluster, asked on a control plane; nothing is changed."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from kubesmith.verify.remote.common import kubectl, objects, together

KINDS = "nodes,pods,daemonsets,deployments,services"


def by_kind() -> dict[str, list[dict[str, Any]]]:
    """Return all nodes, pods, daemon sets, deployments and services, by kind."""
    answer: dict[str, list[dict[str, Any]]] = {}
    for item in objects(KINDS, "--all-namespaces"):
        item["metadata"].pop("managedFields", None)
        answer.setdefault(item["kind"], []).append(item)
    return answer


def configz(node: str) -> dict[str, Any]:
    """Return the configuration that the kubelet of this node runs with."""
    answer: dict[str, Any] = json.loads(kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/configz"))["kubeletconfig"]
    return answer


def leases() -> dict[str, dict[str, Any]]:
    """Return who leads, and how many seconds ago that was renewed, for scheduler and controller manager."""
    found = objects("leases", "-n", "kube-system", "kube-scheduler", "kube-controller-manager")
    return {
        lease["metadata"]["name"]: {"holder": lease["spec"]["holderIdentity"], "age": age(lease["spec"]["renewTime"])}
        for lease in found
    }


def age(stamp: str) -> float:
    """Return how many seconds ago a time of the form 2026-11-23T14:00:00.123456Z was, by this node's clock."""
    then = datetime.strptime(stamp.partition(".")[0].rstrip("Z"), "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return round((datetime.now(timezone.utc) - then).total_seconds(), 1)


def tokens() -> list[dict[str, str]]:
    """Return id and expiry of the bootstrap tokens; their secrets stay where they are."""
    columns = "custom-columns=NAME:.metadata.name,EXPIRES:.data.expiration"
    lines = kubectl(
        "get",
        "secrets",
        "-n",
        "kube-system",
        "--field-selector=type=bootstrap.kubernetes.io/token",
        "--no-headers",
        "-o",
        columns,
    )
    rows = [line.split() for line in lines.splitlines() if line.startswith("bootstrap-token-")]
    return [{"id": row[0].removeprefix("bootstrap-token-"), "expires": row[1]} for row in rows]


def main(question: dict[str, Any]) -> dict[str, Any]:
    """Answer with the cluster's objects; ``nodes`` are the names whose kubelet can be asked."""
    tasks: dict[str, Any] = {
        "objects": by_kind,
        "version": lambda: json.loads(kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"],
        "config_maps": lambda: {
            m["metadata"]["name"]: m["data"]
            for m in objects("configmaps", "-n", "kube-system", "kubeadm-config", "kubelet-config")
        },
        "leases": leases,
        "tokens": tokens,
        "ip_pools": lambda: [pool["spec"] for pool in objects("ippools.crd.projectcalico.org")],
        "coredns_log": lambda: kubectl("logs", "-n", "kube-system", "-l", "k8s-app=kube-dns", "--tail=100", "--prefix"),
    }
    tasks.update({f"configz {node}": lambda node=node: configz(node) for node in question["nodes"]})
    return together(tasks)
