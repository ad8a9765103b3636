# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The rules between settings: what no single value can show to be wrong."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Any, Union

from ansible_collections.kubesmith.cluster.plugins.plugin_utils import kubelet

if TYPE_CHECKING:
    from ansible_collections.kubesmith.cluster.plugins.plugin_utils.problems import Path
    from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import Spec

Range = Union[IPv4Network, IPv6Network]
Broken = Iterator["tuple[Path, str, str]"]  # where, what is wrong, what to do
MOST_PLANES = 7  # etcd's own advice: https://etcd.io/docs/v3.6/faq/#what-is-maximum-cluster-size
BLOCK = 26  # Calico gives a node pod addresses in blocks of this prefix length


def broken(spec: Spec) -> Broken:
    """Yield every rule between settings that ``spec`` breaks, as (path, message, hint)."""
    for rule in RULES:
        yield from rule(spec)


def _ranges(spec: Spec) -> list[tuple[Path, Range]]:
    network = spec.network
    texts = {"pods": network.pods, "services": network.services, "nodes": network.nodes or ""}
    return [
        (("network", name), ipaddress.ip_network(part))
        for name, text in texts.items()
        for part in text.split(",")
        if part
    ]


def _of(spec: Spec, name: str) -> list[Range]:
    return [network for path, network in _ranges(spec) if path[-1] == name]


def ranges_overlap(spec: Spec) -> Broken:
    """Pod, service and node networks must be apart."""
    seen: list[tuple[Path, Range]] = []
    for path, network in _ranges(spec):
        for other_path, other in seen:
            if network.version == other.version and network.overlaps(other):
                other_name = ".".join(map(str, other_path))
                yield path, f"{network} overlaps {other_name} {other}", "choose ranges that share no address"
        seen.append((path, network))


def own_apart(spec: Spec, own: Mapping[str, IPv4Network]) -> Broken:
    """Pods and services have no address of a network that the controller is in, such as a lab's host."""
    for path, network in _ranges(spec):
        for interface, there in own.items():
            if path[-1] != "nodes" and network.version == there.version and network.overlaps(there):
                hint = "choose a range that this machine has no part in: it could not reach its own neighbours"
                yield path, f"{network} overlaps this machine's own network {there} ({interface})", hint


def ranges_large_enough(spec: Spec) -> Broken:
    """Every node needs a block of pod addresses; services need some room."""
    nodes = len(spec.machines())
    pods, *pods6 = _of(spec, "pods")
    blocks = 2 ** max(0, BLOCK - pods.prefixlen) if pods.prefixlen <= BLOCK else 0
    if blocks < nodes:
        yield (
            ("network", "pods"),
            f"{pods} has room for {blocks} nodes (a /{BLOCK} each), the cluster has {nodes}",
            "take a larger network",
        )
    for six in pods6:
        if not 48 <= six.prefixlen <= 64 or 2 ** (64 - six.prefixlen) < nodes:
            yield (
                ("network", "pods"),
                f"{six} has the prefix length {six.prefixlen}; it takes 48 to 64, and a /64 for each of {nodes} nodes",
                "for example fd00:10:244::/56",
            )
    services, *services6 = _of(spec, "services")
    for six in services6:
        if not 108 <= six.prefixlen <= 120:
            yield (
                ("network", "services"),
                f"{six} has the prefix length {six.prefixlen}, the API server takes 108 to 120 here",
                "for example fd00:10:96::/112",
            )
    if not 12 <= services.prefixlen <= 24:
        yield (
            ("network", "services"),
            f"{services} has the prefix length {services.prefixlen}, the API server takes 12 to 24 here",
            "for example 10.96.0.0/16",
        )


def addresses_apart(spec: Spec) -> Broken:
    """Node addresses are unique and lie in no pod or service network."""
    seen: dict[str, int] = {}
    given = [
        (index, key, getattr(node, key)) for index, node in enumerate(spec.nodes) for key in ("address", "address6")
    ]
    for index, key, address in given:
        if address is None:
            continue
        path: Path = ("nodes", index, key)
        if address in seen:
            yield path, f"{address} is the address of {spec.nodes[seen[address]].name} too", "give each its own"
        seen.setdefault(address, index)
        for name in ("pods", "services"):
            for network in _of(spec, name):
                if ipaddress.ip_address(address) in network:
                    yield path, f"{address} lies in network.{name} {network}", "keep node addresses out of both ranges"


