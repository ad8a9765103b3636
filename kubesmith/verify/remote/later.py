"""What is looked at twice in one round, to see whether anything was restarted in between."""

from __future__ import annotations

from typing import Any

from kubesmith.verify.remote.common import Api
from kubesmith.verify.remote.facts import services


def restarts() -> dict[str, int]:
    """Return how often each container of kube-system has been restarted."""
    return {
        f"{pod['metadata']['name']}/{status['name']}": status["restartCount"]
        for pod in Api().items("/api/v1/namespaces/kube-system/pods")
        for status in pod["status"].get("containerStatuses", [])
    }


def main(question: dict[str, Any]) -> dict[str, Any]:
    """Answer with the state of the node's services, and, on a control plane, the restarts of kube-system."""
    return {"services": services(), "restarts": restarts() if question["pods"] else {}}
