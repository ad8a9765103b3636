"""What is sick in a cluster, how many may be for a repair to go on, and what is tried. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kubesmith.parts import AVAILABLE, DEGRADED, Part

RESTART, REBOOT, REJOIN = "restart", "reboot", "rejoin"
STEPS = (RESTART, REBOOT, REJOIN)
#: Seconds in which a node must be well after a step.
PATIENCE = {RESTART: 60.0, REBOOT: 150.0, REJOIN: 240.0}
WATCHED = ("kubelet", "CNI")  # parts whose state is the node's own


@dataclass(frozen=True)
class Sick:
    """A node and what is wrong with it; ``reached`` tells whether SSH let us in."""

    node: str
    plane: bool
    reasons: Sequence[str]
    reached: bool = True


@dataclass(frozen=True)
class Tried:
    """A step that was taken on a node: whether it helped, how long it took, and what was wrong afterwards."""

    node: str
    step: str
    ok: bool
    seconds: float
    reasons: Sequence[str] = field(default_factory=list)


def allowed(nodes: int) -> int:
    """Return how many sick nodes a repair deals with: a fifth of all, and always one."""
    return max(1, nodes // 5)


def sick(
    planes: Sequence[str],
    workers: Sequence[str],
    seen: Mapping[str, Sequence[str]],
    unreached: Mapping[str, str],
    parts: Sequence[Part],
) -> list[Sick]:
    """Return the sick nodes in the order in which they are dealt with: control planes first.

    ``seen`` is what the nodes say of themselves, ``unreached`` why SSH does not let us in, ``parts`` what the API
    server knows; none where it does not answer.
    """
    found = []
    for name in (*planes, *workers):
        reasons = list(seen.get(name, ()))
        if name in unreached:
            reasons.append(f"SSH: {unreached[name]}")
        reasons += [
            f"{part.name}: {part.why or part.state}"
            for part in parts
            if part.node == name and part.name in WATCHED and part.state == DEGRADED
        ]
        if reasons:
            found.append(Sick(name, name in planes, list(dict.fromkeys(reasons)), name not in unreached))
    return found


def well(node: str, parts: Sequence[Part]) -> bool:
    """Tell whether the API server finds a node's own parts available."""
    mine = [part for part in parts if part.node == node and part.name in WATCHED]
    return bool(mine) and all(part.state == AVAILABLE for part in mine)


def steps(row: Sick, *, planes: int, well_planes: int, adopted: bool, provider: str) -> list[tuple[str, str]]:
    """Return (step, why it is not taken, or nothing) of each step for a sick node, in order.

    ``planes`` are all control planes, ``well_planes`` those of them that are well; ``adopted`` nodes keep the programs
    of other hands.
    """
    unreached = "" if row.reached else "SSH does not reach it"
    if not row.reached and provider != "ssh":
        reboot = ""  # its provider starts the machine
    elif row.plane and planes > 1 and well_planes < planes // 2 + 1:
        reboot = "etcd would lose its majority"
    else:
        reboot = unreached
    rejoin = "adopted: keep: how its programs were installed is not known" if adopted else ""
    if row.plane:
        rejoin = "a control plane is not joined anew: `replace` it, or restore a backup"
    # After a reboot it may be reached: that is found out then.
    return [(RESTART, unreached), (REBOOT, reboot), (REJOIN, rejoin)]


def too_many(found: Sequence[Sick], nodes: int) -> str:
    """Return why nothing is repaired, or an empty string."""
    most = allowed(nodes)
    if len(found) <= most:
        return ""
    return (
        f"{len(found)} of {nodes} nodes are sick, more than a fifth (here {most}): that is no fault of single nodes, "
        "and restarting them could make it worse"
    )