def nodes_inside(spec: Spec) -> Broken:
    """The machines' network has room for them, and whoever says where a node is says a place in it."""
    if spec.network.nodes is None:
        return
    network = IPv4Network(spec.network.nodes)
    ends = (network.network_address, network.broadcast_address)
    for index, node in enumerate(spec.nodes):
        here = IPv4Address(node.address) if node.address else None
        if here and (here not in network or here in ends):
            message = f"{here} is no address of a machine in network.nodes {network}"
            yield ("nodes", index, "address"), message, "change the address or network.nodes, or leave both out"
        elif here == network.network_address + 1 and spec.provider != "ssh":
            message = f"{here} is this machine's own address in network.nodes {network}"
            yield ("nodes", index, "address"), message, "take another one in it"
    counted = len(spec.machines())
    room = max(0, network.num_addresses - 3)  # its two ends, and this machine
    if spec.provider != "ssh" and room < counted:
        hint = "take a /24 or wider, or leave it out: a free one is found"
        yield ("network", "nodes"), f"{network} has room for {room} machines, the cluster has {counted}", hint


def both_families(spec: Spec) -> Broken:
    """A cluster has IPv6 everywhere or nowhere, and an encapsulation that carries it."""
    network = spec.network
    if ("," in network.pods) != ("," in network.services):
        path: Path = ("network", "services" if spec.dual_stack else "pods")
        yield path, "has one family, the other of pods and services has two", "give both an IPv4 and an IPv6 network"
    if not spec.dual_stack:
        return
    if network.calico.encapsulation == "ipip":
        yield ("network", "calico", "encapsulation"), "'ipip' excludes dual-stack: it carries IPv4 only", "take vxlan"
    for index, node in enumerate(spec.nodes):
        if spec.provider == "ssh" and node.address6 is None:
            hint = "the pods have IPv6 addresses, and so must each node"
            yield ("nodes", index, "address6"), f"{node.name} has no IPv6 address", hint


def names_unique(spec: Spec) -> Broken:
    """Node names are unique."""
    seen: dict[str, int] = {}
    for index, node in enumerate(spec.nodes):
        if node.name in seen:
            yield ("nodes", index, "name"), f"{node.name!r} is the name of nodes[{seen[node.name]}] too", "rename one"
        seen.setdefault(node.name, index)


def control_planes_right(spec: Spec) -> Broken:
    """There is a control plane, and etcd's members can form a majority."""
    count = sum(node.role == "control-plane" for node in spec.machines())
    path: Path = ("nodes",) if spec.nodes else ("control_planes",)
    if count == 0:
        yield path, "there is no control plane", "give one node 'role: control-plane'"
    elif count % 2 == 0:
        yield path, f"{count} control planes make {count} etcd members, an even number", "take 1, 3 or 5"
    elif count > MOST_PLANES:
        message = f"{count} control planes make {count} etcd members, more than {MOST_PLANES}"
        yield path, message, "take 3 or 5: each further one makes every write slower"


def nodes_listed_or_counted(spec: Spec) -> Broken:
    """Nodes are listed or counted, not both; machines that exist are listed with addresses."""
    for name in ("control_planes", "workers"):
        if spec.nodes and getattr(spec, name) is not None:
            yield (name,), "is given beside nodes", "list the nodes or count them, not both"
    if spec.provider != "ssh":
        return
    if not spec.nodes:
        yield ("nodes",), "provider ssh makes no machines and none is listed", "list each with name, role and address"
    for index, node in enumerate(spec.nodes):
        if node.address is None:
            yield (
                ("nodes", index, "address"),
                f"{node.name} has no address",
                "provider ssh needs the address of each node",
            )


def groups_exist(spec: Spec) -> Broken:
    """A node's group is one that the file describes."""
    for index, node in enumerate(spec.nodes):
        if node.group is not None and node.group not in spec.groups:
            near = difflib.get_close_matches(node.group, spec.groups, n=1, cutoff=0.6)
            known = ", ".join(sorted(spec.groups)) or "none"
            hint = f"did you mean {near[0]}?" if near else f"groups here are {known}"
            yield ("nodes", index, "group"), f"{node.group!r} is not a group of this file", hint


