# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Which pods leave a node that is drained, and which cannot. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Optional

CORDONED = "kubesmith.io/cordoned"  # who cordoned a node: only that is uncordoned by us
MIRROR = "kubernetes.io/config.mirror"
ENDED = ("Succeeded", "Failed")
Object = Mapping[str, Any]


def name(pod: Object) -> str:
    """Return ``namespace/name`` of an object."""
    return "{namespace}/{name}".format(**pod["metadata"])


def owner(pod: Object) -> str:
    """Return the kind of the controller that makes a pod anew, "" if there is none."""
    owners = pod["metadata"].get("ownerReferences", ())
    return str(next((row["kind"] for row in owners if row.get("controller")), ""))


def stays(pod: Object) -> bool:
    """Tell whether a pod belongs to its node: of a DaemonSet, or the kubelet's own."""
    return MIRROR in pod["metadata"].get("annotations", {}) or owner(pod) == "DaemonSet"


def leaving(pods: Iterable[Object]) -> list[Object]:
    """Return the pods of a node that a drain takes off it."""
    return [pod for pod in pods if not stays(pod) and pod["status"].get("phase") not in ENDED]


def lost(pods: Iterable[Object]) -> list[str]:
    """Return which of the leaving pods nothing would make anew elsewhere."""
    return sorted(name(pod) for pod in leaving(pods) if not owner(pod))


def matches(selector: Optional[Object], labels: Mapping[str, str]) -> bool:
    """Tell whether a label selector takes a pod with ``labels``; an absent one takes none, an empty one all."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_fulfilled(row, labels) for row in selector.get("matchExpressions") or ())


def _fulfilled(row: Object, labels: Mapping[str, str]) -> bool:
    key, values = row["key"], row.get("values") or ()
    return {
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }[row["operator"]]


def takes_pods(node: Object) -> bool:
    """Tell whether ordinary pods may be scheduled on a node."""
    taints = node["spec"].get("taints", ())
    return not node["spec"].get("unschedulable") and all(row["effect"] == "PreferNoSchedule" for row in taints)


def undrainable(budgets: Iterable[Object], pods: Iterable[Object], elsewhere: bool = True) -> list[str]:
    """Return a sentence for each disruption budget that lets none of its pods go now, and why.

    ``pods`` are the pods that would have to leave. A budget without such a pod is in nobody's way. ``elsewhere`` tells
    whether there is another node for them: without one, a budget that wants a healthy pod never lets the last one go.
    """
    moving = leaving(pods)
    found = []
    for budget in budgets:
        space, status = budget["metadata"]["namespace"], budget.get("status", {})
        mine = [
            pod
            for pod in moving
            if pod["metadata"]["namespace"] == space
            and matches(budget["spec"].get("selector"), pod["metadata"].get("labels", {}))
        ]
        healthy, wanted = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
        if mine and not elsewhere and wanted > 0 and status.get("disruptionsAllowed", 0) > 0:
            found.append(f"{name(budget)} wants {wanted} healthy, and there is no other node for its pods")
        elif mine and status.get("disruptionsAllowed", 0) < 1:
            found.append(
                f"{name(budget)} lets no pod go: {healthy} healthy, {wanted} wanted "
                f"(pods: {', '.join(sorted(name(pod).partition('/')[2] for pod in mine)[:3])})"
            )
    return sorted(found)
