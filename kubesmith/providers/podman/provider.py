"""The provider of lab nodes on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypeVar

from kubesmith import machines, paths
from kubesmith.errors import InputError, KubesmithError
from kubesmith.machines import Machine
from kubesmith.progress import Progress
from kubesmith.providers import ssh
from kubesmith.providers.base import MachineStatus, Wanted
from kubesmith.providers.podman import network, node, preflight, state
from kubesmith.providers.podman.engine import podman, wait_for_others
from kubesmith.providers.podman.lab import Container, Lab
from kubesmith.providers.podman.node_image import NodeImage
from kubesmith.providers.podman.state import Kept
from kubesmith.providers.snapshots import Records, Snapshot, now

AT_ONCE = 8
Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class PodmanProvider:
    """Lab nodes of the cluster ``name``.

    ``node_cidr`` is the lab's own network (``10.99.0.0/24``); None takes the first free one. ``avoid`` holds the pod
    and service CIDRs. ``bundle`` is the bundle's folder: nodes see the folder around it, read-only, so that another
    bundle beside it can be given to nodes that run. ``memory_mb`` and ``cpus`` limit each node; None leaves it
    everything. ``debian`` is the release that new nodes are made of. ``vip`` is the address that control planes are to
    share, if one was asked for.
    """

    name: str
    wanted: Sequence[Wanted]
    node_cidr: str | None
    avoid: Sequence[IPv4Network]
    bundle: Path
    memory_mb: int | None = None
    cpus: float | None = None
    dual_stack: bool = False
    debian: int = 12
    vip: str | None = None

    @property
    def folder(self) -> Path:
        """The cluster's state folder."""
        return paths.state(self.name)

    @property
    def image(self) -> NodeImage:
        """What new nodes are made of."""
        return NodeImage(debian=self.debian)

    @property
    def lab(self) -> Lab:
        """What podman has of this cluster."""
        return Lab(self.name)

    def check(self) -> None:
        """Raise InputError, with the remedy, for whatever would stop ``create``."""
        preflight.check(self.lab, self.wanted, self._node_cidr(), self.avoid, self._bundles(), image=self.image)

    def create(self, progress: Progress, only: Collection[str] = ()) -> Sequence[Machine]:
        """Bring every wanted node, or ``only`` some, to running and reachable by SSH; save ``machines.json``."""
        wait_for_others(self.lab.network)
        self.check()
        if name := self.records.restoring():
            self._bring_back(self.records.find(name), progress)
        self._drop_remains()
        progress.total((len(only) or len(self.wanted)) + 1)
        self._bundles().mkdir(parents=True, exist_ok=True)
        paths.make_private(self.folder)
        image = self.image.ensure(progress)
        made = self._run([n for n in self._plan(image) if not only or n.name in only], progress)
        if not only:
            self.records.saved()  # all run now, whatever an interrupted save had stopped
        return made

    def _run(self, nodes: Sequence[node.Node], progress: Progress) -> Sequence[Machine]:
        """Have ``nodes`` run and be reachable, and write down how."""
        ssh.hang_up(self.folder, [n.name for n in nodes if not n.running])
        keys = _each(lambda n: n.up(progress), nodes)
        peers = [ssh.Peer(n.name, n.address, key) for n, key in zip(nodes, keys, strict=True)]
        others = self._others([n.name for n in nodes])
        known = ssh.host_keys(self.folder)
        peers += [ssh.Peer(m.name, m.address, known[m.name]) for m in others if m.name in known]
        config = ssh.write(self.folder, peers)
        _each(lambda n: n.reach(config, progress), nodes)
        subnet = self.lab.subnet()
        vip = network.shared(subnet, self.vip) if subnet else ""
        vip = "" if vip in [n.address for n in nodes] else vip
        made = [
            Machine(n.name, n.address, n.address, 22, "root", str(config), container=True, address6=n.address6, vip=vip)
            for n in nodes
        ]
        order = [w.name for w in self.wanted]
        made = sorted([*made, *others], key=lambda machine: order.index(machine.name))
        machines.save(self.folder, "podman", made)
        return made

    def _others(self, names: Collection[str]) -> list[Machine]:
        """Return the machines, as they were written down, that are wanted and not among ``names``."""
        wanted = {w.name for w in self.wanted} - set(names)
        return [machine for machine in machines.load(self.folder) if machine.name in wanted]

    def remove(self, names: Collection[str], progress: Progress) -> None:
        """Remove the containers and volumes of some nodes, and forget how they were reached."""
        wait_for_others(self.lab.network)
        containers = [c for c in self.lab.containers() if c.node in names]
        progress.total(len(containers))
        ssh.hang_up(self.folder, list(names))
        _each(lambda container: _remove(container, progress), containers)
        self.lab.remove_remains(list(names))
        for name in names:
            self.lab.remove_volumes_of(name)
        left = [machine for machine in machines.load(self.folder) if machine.name not in names]
        known = ssh.host_keys(self.folder)
        ssh.write(self.folder, [ssh.Peer(m.name, m.address, known[m.name]) for m in left if m.name in known])
        machines.save(self.folder, "podman", left)

    def status(self) -> Sequence[MachineStatus]:
        """Return the state of every wanted node, and of any other that belongs to this cluster."""
        if not shutil.which("podman"):  # `up` installs it, and until then nothing is made
            return [_status(node.name, None) for node in self.wanted]
        found = {c.node: c for c in self.lab.containers()}
        names = list(dict.fromkeys([*(w.name for w in self.wanted), *found]))
        return [_status(name, found.get(name)) for name in names]

    def stop(self, progress: Progress) -> None:
        """Stop the nodes in their own order, as a shutdown would; ``create`` starts them again with their data."""
        running = [c for c in self.lab.containers() if c.running]
        self.records.saved()
        progress.total(len(running))
        ssh.hang_up(self.folder, [c.node for c in running])
        _each(lambda container: _stop(container, progress), running)

    def reboot(self, name: str, progress: Progress) -> None:
        """Shut one node down, or cut it off if it does not, and start it again."""
        running = [container for container in self.lab.containers() if container.running and container.node == name]
        ssh.hang_up(self.folder, [name])
        for container in running:
            _stop(container, progress)
        self.create(progress)

    # --- snapshots

    @property
    def records(self) -> Records:
        """What is written down of the cluster's snapshots."""
        return Records(self.folder)

    def snapshots(self) -> Sequence[Snapshot]:
        """Return the snapshots of this cluster, oldest first."""
        return self.records.all()

    def save(self, name: str, progress: Progress) -> None:
        """Stop the nodes, copy what they hold as ``name``, and start those again that ran."""
        wait_for_others(self.lab.network)
        self.records.check_new(name)
        containers = self.lab.containers()
        if not containers:
            raise InputError(f"cluster {self.name} has no machines", fix="python3 runner.py up")
        _, to_run = self.records.saving()
        self._drop_remains()
        size = state.size_mb(self.lab, containers)
        state.check_disk(size)
        progress.total(len(containers))
        self.records.begin_saving(name, sorted({*to_run, *(c.node for c in containers if c.running)}))
        kept = Kept(self.lab, name)
        try:
            self._take(kept, containers, progress)
        except BaseException as error:
            kept.remove()
            if isinstance(error, Exception):  # and not ^C, after which the same command goes on
                self._start_noted(progress)
            raise
        roles, addresses = ({c.node: value(c) for c in containers} for value in (_role, _address))
        self.records.write(Snapshot(name, now(), roles, addresses, size))
        self._start_noted(progress)

    def restore(self, name: str, progress: Progress) -> Sequence[Machine]:
        """Make all nodes again from what was kept as ``name``, with their names, addresses and host keys."""
        wait_for_others(self.lab.network)
        snapshot = self.records.find(name)
        self.records.check_same(snapshot, self.wanted)
        self.check()
        self._drop_remains()
        return self._bring_back(snapshot, progress)

    def delete(self, name: str, progress: Progress) -> None:
        """Remove what was kept as ``name``."""
        wait_for_others(self.lab.network)
        self.records.check_idle(self.records.find(name))
        progress.start(name, "removing")
        self.records.forget(name)
        Kept(self.lab, name).remove()
        self._drop_remains()
        progress.done(name, "removed", changed=True)

    def _take(self, kept: Kept, containers: Sequence[Container], progress: Progress) -> None:
        """Stop the nodes, as a shutdown would, and copy each."""
        ssh.hang_up(self.folder, [c.node for c in containers])
        # One may be half stopped, by a save that was killed.
        _each(lambda c: _stop(c, progress), [c for c in containers if c.running or c.state == "stopping"])
        for container in containers:
            progress.start(container.node, "copying")
            kept.take(container)
            progress.done(container.node, "copied", changed=True)

    def _start_noted(self, progress: Progress) -> None:
        """Start the nodes that a save found running."""
        _, names = self.records.saving()
        again = [n for n in self._plan(self.image.reference) if n.name in names]
        _each(lambda n: n.up(progress), again)
        for n in again:
            n.reach(self.folder / ssh.CONFIG, progress)
        self.records.saved()

    def _bring_back(self, snapshot: Snapshot, progress: Progress) -> Sequence[Machine]:
        names = list(snapshot.roles)
        kept = Kept(self.lab, snapshot.name)
        kept.check_whole(names)
        containers = self.lab.containers()
        state.check_disk(max(0, snapshot.size_mb - state.size_mb(self.lab, containers)))
        progress.total(2 * len(names))
        self.records.begin_restoring(snapshot.name)
        ssh.hang_up(self.folder, names)
        _each(lambda container: _remove(container, progress), containers)
        self.lab.remove_remains(names)
        for name in names:
            progress.start(name, "copying")
            kept.put_back(name)
        nodes = self._plan("", snapshot.addresses)
        made = [replace(n, common=replace(n.common, image=kept.image(n.name))) for n in nodes]
        answer = self._run(made, progress)
        for name in names:
            kept.give_modes(name)
        self.records.bring_back_kubeconfig(snapshot.name)
        self.records.restored()
        return answer

    def _drop_remains(self) -> None:
        """Remove what interrupted saves and deletions left of snapshots that do not count."""
        for name in state.remains(self.lab, [snapshot.name for snapshot in self.snapshots()]):
            Kept(self.lab, name).remove()
        self.lab.remove_nameless_images()

    def destroy(self, progress: Progress) -> None:
        """Remove the containers, volumes, snapshots, network and state folder of this cluster, and nothing else."""
        wait_for_others(self.lab.network)
        containers = self.lab.containers()
        progress.total(len(containers) + 1)
        ssh.hang_up(self.folder, [c.node for c in containers])
        _each(lambda container: _remove(container, progress), containers)
        progress.start("leftovers", "removing volumes, network and state")
        self.lab.remove_remains([w.name for w in self.wanted])
        self.lab.remove_volumes()
        self.lab.remove_images()
        self.lab.remove_networks()
        had_state = self.folder.exists()
        for folder in (ssh.sockets(self.folder), self.folder):
            shutil.rmtree(folder, ignore_errors=True)
        if self.folder.exists():
            raise KubesmithError(f"{self.folder} could not be removed", fix=f"rm -r {self.folder}")
        progress.done("leftovers", "removed", changed=had_state)

    def _plan(self, image: str, addresses: Mapping[str, str] | None = None) -> list[node.Node]:
        """Say for each wanted node where it lives; makes the network where there is none."""
        found = {c.node: c for c in self.lab.containers()}
        six = network.subnet6(self.name) if self.dual_stack else None
        subnet = self.lab.ensure_network(self._node_cidr(), self.avoid, six)
        kept = {m.name: m.address for m in machines.load(self.folder)} | {c.node: c.address for c in found.values()}
        kept |= addresses or {}
        kept = {name: ip for name, ip in kept.items() if _in(ip, subnet)}
        given = network.assign(self.wanted, subnet, kept, self._shared(subnet))
        public = ssh.ensure_key(self.folder, f"kubesmith-{self.name}")
        common = node.Common(self.name, image, self.bundle, public, self.memory_mb, self.cpus, self.debian)
        return [
            node.Node(common, w.name, w.role, given[w.name], found.get(w.name), network.beside(given[w.name], six))
            for w in self.wanted
        ]

    def _shared(self, subnet: IPv4Network) -> str:
        """Return the address that no node may have; "" where a single control plane shares none."""
        several = sum(w.role == "control-plane" for w in self.wanted) > 1
        return network.shared(subnet, self.vip) if several or self.vip else ""

    def _node_cidr(self) -> IPv4Network | None:
        listed = next((w.address for w in self.wanted if w.address), None)
        cidr = self.node_cidr or (f"{listed}/24" if listed else None)
        return IPv4Network(cidr, strict=False) if cidr else None

    def _bundles(self) -> Path:
        return self.bundle.absolute().parent


def _status(name: str, container: Container | None) -> MachineStatus:
    if container is None:
        return MachineStatus(name, "absent", "no container")
    return MachineStatus(name, "running" if container.running else "stopped", f"{container.state}, {container.address}")


def _role(container: Container) -> str:
    return container.role


def _address(container: Container) -> str:
    return container.address


def _stop(container: Container, progress: Progress) -> None:
    progress.start(container.node, "shutting down")
    podman("stop", "--time=30", container.name)
    progress.done(container.node, "stopped", changed=True)


def _remove(container: Container, progress: Progress) -> None:
    progress.start(container.node, "removing")
    podman("rm", "--force", "--time=0", "--ignore", container.name)
    progress.done(container.node, "removed", changed=True)


def _in(address: str, subnet: IPv4Network) -> bool:
    return IPv4Address(address) in subnet


def _each(work: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
    """Do ``work`` on all items at once; on the first error, or ^C, those not yet begun are left out."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            return list(pool.map(work, items))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
