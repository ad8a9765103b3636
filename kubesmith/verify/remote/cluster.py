"""What the API server knows of the cluster, asked on a control plane; nothing is changed."""

from __future__ import annotations

import calendar
import json
import time
from functools import partial
from typing import Any

from kubesmith.verify.remote.common import Api, together

KINDS = {
    "Node": "/api/v1/nodes",
    "Pod": "/api/v1/pods",
    "Service": "/api/v1/services",
    "DaemonSet": "/apis/apps/v1/daemonsets",
    "Deployment": "/apis/apps/v1/deployments",
}
SYSTEM = "/api/v1/namespaces/kube-system"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"


def by_kind(api: Api) -> dict[str, list[dict[str, Any]]]:
    """Return all nodes, pods, services, daemon sets and deployments, by kind."""
    answer = {kind: api.items(path) for kind, path in KINDS.items()}
    for items in answer.values():
        for item in items:
            item["metadata"].pop("managedFields", None)
    return answer


def config_maps(api: Api) -> dict[str, dict[str, str]]:
    """Return kubeadm's records of how the cluster and its kubelets are configured."""
    return {name: api.get(f"{SYSTEM}/configmaps/{name}")["data"] for name in ("kubeadm-config", "kubelet-config")}


def configz(api: Api, node: str) -> dict[str, Any]:
    """Return the configuration that the kubelet of this node runs with."""
    answer: dict[str, Any] = api.get(f"/api/v1/nodes/{node}/proxy/configz")["kubeletconfig"]
    return answer


def leases(api: Api) -> dict[str, dict[str, Any]]:
    """Return who leads, and how many seconds ago that was renewed, for scheduler and controller manager."""
    found = {name: api.get(f"{LEASES}/{name}")["spec"] for name in ("kube-scheduler", "kube-controller-manager")}
    return {name: {"holder": spec["holderIdentity"], "age": age(spec["renewTime"])} for name, spec in found.items()}


def age(stamp: str) -> float:
    """Return how many seconds ago a time of the form 2026-11-23T14:00:00.123456Z was, by this node's clock."""
    then = calendar.timegm(time.strptime(stamp.partition(".")[0].rstrip("Z"), "%Y-%m-%dT%H:%M:%S"))
    return round(time.time() - then, 1)


def tokens(api: Api) -> list[dict[str, str]]:
    """Return id and expiry (base64) of the bootstrap tokens; their secrets stay here."""
    found = api.items(f"{SYSTEM}/secrets?fieldSelector=type%3Dbootstrap.kubernetes.io%2Ftoken")
    return [
        {
            "id": secret["metadata"]["name"].removeprefix("bootstrap-token-"),
            "expires": secret["data"].get("expiration", ""),
        }
        for secret in found
    ]


def dns_log(api: Api) -> str:
    """Return the last lines of every CoreDNS pod."""
    pods = [pod["metadata"]["name"] for pod in api.items(f"{SYSTEM}/pods?labelSelector=k8s-app%3Dkube-dns")]
    return "\n".join(api.raw("GET", f"{SYSTEM}/pods/{pod}/log?tailLines=100") for pod in pods)


def main(question: dict[str, Any]) -> dict[str, Any]:
    """Answer with the cluster's objects; ``nodes`` are the names whose kubelet can be asked."""
    api = Api()
    tasks: dict[str, Any] = {
        "objects": lambda: by_kind(api),
        "version": lambda: json.loads(api.raw("GET", "/version"))["gitVersion"],
        "config_maps": lambda: config_maps(api),
        "leases": lambda: leases(api),
        "tokens": lambda: tokens(api),
        "ip_pools": lambda: [pool["spec"] for pool in api.items("/apis/crd.projectcalico.org/v1/ippools")],
        "coredns_log": lambda: dns_log(api),
    }
    tasks.update({f"configz {node}": partial(configz, api, node) for node in question["nodes"]})
    return together(tasks)
