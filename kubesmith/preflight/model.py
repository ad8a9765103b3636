"""What preflight's rules speak of: nodes with their facts, what is known of the cluster, and findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

ERROR, WARNING = "error", "warning"
CONTROLLER = "controller"  # in the place of a node's name: this machine


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    An ``error`` is what ``up`` would fail at, or what would leave a cluster that does not work; a ``warning`` is what
    ``up`` mends by itself, or what may be meant so.
    """

    severity: str
    node: str
    what: str
    seen: str
    rule: str
    fix: str


@dataclass(frozen=True)
class Node:
    """One node: the facts of the module ``node_preflight``, and when its answer was awaited (controller's clock, s)."""

    name: str
    facts: Mapping[str, Any]
    asked: float = 0.0
    answered: float = 0.0

    @property
    def wanted(self) -> Mapping[str, Any]:
        """What the inventory makes of this node."""
        return self.facts["wanted"]  # type: ignore[no-any-return]

    @property
    def settings(self) -> Mapping[str, Any]:
        """The cluster's settings that the judgement depends on."""
        return self.wanted["settings"]  # type: ignore[no-any-return]

    @property
    def control_plane(self) -> bool:
        """Tell whether the inventory makes this node a control plane."""
        return bool(self.wanted["role"] == "control-plane")

    @property
    def container(self) -> bool:
        """Tell whether the node shares its host's kernel, clock and disks."""
        return bool(self.wanted["container"])

    @property
    def address(self) -> str:
        """The address that the node is to have in the cluster; empty where the inventory has none."""
        return str(self.wanted["address"])

    @property
    def macs(self) -> set[str]:
        """The hardware addresses of the machine's own interfaces."""
        return {str(row["mac"]) for row in self.facts["interfaces"].values() if not row["pods"] and row.get("mac")}

    @property
    def interface(self) -> tuple[str, Mapping[str, Any]]:
        """The interface that holds the node's address, with its facts; an empty name where there is none."""
        for name, row in self.facts["interfaces"].items():
            if self.address in row["addresses"]:
                return name, row
        return "", {}

    def error(self, what: str, seen: Any, rule: str, fix: str) -> Finding:
        """Return an error of this node."""
        return Finding(ERROR, self.name, what, str(seen), rule, fix)

    def warning(self, what: str, seen: Any, rule: str, fix: str) -> Finding:
        """Return a warning of this node."""
        return Finding(WARNING, self.name, what, str(seen), rule, fix)


@dataclass(frozen=True)
class Cluster:
    """What the controller knows: the cluster's name, the digest of its CA (if it exists), and the bundle.

    ``bundle`` is {digest, arch, kubernetes, mib}; empty where there is none. ``control_planes`` are all of them, also
    those that were not looked at.
    """

    name: str = ""
    kubernetes: str = ""
    ca: str = ""
    bundle: Mapping[str, Any] = field(default_factory=dict)
    control_planes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Whole:
    """All nodes at once, and whose cluster is on each: ``ours``, ``other``, ``unknown`` or ``none``."""

    cluster: Cluster
    nodes: Sequence[Node]
    owner: Mapping[str, str]
    ca: str = ""

    def ours(self, node: Node) -> bool:
        """Tell whether what is on the node belongs to this cluster."""
        return self.owner[node.name] == "ours"

    def member(self, node: Node) -> bool:
        """Tell whether the node is a whole member of this cluster."""
        return self.ours(node) and node.facts["traces"]["member"] == "complete"
