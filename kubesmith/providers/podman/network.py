"""The lab's own network: a free subnet, and an address for each node that stays the same when it is made again."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

from kubesmith.errors import InputError, KubesmithError
from kubesmith.providers.base import Wanted
from kubesmith.providers.podman.engine import podman_json

# Three private ranges, in the corners that home routers, offices and container engines seldom take.
CANDIDATES = tuple(
    IPv4Network(f"{prefix}.{third}.0/24") for prefix in ("10.201", "172.28", "192.168") for third in range(210, 226)
)
#: The last numbers of the addresses for each role, first and last.
ROOM = {"control-plane": (11, 49), "worker": (51, 249)}
#: The last number of the address that control planes share; no machine of either provider gets it.
SHARED = 9
# Routes as wide as these (a VPN's two halves of the internet, for one) say nothing about who owns a subnet.
WIDEST = 7


@dataclass(frozen=True)
class Taken:
    """A range that is in use, and by what, in words."""

    subnet: IPv4Network
    owner: str


def choose(taken: Sequence[Taken], wanted: IPv4Network | None = None) -> IPv4Network:
    """Return ``wanted``, or the first candidate that is free. Raises InputError naming what stands in the way."""
    if wanted is not None:
        for other in overlaps(wanted, taken):
            raise InputError(
                f"the node network {wanted} overlaps {other.subnet} ({other.owner})",
                fix="give another network.nodes, or leave it out: a free one is found",
            )
        return wanted
    for candidate in CANDIDATES:
        if not overlaps(candidate, taken):
            return candidate
    raise InputError(
        f"none of the {len(CANDIDATES)} usual subnets for a lab is free on this machine",
        fix="give a free one as network.nodes, for example 10.99.0.0/24",
    )


def overlaps(subnet: IPv4Network, taken: Iterable[Taken]) -> list[Taken]:
    """Return those of ``taken`` that share an address with ``subnet``."""
    return [other for other in taken if other.subnet.overlaps(subnet)]


def shared(subnet: IPv4Network, vip: str | None) -> str:
    """Return the address that control planes share: ``vip``, or the one that is kept free for it."""
    return vip or str(subnet.network_address + SHARED)


def assign(wanted: Sequence[Wanted], subnet: IPv4Network, kept: Mapping[str, str], vip: str = "") -> dict[str, str]:
    """Give each node an address: its own, the one in ``kept`` where it lies in ``subnet``, else its role's lowest free.

    None gets ``vip``. Raises InputError for an address that cannot be in ``subnet``, and for a role that is full.
    """
    given = {node.name: _said(node, subnet) for node in wanted if node.address}
    names = {node.name for node in wanted}
    for name, ip in kept.items():
        if name in names and IPv4Address(ip) in subnet and ip not in given.values():
            given.setdefault(name, ip)
    if holder := next((name for name, ip in given.items() if ip == vip), ""):
        raise InputError(f"the address {vip}, which control planes share, is that of {holder}", fix="set cluster.vip")
    for node in wanted:
        if node.name not in given:
            used = set(given.values()) | set(kept.values()) | ({vip} if vip else set())
            given[node.name] = _lowest(node, subnet, used)
    return {node.name: given[node.name] for node in wanted}


def _said(node: Wanted, subnet: IPv4Network) -> str:
    address, ends = IPv4Address(node.address), (subnet.network_address, subnet.broadcast_address)
    if address not in subnet or address in (*ends, subnet.network_address + 1):
        raise InputError(
            f"{node.name} has the address {address}; it must lie in {subnet}, whose first one is this machine's",
            fix="change the address or network.nodes, or leave both out",
        )
    return node.address


def subnet6(cluster: str) -> IPv6Network:
    """Return the IPv6 network of a lab: a local one out of its name, so that two labs do not share it (RFC 4193)."""
    digest = hashlib.sha256(cluster.encode()).digest()
    return IPv6Network((b"\xfd" + digest[:7] + bytes(8), 64))


def beside(address: str, six: IPv6Network | None) -> str:
    """Return the IPv6 address that goes with a node's IPv4 one: with the same last number."""
    return str(six.network_address + int(address.rpartition(".")[2])) if six else ""


def _lowest(node: Wanted, subnet: IPv4Network, used: set[str]) -> str:
    first, last = ROOM[node.role]
    for number in range(first, last + 1):
        address = subnet.network_address + number
        if address not in subnet or address == subnet.broadcast_address:
            break
        if str(address) not in used:
            return str(address)
    raise InputError(
        f"no address is left in {subnet} for {node.name}: a {node.role} gets one of .{first} to .{last}",
        fix="use fewer nodes, or a node network of /24 or wider",
    )


def hardware_address(name: str) -> str:
    """Return the MAC address of ``name``, always the same: neighbours that remember it find it after a restart."""
    digest = hashlib.sha256(name.encode()).digest()
    return "02:" + ":".join(f"{byte:02x}" for byte in digest[:5])  # 02: locally administered


def in_use(
    cluster: str, avoid: Iterable[IPv4Network], networks: Sequence[Mapping[str, Any]] | None = None
) -> list[Taken]:
    """Return every range that the network of ``cluster`` has to keep clear of; ``avoid`` holds pods and services."""
    own = f"kubesmith-{cluster}"
    networks = podman_json("network", "ls") if networks is None else networks
    ours = {subnet for network in networks if network["name"] == own for subnet in _subnets(network)}
    return [
        *(Taken(subnet, "the cluster's pods or services") for subnet in avoid),
        *(Taken(s, f"podman network {net['name']}") for net in networks if net["name"] != own for s in _subnets(net)),
        *(route for route in routes(ip_routes()) if not any(route.subnet.subnet_of(subnet) for subnet in ours)),
    ]


def _subnets(network: Mapping[str, Any]) -> list[IPv4Network]:
    return [IPv4Network(entry["subnet"]) for entry in network.get("subnets") or [] if ":" not in entry["subnet"]]


def routes(table: Iterable[Mapping[str, str]]) -> list[Taken]:
    """Turn the host's routes (``ip -json route``) into the ranges that they claim."""
    claimed = (
        (IPv4Network(route["dst"]), route.get("dev", "no device")) for route in table if route["dst"] != "default"
    )
    return [
        Taken(subnet, f"a route of this machine, {device}") for subnet, device in claimed if subnet.prefixlen > WIDEST
    ]


def ip_routes() -> list[dict[str, str]]:
    """Return this machine's routes as ``ip -json`` tells them; KubesmithError where they cannot be read."""
    command = ["ip", "-json", "-4", "route", "show", "table", "all"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KubesmithError(f"this machine's routes cannot be read: {done.stderr.strip()}", fix="see `ip route`")
    answer: list[dict[str, str]] = json.loads(done.stdout or "[]")
    return answer
