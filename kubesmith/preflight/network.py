"""Rules on one machine's network: address, ports, firewall, name servers, ways to the others, registries."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils.survey_network import PORTS

from kubesmith.preflight.model import Finding, Node, Whole

BALANCER = (True, ("haproxy",))  # at the port that the inventory names
NAT = "10.0.2."  # VirtualBox gives every machine 10.0.2.15 behind a NAT of its own; QEMU's user network does the same
FEWEST_FIREWALLS = ("ufw", "firewalld")
MOST_NAME_SERVERS = 3  # the resolver of the C library, and with it the kubelet, reads no more
OPEN = {
    True: "6443, 2379-2380, 10250, 10257, 10259/tcp",
    False: "10250, 10256, 30000-32767/tcp",
}
ENCAPSULATION = {"vxlan": "4789/udp", "ipip": "protocol 4 (IPIP), 179/tcp", "none": "179/tcp"}


def address(node: Node, whole: Whole) -> Iterator[Finding]:
    """Judge the node's address: there is one, on an interface, not behind a NAT, and only here."""
    if not node.address:
        rule = "kubelet, API server and Calico announce it"
        yield node.error("node address", "none", rule, "set nodes[].address in the cluster file")
        return
    name, _row = node.interface
    if not name:
        seen = ", ".join(sorted(own_addresses(node))) or "no address at all"
        fix = f"give nodes[].address an address that {node.name} has"
        yield node.error("node address", f"{node.address} is on no interface ({seen})", "it is the machine's own", fix)
    if node.address.startswith(NAT) or ip_address(node.address).is_loopback:
        rule = "the other nodes reach it"
        fix = "set nodes[].address to the address on the network that the nodes share"
        yield node.error("node address", f"{node.address} is local to this machine", rule, fix)
    others = [other.name for other in whole.nodes if other.address == node.address and other.name != node.name]
    if others:
        yield node.error(
            "node address",
            f"{node.address}, as {', '.join(others)}",
            "each node has its own",
            "correct nodes[].address",
        )
    if not node.facts["default_route"]:
        fix = "add one: ip route add default via GATEWAY"
        yield node.warning("default route", "none", "services are reached by the default route's interface", fix)


def own_addresses(node: Node) -> set[str]:
    """Return the addresses of the machine's own interfaces, those of pods left out."""
    return {text for row in node.facts["interfaces"].values() if not row["pods"] for text in row["addresses"]}


def ports(node: Node, whole: Whole) -> Iterator[Finding]:
    """Judge who listens on the ports that this node needs."""
    seen = set()
    for row in node.facts["ports"]:
        place = (row["protocol"], row["port"])
        _central, owners = PORTS.get(place, BALANCER)
        if (whole.ours(node) and row["process"] in owners) or (place, row["pid"]) in seen:
            continue
        if row["process"] == "vxlan.calico":  # kubeadm reset leaves it behind, and the next calico-node takes it over
            continue
        seen.add((place, row["pid"]))
        yield node.error(
            f"port {row['port']}/{row['protocol']}", holder(row), f"{owners[0]} listens there", remedy(node, row)
        )


def holder(row: dict[str, Any]) -> str:
    """Return who holds a port, in words."""
    return (
        f"{row['process']} (pid {row['pid']}) on {row['address']}" if row["pid"] else f"the kernel on {row['address']}"
    )


def remedy(node: Node, row: dict[str, Any]) -> str:
    """Return what frees a port."""
    if not row["pid"]:
        return "ip -d link show type vxlan; delete the device that uses it"
    of_kubernetes = any(row["process"] in owners for _central, owners in (*PORTS.values(), BALANCER))
    if of_kubernetes:
        return f"it belongs to another cluster, see the leftovers of {node.name}"
    return f"stop it: systemctl status {row['pid']} names its unit, else kill {row['pid']}"


def firewall(node: Node, _whole: Whole) -> Iterator[Finding]:
    """Warn of packet filters that drop what no rule lets through; which ports they let through is not worked out."""
    active = [name for name in FEWEST_FIREWALLS if name in node.facts["services"]]
    drops = node.facts["firewall"]["drops"]
    if not active and not drops:
        return
    encapsulation = ENCAPSULATION[node.settings["encapsulation"]]
    listed = f"{OPEN[node.control_plane]}, {encapsulation}, and forwarding for the pod and service CIDRs"
    seen = ", ".join([f"{name} is active" for name in active] + [f"{chain} drops by default" for chain in drops])
    yield node.warning("firewall", seen, "the nodes reach each other", f"let through, if it does not yet: {listed}")


def dns(node: Node, _whole: Whole) -> Iterator[Finding]:
    """Judge the name servers that pods will be given."""
    facts = node.facts["dns"]
    servers = facts["servers"]
    rule = "CoreDNS forwards to the node's name servers"
    if not servers:
        yield node.warning(
            "DNS", "/etc/resolv.conf has no nameserver", rule, "write one, or pods resolve no outside name"
        )
        return
    if all(is_loopback(server) for server in servers) and not [row for row in facts["behind"] if not is_loopback(row)]:
        fix = "write the address of a real name server into /etc/resolv.conf"
        yield node.error("DNS", f"only {', '.join(servers)}", "a pod cannot reach a name server on loopback", fix)
    elif not facts["answering"]:
        fix = "check the addresses, and that 53/udp is let out; inside the cluster names resolve nevertheless"
        yield node.warning("DNS", f"no answer from {', '.join(servers)}", rule, fix)
    if len(servers) > MOST_NAME_SERVERS:
        rule = f"resolvers read {MOST_NAME_SERVERS}"
        yield node.warning("DNS", f"{len(servers)} name servers", rule, "leave the best ones in /etc/resolv.conf")


def is_loopback(server: str) -> bool:
    """Tell whether a name server's address is the machine itself."""
    try:
        return ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return False


def ways(node: Node, whole: Whole) -> Iterator[Finding]:
    """Judge whether packets of full size get to the other nodes."""
    names = {other.address: other.name for other in whole.nodes}
    _name, row = node.interface
    for peer, reached in node.facts["paths"].items():
        other = f"{names.get(peer, '')} ({peer})"
        if peer not in names:
            continue  # it did not answer us either, which is told
        if reached == "none":
            fix = f"ping {peer}; look at routes and firewalls between them, unless ICMP alone is filtered"
            yield node.warning("way between nodes", f"no echo from {other}", "nodes reach each other", fix)
        elif reached == "small" and not node.settings["pod_mtu"]:
            fix = "set network.calico.mtu to what the way takes less 50, or mend the MTU of the switches between"
            seen = f"{row['mtu']} bytes do not get to {other}, 64 do"
            yield node.error("MTU", seen, "packets of the interface's MTU get through", fix)


def registries(node: Node, _whole: Whole) -> Iterator[Finding]:
    """Warn of mirrors to which no connection can be made."""
    for url, why in node.facts["registries"].items():
        yield node.warning(
            "registry", f"{url}: {why}", "runtime.registries are reachable", "check address and firewall"
        )


RULES = (address, ports, firewall, dns, ways, registries)