def endpoint_apart(spec: Spec) -> Broken:
    """The API endpoint, if an address, lies in no pod or service network."""
    try:
        endpoint = ipaddress.ip_address(spec.cluster.endpoint or "")
    except ValueError:
        return
    for name in ("pods", "services"):
        for network in _of(spec, name):
            if endpoint in network:
                path: Path = ("cluster", "endpoint")
                yield path, f"{endpoint} lies in network.{name} {network}", "take one outside both ranges"


OWN_PORTS = frozenset({2379, 2380, 2381, 6443, 9099, 10248, 10249, 10250, 10256, 10257, 10259})


def several_share_an_address(spec: Spec) -> Broken:
    """Several control planes are reached by an address that none of them takes along when it is lost."""
    planes = sum(node.role == "control-plane" for node in spec.machines())
    cluster = spec.cluster
    if planes > 1 and spec.provider == "ssh" and not (cluster.vip or cluster.endpoint):
        hint = "cluster.vip: a free address in the nodes' network; or cluster.endpoint: a load balancer of your own"
        yield ("cluster", "vip"), f"is missing: {planes} control planes need an address in common", hint
    for port in (cluster.vip_port, cluster.vip_port + 1):
        if port in OWN_PORTS or 30000 <= port <= 32767:
            what = "a part of Kubernetes listens at" if port in OWN_PORTS else "services' node ports include"
            yield ("cluster", "vip_port"), f"{cluster.vip_port}: {what} {port}", "take 8443, or another free pair"


def vip_apart(spec: Spec) -> Broken:
    """The shared address is free, and in the network of the nodes."""
    cluster, path = spec.cluster, ("cluster", "vip")
    if cluster.vip is None:
        return
    if cluster.endpoint:
        yield path, f"{cluster.vip} is given beside cluster.endpoint {cluster.endpoint}", "give one of the two"
    vip = ipaddress.IPv4Address(cluster.vip)
    hint = "take a free one of the nodes' network"
    for name in ("pods", "services"):
        yield from ((path, f"{vip} lies in network.{name} {there}", hint) for there in _of(spec, name) if vip in there)
    holders = [node.name for node in spec.nodes if node.address == cluster.vip]
    if holders:
        yield path, f"{vip} is the address of {holders[0]}", "take a free one: it moves between the control planes"
    if spec.network.nodes is None and spec.provider != "ssh":
        hint = "give network.nodes as well, or leave vip out: a free address is picked"
        yield path, f"{vip}: the machines' network is not known before they are made", hint
    yield from ((path, message, "take another one in it") for message in _misplaced(spec, vip))


def _misplaced(spec: Spec, vip: IPv4Address) -> Iterator[str]:
    """Yield what makes an address none for a machine in the nodes' network."""
    for nodes in _of(spec, "nodes"):
        if vip not in nodes or vip in (nodes.network_address, nodes.broadcast_address):
            yield f"{vip} is no address of a machine in network.nodes {nodes}"
        elif spec.provider != "ssh" and vip == nodes.network_address + 1:
            yield f"{vip} is this machine's own address in network.nodes {nodes}"


TAINT = "node-role.kubernetes.io/control-plane"


def features_go_together(spec: Spec) -> Broken:
    """A feature that another setting excludes is not taken beside it."""
    scheduled = spec.features.schedule_control_planes
    for index, node in enumerate(spec.nodes):
        group = spec.groups.get(node.group or "")
        taints = (*node.taints, *(group.taints if group else ()))
        if (
            scheduled
            and node.role == "control-plane"
            and any(taint.split("=")[0].split(":")[0] == TAINT for taint in taints)
        ):
            yield (
                ("features", "schedule_control_planes"),
                f"excludes the taint {TAINT} of nodes[{index}] {node.name}",
                "take one of the two away",
            )
    for target in spec.kubeadm.patches:
        if target.startswith("kube-apiserver") and target.endswith("+json"):
            path: Path = ("kubeadm", "patches", target)
            for step in spec.kubeadm.patches[target]:
                if str(step.get("path", "")).rstrip("/") in WHOLE and step["op"] in ("replace", "remove"):
                    what = "what limits access, the audit log and encryption"
                    yield path, f"{step['op']} of {step['path']} undoes {what}", "use op: add, with a path ending in /-"


