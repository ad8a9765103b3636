"""Everything that would stop a lab from being made, found before anything is touched."""

from __future__ import annotations

import ctypes
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
#: What a node of each role takes once its cluster runs: memory and disk in MiB, inotify instances (29 and 16 seen).
MEMORY = {"control-plane": 2048, "worker": 768}
DISK = {"control-plane": 3072, "worker": 2048}
INOTIFY = {"control-plane": 32, "worker": 18}
DISK_FOR_IMAGE = 1536
LIBC = ctypes.CDLL(None)
INOTIFY_LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")


def check(
    lab: Lab,
    wanted: Sequence[Wanted],
    node_cidr: IPv4Network | None,
    avoid: Sequence[IPv4Network],
    bundles: Path,
    *,
    image: NodeImage,
) -> None:
    """Raise InputError for the first thing that would stop these nodes from being made."""
    _tools()
    image.check()
    containers, volumes, networks = (
        podman_json("ps", "--all"),
        podman_json("volume", "ls"),
        podman_json("network", "ls"),
    )
    found = lab.containers_among(containers)
    same_nodes(lab, wanted, found)
    same_bundles(found, bundles)
    ours(lab, "network", [lab.network], {entry["name"]: entry.get("labels") for entry in networks})
    names = [lab.container(node.name) for node in wanted]
    ours(lab, "container", names, {name: entry["Labels"] for entry in containers for name in entry["Names"]})
    names = [volume for node in wanted for volume in lab.volumes(node.name)]
    ours(lab, "volume", names, {entry["Name"]: entry["Labels"] for entry in volumes})
    taken = network.in_use(lab.cluster, avoid, networks)
    subnet = free_subnet(lab, node_cidr, lab.subnet_among(networks), taken)
    same_addresses(wanted, found)
    network.assign(wanted, subnet, {container.node: container.address for container in found})
    starting = [node for node in wanted if node.name not in {c.node for c in found if c.running}]
    _memory(starting)
    _inotify(starting)
    _disk([node for node in wanted if node.name not in {c.node for c in found}], image)


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


def same_nodes(lab: Lab, wanted: Sequence[Wanted], found: Sequence[Container]) -> None:
    """Refuse to mix two labs of one name."""
    roles = {node.name: node.role for node in wanted}
    others = [f"{c.node} ({c.role})" for c in found if roles.get(c.node) != c.role]
    if others:
        raise InputError(
            f"a lab called {lab.cluster} is there already, with {', '.join(others)}, which this one has not",
            fix="give this cluster another name, or remove that one: runner.py destroy, with its own inventory",
        )


def same_bundles(found: Sequence[Container], bundles: Path) -> None:
    """Refuse a bundle that nodes cannot see: what a container mounts is settled when it is made."""
    for container in found:
        if container.bundles != str(bundles):
            raise InputError(
                f"{container.node} was made to see the bundles in {container.bundles}, and not those in {bundles}",
                fix="use that folder (KUBESMITH_CACHE), or destroy the lab and make it again",
            )


def same_addresses(wanted: Sequence[Wanted], found: Sequence[Container]) -> None:
    """Refuse to give a node that is there another address: its cluster knows it by the one that it has."""
    said = {node.name: node.address for node in wanted if node.address}
    for container in found:
        if said.get(container.node, container.address) != container.address:
            raise InputError(
                f"{container.node} has the address {container.address}; the file asks for {said[container.node]}",
                fix="leave the address as it is, or destroy the lab and make it again",
            )


def ours(lab: Lab, kind: str, names: Sequence[str], labels: Mapping[str, Any]) -> None:
    """Refuse those of ``names`` that exist and are not the lab's; ``labels`` holds the labels of all that exist."""
    for name in names:
        if name in labels and owner(labels[name]) != lab.cluster:
            other = owner(labels[name])
            raise InputError(
                f"the podman {kind} {name} is there already and belongs to {f'the lab {other}' if other else 'no lab'}",
                fix=f"give this cluster another name, or remove it: podman {kind} rm {name}",
            )


def free_subnet(
    lab: Lab, wanted: IPv4Network | None, subnet: IPv4Network | None, taken: Sequence[network.Taken]
) -> IPv4Network:
    """Return the lab's network, refusing one that overlaps another; ``subnet`` is the one that is made already."""
    if subnet is None:
        return network.choose(taken, wanted)
    if wanted not in (None, subnet):
        raise InputError(
            f"the lab {lab.cluster} has the network {subnet}; the file asks for {wanted}",
            fix="leave the network as it is, or destroy the lab and make it again",
        )
    for other in network.overlaps(subnet, taken):
        raise InputError(
            f"the lab's network {subnet} overlaps {other.subnet} ({other.owner})",
            fix="destroy the lab and make it again: it will take a free one",
        )
    return subnet


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


def _inotify(starting: Sequence[Wanted]) -> None:
    """The kernel counts inotify instances by user, and root is one user in all nodes: two or three labs use 128 up."""
    needed = sum(INOTIFY[node.role] for node in starting)
    free = _free_inotify(needed)
    if free < needed:
        raise InputError(
            f"{len(starting)} nodes need {needed} inotify instances; of root's {INOTIFY_LIMIT.read_text().strip()}"
            f" only {free} are free",
            fix="sysctl -w fs.inotify.max_user_instances=1024 on this machine, or destroy another lab",
        )


def _free_inotify(most: int) -> int:
    """Return how many inotify instances the kernel still grants, up to ``most``: by asking for them."""
    granted: list[int] = []
    try:
        while len(granted) < most and (descriptor := LIBC.inotify_init1(os.O_CLOEXEC)) >= 0:
            granted.append(descriptor)
    finally:
        for descriptor in granted:
            os.close(descriptor)
    return len(granted)


def _disk(new: Sequence[Wanted], image: NodeImage) -> None:
    if not new:
        return
    folder = podman("info", "--format={{.Store.GraphRoot}}").strip()
    needed = sum(DISK[node.role] for node in new) + (0 if image.present() else DISK_FOR_IMAGE)
    free = shutil.disk_usage(folder).free // 2**20
    if needed > free:
        raise InputError(
            f"{len(new)} nodes need {needed} MiB of disk and {folder} has {free} MiB free",
            fix="free some, or ask for fewer workers",
        )
