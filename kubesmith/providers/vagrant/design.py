"""What the machines are to be: name, address, memory, box; worked out once and remembered in the state folder.

The Vagrantfile reads nothing else. So `vagrant up` by hand and `runner.py` make the same machines.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import Node, Spec

from kubesmith import paths
from kubesmith.box.recipe import NAME as OWN_BOX
from kubesmith.errors import InputError
from kubesmith.providers.podman import network
from kubesmith.providers.podman.network import Taken

FILE = "vagrant.json"
#: VirtualBox lets its host-only networks be in 192.168.56.0/21 and nowhere else.
CANDIDATES = tuple(IPv4Network(f"192.168.{third}.0/24") for third in range(56, 64))
#: The last numbers of the addresses of each role, as in the lecture: the control plane .10, workers from .101 on.
ROOM = {"control-plane": (10, 100), "worker": (101, 250)}
ROLES = ("control-plane", "worker")
#: By the host's memory in MiB, those of each role; the first that fits counts. What is left is the host's.
PROFILES = ((28000, (4096, 4096)), (14000, (3072, 2560)), (0, (2048, 1536)))
BOXES = {
    ("libvirt", "amd64"): "debian/bookworm64",
    ("virtualbox", "amd64"): "debian/bookworm64",
    ("libvirt", "arm64"): "cloud-image/debian-12",
    ("virtualbox", "arm64"): "bento/debian-12",
}
ARCHITECTURES = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
KVM = Path("/dev/kvm")


@dataclass(frozen=True)
class Guest:
    """One virtual machine: memory in MiB."""

    name: str
    role: str
    address: str
    memory: int
    cpus: int


@dataclass(frozen=True)
class Design:
    """All machines of a cluster, and what they run on. ``driver`` is libvirt's: kvm, or qemu where it emulates.

    ``vip`` is the address that several control planes share; no machine has it. ``bundle_disk`` is a read-only disk
    that all machines have, with the bundle on it; "" where they get it by SSH.
    """

    cluster: str
    inventory: str
    hypervisor: str
    driver: str
    box: str
    subnet: str
    guests: tuple[Guest, ...]
    bundle_disk: str = ""
    vip: str = ""

    @property
    def emulated(self) -> bool:
        """Tell whether the processor is emulated."""
        return self.driver == "qemu"


@dataclass(frozen=True)
class Host:
    """What decides a design on this machine. ``memory`` is in MiB; ``taken`` are ranges in use."""

    architecture: str
    memory: int
    hypervisors: tuple[str, ...]
    kvm: bool
    boxes: tuple[str, ...]
    taken: tuple[Taken, ...]


def this_host() -> Host:
    """Return what this machine has."""
    return Host(
        architecture=ARCHITECTURES.get(platform.machine(), platform.machine()),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        hypervisors=hypervisors(),
        kvm=_kvm(),
        boxes=boxes(),
        taken=tuple(network.routes(network.ip_routes())) if shutil.which("ip") else (),
    )


def hypervisors() -> tuple[str, ...]:
    """Return those of the two that are installed, the one to take first."""
    tools = {"libvirt": "virsh", "virtualbox": "VBoxManage"}
    return tuple(name for name, tool in tools.items() if shutil.which(tool))


def boxes() -> tuple[str, ...]:
    """Return the boxes that Vagrant has at hand; read from its folder, since `vagrant` itself takes a second."""
    home = Path(os.environ.get("VAGRANT_HOME", "~/.vagrant.d")).expanduser() / "boxes"
    return tuple(sorted(box.name.replace("-VAGRANTSLASH-", "/") for box in home.glob("*") if box.is_dir()))


def _kvm() -> bool:
    """Tell whether libvirt's own user may use the processor's virtualisation: root's right alone is no use to it."""
    try:
        mode = KVM.stat().st_mode
    except OSError:
        return False
    return bool(mode & (stat.S_IWGRP | stat.S_IWOTH))


def load(state: Path) -> Design | None:
    """Return the design that was made before, None where there is none."""
    file = state / FILE
    if not file.exists():
        return None
    content: dict[str, Any] = json.loads(file.read_text())
    guests = tuple(Guest(**guest) for guest in content.pop("guests"))
    return Design(guests=guests, **content)


def save(state: Path, design: Design) -> Path:
    """Write the design down; return the file."""
    paths.make_private(state)
    file = state / FILE
    partial = file.with_suffix(".new")
    partial.write_text(json.dumps(asdict(design), indent=2) + "\n")
    partial.replace(file)
    return file


def make(spec: Spec, inventory: Path, host: Host, earlier: Design | None, *, made: bool) -> Design:
    """Return the design for ``spec``; what ``earlier`` settled stays, the subnet only while machines are ``made``.

    Raises InputError for what cannot be: a subnet that is taken, an address outside of it, a role that is full.
    """
    nodes = spec.machines()
    hypervisor = _hypervisor(spec, host, earlier if made else None)
    subnet = _subnet(spec, nodes, host, earlier, made)
    kept = {guest.name: guest.address for guest in earlier.guests} if earlier else {}
    vip = network.shared(subnet, spec.cluster.vip)
    addresses = _addresses(nodes, subnet, kept, vip)
    guests = tuple(
        Guest(node.name, node.role, addresses[node.name], _memory(node, spec, host), spec.vagrant.cpus)
        for node in nodes
    )
    return Design(
        cluster=spec.cluster.name,
        inventory=str(inventory),
        hypervisor=hypervisor,
        driver=_driver(hypervisor, host),
        box=_box(spec, hypervisor, host, earlier if made else None),
        subnet=str(subnet),
        guests=guests,
        bundle_disk=earlier.bundle_disk if earlier and made else "",
        vip=vip,
    )