WHOLE = (  # lists into which kubeadm writes our arguments and folders
    *("/spec", "/spec/volumes", "/spec/containers", "/spec/containers/0"),
    *("/spec/containers/0/command", "/spec/containers/0/volumeMounts"),
)


def logins_complete(spec: Spec) -> Broken:
    """A login says where its password is, once; there is somebody to log in at."""
    rows: list[tuple[Path, Any]] = [(("runtime", "proxy"), spec.runtime.proxy)]
    rows += [(("bundle", "upstream"), spec.bundle.upstream)]
    seen: dict[str, int] = {}
    for index, registry in enumerate(spec.runtime.registries):
        path: Path = ("runtime", "registries", index)
        if seen.setdefault(registry.upstream, index) != index:
            first = f"{registry.upstream} is the upstream of registries[{seen[registry.upstream]}] too"
            yield (*path, "upstream"), first, "give all its mirrors in one place"
        rows += [(path, registry), *(((*path, "mirrors", at), mirror) for at, mirror in enumerate(registry.mirrors))]
        if registry.auth and registry.upstream == "_default":
            yield (*path, "auth"), "is a login at no registry: _default stands for all", "give it to a mirror"
    for where, row in rows:
        if row.auth and (row.auth.password_env is None) == (row.auth.password_file is None):
            yield (
                (*where, "auth"),
                "needs one of password_env and password_file",
                "name the variable or the file on the controller that holds the password",
            )
    proxy = spec.runtime.proxy
    if (proxy.auth or proxy.no_proxy) and not (proxy.http or proxy.https):
        yield ("runtime", "proxy"), "names no proxy", "give http, https or both"


def ports_need_a_firewall(spec: Spec) -> Broken:
    """Ports are opened only where something closes them."""
    if spec.security.ports and spec.security.firewall == "none":
        yield ("security", "ports"), "opens ports, and there is no firewall", "set security.firewall to nftables"


def kubelets_start(spec: Spec) -> Broken:
    """Settings of kubelets are some that there are, with values that a kubelet reads."""
    rows: list[tuple[Path, Mapping[str, Any]]] = [(("kubeadm", "kubelet"), spec.kubeadm.kubelet)]
    rows += [(("groups", name, "kubelet"), group.kubelet) for name, group in spec.groups.items()]
    rows += [(("nodes", index, "kubelet"), node.kubelet) for index, node in enumerate(spec.nodes)]
    for where, settings in rows:
        for name, message, hint in kubelet.problems(settings):
            yield (*where, name), message, hint


def certificates_last(spec: Spec) -> Broken:
    """No certificate outlasts its CA, and none is renewed before it is half as old as it gets."""
    days, authority = spec.certificates.lasting(spec.lab)
    if days > authority:
        path: Path = ("certificates", "authority_days")
        yield path, f"{authority} is less than the {days} days of the certificates it signs", "take at least as many"
    if spec.certificates.renewal and spec.certificates.renewal_days * 2 > days:
        path = ("certificates", "renewal_days")
        yield path, f"{spec.certificates.renewal_days} is more than half of the {days} days that they last", "take less"


def targets_complete(spec: Spec) -> Broken:
    """A backup's target has the settings of its kind, once, and none of the other."""
    seen: set[str] = set()
    for index, target in enumerate(spec.backup.targets):
        path: Path = ("backup", "targets", index)
        kind = target.url.partition(":")[0]
        if target.url in seen:
            yield (*path, "url"), f"{target.url} is a target already", "name each once"
        seen.add(target.url)
        for name in ("key", "known_hosts") if kind == "s3" else ("auth", "endpoint"):
            if getattr(target, name) is not None:
                yield (*path, name), f"says nothing to {target.url}", "leave it out"
        if target.auth and (target.auth.password_env is None) == (target.auth.password_file is None):
            yield (
                (*path, "auth"),
                "needs one of password_env and password_file",
                "name the variable or the file on the controller that holds the secret key",
            )


RULES: tuple[Callable[[Spec], Broken], ...] = (
    ranges_overlap,
    ranges_large_enough,
    addresses_apart,
    nodes_inside,
    names_unique,
    control_planes_right,
    nodes_listed_or_counted,
    groups_exist,
    endpoint_apart,
    several_share_an_address,
    vip_apart,
    both_families,
    features_go_together,
    logins_complete,
    ports_need_a_firewall,
    kubelets_start,
    targets_complete,
    certificates_last,
)
