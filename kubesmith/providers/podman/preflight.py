"""Everything that would stop a lab from being made, found before anything is touched."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from kubesmith.errors import InputError
from kubesmith.providers.base import Wanted
from kubesmith.providers.podman import network
from kubesmith.providers.podman.engine import host, podman, podman_json
from kubesmith.providers.podman.lab import Container, Lab, owner
from kubesmith.providers.podman.node_image import NodeImage

TOOLS = {"podman": "podman", "ip": "iproute2", "ssh": "openssh-client", "ssh-keygen": "openssh-client"}
OLDEST_PODMAN = (4, 0)
#: Memory that a node of each role needs once its cluster runs, and disk that a new node fills, in MiB.
MEMORY = {"control-plane": 2048, "worker": 1024}
DISK_PER_NODE = 2048
DISK_FOR_IMAGE = 1536


def check(
    lab: Lab, wanted: Sequence[Wanted], node_cidr: IPv4Network | None, avoid: Sequence[IPv4Network], bundles: Path
) -> None:
    """Raise InputError for the first thing that would stop these nodes from being made."""
    _tools()
    NodeImage().check()
    found = lab.containers()
    _same_nodes(lab, wanted, found)
    _same_bundles(found, bundles)
    _names(lab, wanted)
    _network(lab, node_cidr, avoid)
    _memory([node for node in wanted if node.name not in {c.node for c in found if c.running}])
    _disk([node for node in wanted if node.name not in {c.node for c in found}])


def _tools() -> None:
    if os.geteuid() != 0:
        raise InputError(
            f"lab nodes need root, and this is user {os.geteuid()}: they run systemd and mount file systems",
            fix="run the same command with sudo, or as root",
        )
    needed = TOOLS if host().cgroup_v2 else TOOLS | {"runc": "runc"}
    missing = {package: tool for tool, package in needed.items() if not shutil.which(tool)}
    if missing:
        raise InputError(f"missing: {', '.join(missing.values())}", fix=f"apt-get install {' '.join(missing)}")
    version = podman("version", "--format={{.Client.Version}}").strip()
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_PODMAN:
        raise InputError(f"podman is {version}; labs need 4.0 or newer", fix="update podman")


def _same_nodes(lab: Lab, wanted: Sequence[Wanted], found: Sequence[Container]) -> None:
    """Refuse to mix two labs of one name."""
    roles = {node.name: node.role for node in wanted}
    others = [f"{c.node} ({c.role})" for c in found if roles.get(c.node) != c.role]
    if others:
        raise InputError(
            f"a lab called {lab.cluster} is there already, with {', '.join(others)}, which this one has not",
            fix="give this cluster another name, or remove that one: runner.py destroy, with its own inventory",
        )


def _same_bundles(found: Sequence[Container], bundles: Path) -> None:
    for container in found:
        if container.bundles != str(bundles):
            raise InputError(
                f"{container.node} was made to see the bundles in {container.bundles}, and not those in {bundles}",
                fix="use that folder (KUBESMITH_CACHE), or destroy the lab and make it again",
            )


def _names(lab: Lab, wanted: Sequence[Wanted]) -> None:
    """Refuse names that something of somebody else's has."""
    containers = {name: entry["Labels"] for entry in podman_json("ps", "--all") for name in entry["Names"]}
    volumes = {entry["Name"]: entry["Labels"] for entry in podman_json("volume", "ls")}
    networks = {entry["name"]: entry.get("labels") for entry in podman_json("network", "ls")}
    _ours(lab, "network", [lab.network], networks)
    _ours(lab, "container", [lab.container(node.name) for node in wanted], containers)
    _ours(lab, "volume", [volume for node in wanted for volume in lab.volumes(node.name)], volumes)


def _ours(lab: Lab, kind: str, names: Sequence[str], labels: Mapping[str, Any]) -> None:
    for name in names:
        if name in labels and owner(labels[name]) != lab.cluster:
            other = owner(labels[name])
            raise InputError(
                f"the podman {kind} {name} is there already and belongs to {f'the lab {other}' if other else 'no lab'}",
                fix=f"give this cluster another name, or remove it: podman {kind} rm {name}",
            )


def _network(lab: Lab, node_cidr: IPv4Network | None, avoid: Sequence[IPv4Network]) -> None:
    subnet = lab.subnet()
    if subnet is None:
        network.choose(network.in_use(lab.cluster, avoid), node_cidr)
        return
    if node_cidr not in (None, subnet):
        raise InputError(
            f"the lab {lab.cluster} has the network {subnet}; the file asks for {node_cidr}",
            fix="leave the network as it is, or destroy the lab and make it again",
        )
    for other in network.overlaps(subnet, network.in_use(lab.cluster, avoid)):
        raise InputError(
            f"the lab's network {subnet} overlaps {other.subnet} ({other.owner})",
            fix="destroy the lab and make it again: it will take a free one",
        )


def _memory(starting: Sequence[Wanted]) -> None:
    needed = sum(MEMORY[node.role] for node in starting)
    available = _available_memory()
    if needed > available:
        raise InputError(
            f"{len(starting)} nodes need {needed} MiB of memory and {available} MiB are available",
            fix="stop something, or ask for fewer workers",
        )


def _available_memory() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable:"))


def _disk(new: Sequence[Wanted]) -> None:
    folder = podman("info", "--format={{.Store.GraphRoot}}").strip() if new else ""
    needed = len(new) * DISK_PER_NODE + (0 if NodeImage().present() else DISK_FOR_IMAGE)
    if new and needed > (free := shutil.disk_usage(folder).free // 2**20):
        raise InputError(
            f"{len(new)} nodes need {needed} MiB of disk and {folder} has {free} MiB free",
            fix="free some, or ask for fewer workers",
        )
