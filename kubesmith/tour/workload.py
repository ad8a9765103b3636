"""The small things that tours put into their namespace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kubesmith.tour.api import Object

PORT = 8080
CONTROL_PLANE = {"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}
HOST = "kubernetes.io/hostname"


def web(image: str, replicas: int = 1, *, name: str = "web", spec: Object | None = None, **more: Any) -> Object:
    """Return a Deployment of the test server, whose pods are ready within a second of their start.

    ``spec`` is laid over the pods' spec, ``more`` over the Deployment's.
    """
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod_spec(image) | (spec or {})},
            **more,
        },
    }


def pod(image: str, name: str, *, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    """Return a single pod of the test server."""
    meta = {"name": name, "labels": labels or {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod_spec(image) | spec}


def pod_spec(image: str) -> Object:
    """Return the spec of a pod that runs the test server."""
    server = {
        "name": "server",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        # Its UDP server must be up for /healthz to say ok.
        "args": ["netexec", f"--http-port={PORT}"],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 1},
    }
    return {"terminationGracePeriodSeconds": 1, "enableServiceLinks": False, "containers": [server]}


def service(name: str = "web", app: str = "web", **spec: Any) -> Object:
    """Return a Service on the pods with the label app=APP."""
    ports = [{"name": "http", "port": 80, "targetPort": PORT}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": app}, "ports": ports, **spec},
    }


def on(nodes: Sequence[str]) -> Object:
    """Return the part of a pod's spec that allows these nodes only, control planes among them."""
    expression = {"key": HOST, "operator": "In", "values": list(nodes)}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}
    return {"affinity": affinity, "tolerations": [CONTROL_PLANE]}


def patience(seconds: int) -> list[Object]:
    """Return the tolerations by which a pod leaves a node that is not ready after so many seconds, instead of 300."""
    kinds = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
    return [{"key": kind, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds} for kind in kinds]
