"""Rules on all nodes together: what must differ between them, and what must agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from kubesmith.preflight.model import CONTROLLER, ERROR, WARNING, Finding, Node, Whole

CLOCK_SECONDS = 1.0
Values = Callable[[Node], Iterable[str]]


def names(whole: Whole) -> Iterator[Finding]:
    """Judge host names: each its own, and the node's name."""
    shared = duplicates(whole.nodes, lambda node: [node.facts["machine"]["hostname"]])
    for node in whole.nodes:
        seen, fix = node.facts["machine"]["hostname"], f"hostnamectl set-hostname {node.name}"
        if seen in shared:
            others = ", ".join(name for name in shared[seen] if name != node.name)
            fix = f"rename {others}" if seen == node.name else fix
            yield node.error("host name", f"{seen}, as {others}", "each node has its own", fix)
        elif seen not in (node.name, node.name.split(".")[0]):
            yield node.warning("host name", seen, f"it is the node's name, {node.name}", fix)


def identities(whole: Whole) -> Iterator[Finding]:
    """Judge what a copied machine has in common with its model."""
    machine = "rm /etc/machine-id /var/lib/dbus/machine-id; systemd-machine-id-setup; reboot"
    yield from shared(whole.nodes, WARNING, "machine-id", lambda node: [node.facts["machine"]["machine_id"]], machine)
    # Containers see the one of their host: nothing wrong there.
    own = [node for node in whole.nodes if not node.container]
    product = "give the virtual machine a UUID of its own in its hypervisor"
    yield from shared(own, ERROR, "product_uuid", lambda node: [node.facts["machine"]["product_uuid"]], product)
    yield from shared(whole.nodes, ERROR, "MAC address", macs, "give the machine's interface an address of its own")


def macs(node: Node) -> list[str]:
    """Return the hardware address of the interface that holds the node's address."""
    return [str(node.interface[1].get("mac", ""))]


def shared(nodes: Iterable[Node], severity: str, what: str, values: Values, fix: str) -> Iterator[Finding]:
    """Tell of values that several nodes have."""
    for value, holders in duplicates(nodes, values).items():
        for name in holders:
            others = ", ".join(other for other in holders if other != name)
            yield Finding(severity, name, what, f"{value}, as {others}", "each node has its own", fix)


def duplicates(nodes: Iterable[Node], values: Values) -> dict[str, list[str]]:
    """Return {value: names of the nodes} of each value that more than one node has."""
    found = defaultdict(list)
    for node in nodes:
        for value in set(values(node)) - {""}:
            found[value].append(node.name)
    return {value: holders for value, holders in found.items() if len(holders) > 1}


def clocks(whole: Whole) -> Iterator[Finding]:
    """Judge how far the nodes' clocks are apart.

    A node's answer says when it began and ended by its own clock, and both lie between question and answer by ours.
    That bounds its offset from both sides, so that a slow connection cannot make a false finding. Which of two nodes
    is wrong, our own clock decides: it counts as one among theirs.
    """
    bounds = {node.name: offset(node) for node in whole.nodes if node.answered}
    if len(bounds) < 2:
        return
    least, most = min(high for _low, high in bounds.values()), max(low for low, _high in bounds.values())
    if most - least <= CLOCK_SECONDS:
        return
    votes = sorted([0.0, *(low + high for low, high in bounds.values())])
    middle = votes[len(votes) // 2] / 2
    for node in whole.nodes:
        if node.name in bounds and away(bounds[node.name], middle) > CLOCK_SECONDS / 2:
            low, high = bounds[node.name]
            seen = f"{(low + high) / 2 - middle:+.1f} s from the others (within {(high - low) / 2:.1f} s)"
            rule = f"clocks less than {CLOCK_SECONDS:.0f} s apart"
            yield node.error("clock", seen, rule, "run a time service: timedatectl set-ntp true, or install chrony")


def offset(node: Node) -> tuple[float, float]:
    """Return the bounds, in seconds, of how far a node's clock is ahead of ours."""
    first, last = node.facts["clock"]
    return last - node.answered, first - node.asked


def away(bounds: tuple[float, float], point: float) -> float:
    """Return how far a point is certainly outside the bounds; 0 inside."""
    return max(0.0, bounds[0] - point, point - bounds[1])


def mtus(whole: Whole) -> Iterator[Finding]:
    """Judge the MTU of the interfaces between the nodes: Calico is given one for all."""
    sizes = {node.name: int(node.interface[1]["mtu"]) for node in whole.nodes if node.interface[0]}
    if len(set(sizes.values())) < 2:
        return
    least = min(sizes.values())
    for node in whole.nodes:
        if sizes.get(node.name, least) > least and not node.settings["pod_mtu"]:
            smallest = ", ".join(name for name, size in sizes.items() if size == least)
            fix = f"give all the same MTU, or set network.calico.mtu: {least - 50}"
            seen = f"{sizes[node.name]} on {node.interface[0]}, {least} on {smallest}"
            yield node.error("MTU", seen, "the same between all nodes", fix)


def shared_address(whole: Whole) -> Iterator[Finding]:
    """Judge the address that control planes are to share: nobody has it but one of this cluster's control planes.

    A control plane that does not answer us, or was left out, may be the one that has it: nothing is told then.
    """
    planes = [node for node in whole.nodes if node.control_plane and node.wanted.get("vip")]
    rule = "nobody has it but a control plane of this cluster"
    for node in whole.nodes:
        vip = node.wanted.get("vip", "")
        names = [name for name, row in node.facts["interfaces"].items() if vip and vip in row["addresses"]]
        if names and (not node.control_plane or node.facts["traces"]["member"] == "absent"):
            fix = f"ip address del {vip}/32 dev {names[0]}, and what set it; or choose another cluster.vip"
            yield node.error("cluster.vip", f"{vip} is on {names[0]}", rule, fix)
    if {node.name for node in planes} < set(whole.cluster.control_planes):
        return
    known = {mac for node in whole.nodes for mac in node.macs}
    for node in planes:
        seen = node.facts.get("vip_holder", "")
        if seen and seen not in known:
            fix = "choose a free address for cluster.vip, or find who has this one: ip neighbour"
            yield node.error("cluster.vip", f"{node.wanted['vip']} answers as {seen}", rule, fix)


def bundle(whole: Whole) -> Iterator[Finding]:
    """Judge the bundle on the controller."""
    rule, fix = f"a bundle with Kubernetes {whole.cluster.kubernetes}", "python3 runner.py bundle build"
    if not whole.cluster.bundle:
        yield Finding(ERROR, CONTROLLER, "bundle", "none", rule, fix)
    elif whole.cluster.kubernetes not in ("", whole.cluster.bundle["kubernetes"]):
        seen = f"Kubernetes {whole.cluster.bundle['kubernetes']}"
        yield Finding(ERROR, CONTROLLER, "bundle", seen, rule, fix)


RULES = (names, identities, clocks, mtus, shared_address, bundle)
