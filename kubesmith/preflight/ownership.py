"""Whose cluster is on a node. The CA is the proof; where it is not known, our name or our API server's address is."""

from __future__ import annotations

from collections.abc import Sequence

from kubesmith.preflight.model import Cluster, Node, Whole

OURS, OTHER, UNKNOWN, NONE = "ours", "other", "unknown", "none"


def survey(nodes: Sequence[Node], cluster: Cluster) -> Whole:
    """Return all nodes with the owner of what is on each."""
    ca = cluster_ca(nodes, cluster)
    servers = {node.address for node in nodes if node.control_plane}
    owner = {node.name: _owner(node, cluster, ca, servers) for node in nodes}
    return Whole(cluster, nodes, owner, ca)


def cluster_ca(nodes: Sequence[Node], cluster: Cluster) -> str:
    """Return the digest of the cluster's CA, empty before there is one.

    A whole control plane with our name speaks before the kubeconfig kept here, which is older if the cluster was
    built anew and the run ended before it was fetched.
    """
    for node in nodes:
        traces = node.facts["traces"]
        if node.control_plane and traces["member"] == "complete" and traces["cluster"] == cluster.name:
            return str(traces["ca"])
    return cluster.ca


def _owner(node: Node, cluster: Cluster, ca: str, servers: set[str]) -> str:
    traces = node.facts["traces"]
    if traces["member"] == "absent":
        return NONE
    if traces["cluster"]:
        return OURS if traces["cluster"] == cluster.name else OTHER
    if ca and traces["ca"]:
        return OURS if traces["ca"] == ca else OTHER
    known = {conf["server"].rpartition(":")[0] for conf in traces["confs"].values() if conf["server"]}
    if known & servers and traces["member"] == "partial" and not node.control_plane:
        return OURS  # a join to our API server that was interrupted before it had fetched the CA
    return OTHER if known else UNKNOWN