def _hypervisor(spec: Spec, host: Host, earlier: Design | None) -> str:
    asked = spec.vagrant.hypervisor or os.environ.get("VAGRANT_DEFAULT_PROVIDER")
    if earlier:
        return earlier.hypervisor
    if asked and asked not in ("libvirt", "virtualbox"):
        raise InputError(
            f"VAGRANT_DEFAULT_PROVIDER is {asked!r}", fix="libvirt and virtualbox are what the Vagrantfile knows"
        )
    return asked or (host.hypervisors or ("libvirt",))[0]


def _driver(hypervisor: str, host: Host) -> str:
    if hypervisor != "libvirt":
        return ""
    return os.environ.get("KUBESMITH_DRIVER") or ("kvm" if host.kvm else "qemu")


def _box(spec: Spec, hypervisor: str, host: Host, earlier: Design | None) -> str:
    asked = os.environ.get("KUBESMITH_BOX") or spec.vagrant.box
    if asked or earlier:
        return asked or (earlier.box if earlier else "")
    if hypervisor == "libvirt" and host.architecture == "amd64" and OWN_BOX in host.boxes:
        return OWN_BOX
    if (hypervisor, host.architecture) not in BOXES:
        raise InputError(f"no box is known for {hypervisor} on {host.architecture}", fix="name one: vagrant.box")
    return BOXES[hypervisor, host.architecture]


def _memory(node: Node, spec: Spec, host: Host) -> int:
    asked = spec.vagrant.control_plane_memory if node.role == "control-plane" else spec.vagrant.worker_memory
    profile = next(sizes for floor, sizes in PROFILES if host.memory >= floor)
    return asked or profile[ROLES.index(node.role)]


def _subnet(spec: Spec, nodes: Sequence[Node], host: Host, earlier: Design | None, made: bool) -> IPv4Network:
    if earlier and made:
        if spec.network.nodes not in (None, earlier.subnet):
            raise InputError(
                f"the machines are in {earlier.subnet}, and the cluster file says network.nodes {spec.network.nodes}",
                fix="take it back, or run destroy first and make them anew",
            )
        return IPv4Network(earlier.subnet)
    ranges = {"network.pods": spec.network.pods, "network.services": spec.network.services}
    own = [Taken(IPv4Network(text.partition(",")[0]), name) for name, text in ranges.items()]
    taken = (*host.taken, *own)
    listed = next((node.address for node in nodes if node.address), None)
    if spec.network.nodes or listed:
        wanted: IPv4Network = IPv4Network(spec.network.nodes or f"{listed}/24", strict=False)
        for other in network.overlaps(wanted, taken):
            raise InputError(
                f"the machines' network {wanted} overlaps {other.subnet} ({other.owner})",
                fix="give another network.nodes, or leave it and the addresses out: a free one is found",
            )
        return wanted
    first: tuple[IPv4Network, ...] = (IPv4Network(earlier.subnet),) if earlier else ()
    for candidate in (*first, *CANDIDATES):
        if not network.overlaps(candidate, taken):
            return candidate
    raise InputError(
        f"none of the subnets {CANDIDATES[0]} to {CANDIDATES[-1]} is free on this machine",
        fix="give a free one as network.nodes (VirtualBox takes those of 192.168.56.0/21 only)",
    )


def _addresses(nodes: Sequence[Node], subnet: IPv4Network, kept: Mapping[str, str], vip: str) -> dict[str, str]:
    """Give each node an address: its own, the one that it had, else the lowest free of its role; none gets ``vip``."""
    given = {node.name: node.address for node in nodes if node.address}
    for name, address in given.items():
        if IPv4Address(address) not in subnet or IPv4Address(address) == subnet.network_address + 1:
            raise InputError(
                f"{name} has the address {address}; it must lie in {subnet}, whose first one is this machine's",
                fix="change the address or network.nodes, or leave both out",
            )
    names = {node.name for node in nodes}
    for name, address in kept.items():
        if name in names and IPv4Address(address) in subnet and address not in (vip, *given.values()):
            given.setdefault(name, address)
    for node in nodes:
        if node.name not in given:
            given[node.name] = _lowest(node, subnet, {vip, *given.values()})
    return given


def _lowest(node: Node, subnet: IPv4Network, used: set[str]) -> str:
    first, last = ROOM[node.role]
    for number in range(first, last + 1):
        address = subnet.network_address + number
        if address in subnet and address != subnet.broadcast_address and str(address) not in used:
            return str(address)
    raise InputError(
        f"no address is left in {subnet} for {node.name}: a {node.role} gets one of .{first} to .{last}",
        fix="use fewer nodes, or a network.nodes of /24 or wider",
    )
