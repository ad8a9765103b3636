"""What a restore would do, worked out before it touches anything: whose nodes these are, what the backup fits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubesmith.errors import InputError

COMPLETE, PARTIAL, ABSENT = "complete", "partial", "absent"
Facts = Mapping[str, Any]  # of module_utils/restoring.py


@dataclass(frozen=True)
class Plan:
    """``planes`` have the cluster's control plane and are restored in place; with none it is built anew.

    ``missing`` are nodes of the cluster file that are no members: ``up`` makes them so. ``workers`` are members.
    """

    planes: Sequence[str] = ()
    workers: Sequence[str] = ()
    missing: Sequence[str] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, str] = field(default_factory=dict)

    @property
    def in_place(self) -> bool:
        """Tell whether a control plane of the cluster is there."""
        return bool(self.planes)


def make(found: Mapping[str, Facts], roles: Mapping[str, str], meta: Mapping[str, Any]) -> Plan:
    """Return the plan for nodes with these facts; ``roles`` is {node of the cluster file: role}, in its order.

    InputError for a node of another cluster than the backup's. A node without facts has no machine yet.
    """
    for name, facts in found.items():
        if facts["authority"] and facts["authority"] != meta["authority"]:
            raise InputError(
                f"backup {meta['id']} is of another cluster: the SHA-256 of its CA is {meta['authority']}, and {name} "
                f"belongs to a cluster with {facts['authority']}",
                fix="take a backup of this cluster, or reset the nodes first: python3 runner.py reset",
            )
    whole = [name for name in roles if name in found and found[name]["member"] == COMPLETE]
    planes = [name for name in whole if roles[name] == "control-plane" and found[name]["name"]]
    lost = [name for name in whole if roles[name] == "control-plane" and name not in planes]
    if lost:
        raise InputError(
            f"{', '.join(lost)} is a member without a control plane, where the cluster file wants one",
            fix="reset it first: python3 runner.py reset",
        )
    names = {name: str(found[name]["name"]) for name in planes}
    return Plan(
        planes=planes,
        workers=[name for name in whole if roles[name] == "worker"],
        missing=[name for name in roles if name not in whole],
        names=names,
        members={names[name]: str(found[name]["peer"]) for name in planes},
    )


def fits(meta: Mapping[str, Any], seen: Mapping[str, Any], cluster: str, kubernetes: str, bundle: Path) -> None:
    """Raise InputError unless a backup is of this cluster, and of no newer etcd or Kubernetes than the bundle has."""
    if meta["cluster"] != cluster:
        raise InputError(
            f"backup {meta['id']} is of another cluster: it is of {meta['cluster']}, the cluster file of {cluster}",
            fix="take another one: python3 runner.py backup list",
        )
    own = bundled(bundle)
    for name, version in (("etcd", meta["etcd"]), ("etcd", seen.get("storage")), ("kubernetes", meta["kubernetes"])):
        if version and minor(str(version)) > minor(own.get(name, "0.0")):
            raise InputError(
                f"backup {meta['id']} is of {name} {version}, which is newer than the bundle's {own.get(name)}",
                fix="take the kubesmith, or cluster.kubernetes in the cluster file, that it was made with",
            )
    if minor(str(meta["kubernetes"] or kubernetes)) != minor(kubernetes):
        raise InputError(
            f"backup {meta['id']} is of Kubernetes {meta['kubernetes']}, and the cluster file wants {kubernetes}",
            fix=f"set cluster.kubernetes to {meta['kubernetes']} for the restore, and upgrade afterwards",
        )


def bundled(bundle: Path) -> dict[str, str]:
    """Return {component: version} of the bundle in use; InputError where there is none."""
    file = bundle / "bundle.json"
    try:
        return {row["name"]: row["version"] for row in json.loads(file.read_text())["components"]}
    except (OSError, ValueError, LookupError) as error:
        raise InputError(f"there is no bundle at {bundle}", fix="python3 runner.py bundle build") from error


def minor(version: str) -> tuple[int, int]:
    """Return (major, minor) of a version; (0, 0) for what is none."""
    parts = version.removeprefix("v").split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (IndexError, ValueError):
        return 0, 0
