"""Preflight: what nodes are, judged before anything is changed on them. Pure: facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kubesmith.preflight import leftovers, machine, network, ownership, together
from kubesmith.preflight.model import CONTROLLER, ERROR, WARNING, Cluster, Finding, Node

__all__ = ["CONTROLLER", "ERROR", "WARNING", "Cluster", "Finding", "Node", "judge", "ordered"]

RULES = (*machine.RULES, *network.RULES, *leftovers.RULES)


def judge(nodes: Sequence[Node], cluster: Cluster) -> list[Finding]:
    """Return every finding on every node, errors first, each once, in the order of the nodes."""
    rights = [node for node in nodes if node.facts["euid"] == 0]
    whole = ownership.survey(rights, cluster)
    found = [_no_rights(node) for node in nodes if node.facts["euid"] != 0]
    found += [finding for node in rights for rule in RULES for finding in rule(node, whole)]
    found += [finding for rule in together.RULES for finding in rule(whole)]
    return ordered(found, [node.name for node in nodes])


def ordered(found: Iterable[Finding], names: Sequence[str]) -> list[Finding]:
    """Return findings without repetitions: errors first, the controller before the nodes, nodes in their order."""
    place = {name: index for index, name in enumerate([CONTROLLER, *names])}
    unique = dict.fromkeys(found)
    return sorted(unique, key=lambda finding: (finding.severity != ERROR, place.get(finding.node, len(place))))


def _no_rights(node: Node) -> Finding:
    fix = "set access.user: root, or allow the user sudo without a password"
    return node.error("rights", f"user id {node.facts['euid']}", "the nodes are changed as root", fix)
