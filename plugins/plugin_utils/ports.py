# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Which ports of a node are open, to whom, and why: the one table for the firewall, its tests and its docs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import Spec

ALL, NODES, CONTROL_PLANES, PODS = "everybody", "nodes", "control planes", "pods"
#: By which protocol each encapsulation of Calico's sends packets from node to node; the others need BGP.
TUNNELS = {"vxlan": ("udp", "4789"), "ipip": ("4", "")}


class Port(NamedTuple):
    """One row: on nodes of ``role`` (empty: all), ``ports`` (``1-2``; empty: has none) are open to ``source``."""

    role: str
    protocol: str
    ports: str
    source: str
    why: str


def table(encapsulation: str, balancer: int = 0) -> tuple[Port, ...]:
    """Return the table of a cluster; ``balancer`` is the port of a load balancer on the control planes, 0 for none.

    SSH is not in it: its port is found on each node, and is open to everybody. So are answers to what the node itself
    asked, its own loopback, ICMP and DHCP. What a node hands on to pods (node ports, host ports) is not the node's own:
    network policies are for that.
    """
    rows = [
        Port("", "tcp", "10250", NODES, "kubelet: logs, exec, metrics"),
        Port("", "tcp", "10250", PODS, "kubelet: metrics, asked from a pod of the same node"),
        Port("control-plane", "tcp", "6443", ALL, "API server, for nodes, pods and users"),
        Port(
            "control-plane",
            "tcp",
            "2379-2380",
            CONTROL_PLANES,
            "etcd: the API servers, and its members among themselves",
        ),
    ]
    if encapsulation in TUNNELS:
        protocol, ports = TUNNELS[encapsulation]
        rows.append(Port("", protocol, ports, NODES, f"Calico: pods of two nodes, by {encapsulation}"))
    if encapsulation != "vxlan":
        rows.append(Port("", "tcp", "179", NODES, "Calico: routes to pods, by BGP"))
    if balancer:
        rows.append(Port("control-plane", "tcp", str(balancer), ALL, "load balancer of the API servers"))
        rows.append(Port("control-plane", "112", "", CONTROL_PLANES, "keepalived: who has the shared address (VRRP)"))
    return tuple(rows)


def of(spec: Spec, balancer: int = 0) -> tuple[Port, ...]:
    """Return the table of a cluster file, with what the file itself opens."""
    return (*table(spec.network.calico.encapsulation, balancer), *given(spec.security.ports))


def given(texts: Sequence[str]) -> Iterator[Port]:
    """Yield a row for each entry of ``security.ports``, such as 80/tcp or 30000-32767/udp."""
    for text in texts:
        ports, _slash, protocol = text.partition("/")
        yield Port("", protocol or "tcp", ports, ALL, "the cluster file: security.ports")


def rules(rows: Sequence[Port], role: str, sources: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Return the rows for a node of ``role`` as the module host_firewall takes them, with addresses instead of names.

    ``sources`` are the addresses and networks of nodes, control planes and pods.
    """
    return [
        {
            "protocol": row.protocol,
            "ports": row.ports,
            "sources": sorted(set(sources.get(row.source, ()))),
            "set": "" if row.source == ALL else row.source,
            "anybody": row.source == ALL,
            "why": row.why,
        }
        for row in rows
        if row.role in ("", role)
    ]
