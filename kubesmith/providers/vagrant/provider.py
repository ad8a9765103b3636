"""The provider of virtual machines: Vagrant makes and unmakes them, we see to their names, host keys and clocks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import Spec

from kubesmith import machines, paths
from kubesmith.errors import InputError, KubesmithError
from kubesmith.machines import Machine
from kubesmith.progress import Progress
from kubesmith.providers import ssh
from kubesmith.providers.base import MachineStatus, Wanted
from kubesmith.providers.snapshots import Records, Snapshot, now
from kubesmith.providers.vagrant import design as designs
from kubesmith.providers.vagrant.design import Design, Guest
from kubesmith.providers.vagrant.tool import Vagrant, entries

IDENTITIES = "identities.json"
DISK_MB = 4096  # of each machine once its cluster runs
SSH_SECONDS = 120
WORDS = {"running": "running", "not_created": "absent"}  # every other state of Vagrant's is a machine that is stopped

IMAGES = Path("/var/lib/libvirt/images")  # where the hypervisor may read what we write

# One call names the machine and tells its host key. Vagrant and Debian both write 127.0.x.1 beside a machine's name
# into /etc/hosts; nobody must find the machine there. $1 is the name, $2 its address.
SETTLE = r"""
set -eu
[ "$(cat /etc/hostname)" = "$1" ] || echo "$1" >/etc/hostname
[ "$(hostname)" = "$1" ] || hostname "$1"
grep -q "[[:space:]]$1\([[:space:]]\|$\)" /etc/hosts && ! grep -q "^127\.0\.[12]\.1[[:space:]]" /etc/hosts || {
  sed -i '/^127\.0\.[12]\.1[[:space:]]/d' /etc/hosts
  grep -q "^$2[[:space:]]" /etc/hosts || printf '%s\t%s\n' "$2" "$1" >>/etc/hosts
}
ip -o -4 address show | grep -q " $2/" || { echo "no interface has the address $2" >&2; exit 3; }
bundles=/var/lib/kubesmith/bundles
if [ -n "$3" ] && [ -e /dev/disk/by-label/kubesmith ]; then
  mkdir -p "$bundles/$3"
  grep -q ^LABEL=kubesmith /etc/fstab || echo "LABEL=kubesmith $bundles/$3 ext4 ro,noload,nofail 0 0" >>/etc/fstab
  mountpoint -q "$bundles/$3" || mount "$bundles/$3"
  [ -e /var/lib/kubesmith/bundle ] || ln -sn "bundles/$3" /var/lib/kubesmith/bundle
fi
cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub
"""


@dataclass(frozen=True)
class VagrantProvider:
    """The virtual machines of a cluster file."""

    spec: Spec
    inventory: Path
    wanted: Sequence[Wanted]
    bundle: Path

    @property
    def folder(self) -> Path:
        """The cluster's state folder."""
        return paths.state(self.spec.cluster.name)

    @property
    def dotfile(self) -> Path:
        """Where Vagrant remembers the machines: for its own inventory where it looks when called by hand."""
        own = paths.inventories() / "vagrant" / "cluster.yml"
        by_hand = own.exists() and self.inventory.resolve() == own.resolve()
        return paths.CHECKOUT / ".vagrant" if by_hand else self.folder / "dotvagrant"

    @cached_property
    def design(self) -> Design:
        """What the machines are to be; remembered."""
        made = any(self.dotfile.glob("machines/*/*/id"))
        earlier = designs.load(self.folder)
        design = designs.make(self.spec, self.inventory.resolve(), designs.this_host(), earlier, made=made)
        designs.save(self.folder, design)
        return design

    @cached_property
    def vagrant(self) -> Vagrant:
        """Vagrant, told of the design."""
        design = self.design
        return Vagrant(
            self.folder / designs.FILE, self.dotfile, self.folder / "vagrant.log", design.box, design.hypervisor
        )

    @property
    def records(self) -> Records:
        """What is written down of the cluster's snapshots."""
        return Records(self.folder)

    # --- before anything is made

    def check(self) -> None:
        """Raise InputError, with the remedy, for whatever would stop ``create``."""
        self._tools()
        self._same_machines()
        running = {name for name, state in self.vagrant.states().items() if state == "running"}
        starting = [guest for guest in self.design.guests if guest.name not in running]
        _memory(starting)
        made = self.vagrant.identities()
        _disk([guest for guest in self.design.guests if guest.name not in made])

    def _tools(self) -> None:
        if not (paths.CHECKOUT / "Vagrantfile").exists():
            raise InputError(
                "the Vagrantfile is not part of an installed package", fix="use provider vagrant from a checkout"
            )
        if not shutil.which("vagrant"):
            raise InputError("vagrant is missing", fix="give --yes and it is installed, or install it yourself")
        hypervisor = self.design.hypervisor
        if hypervisor not in designs.hypervisors():
            tool = "virsh" if hypervisor == "libvirt" else "VBoxManage"
            fix = "give --yes and it is installed, or install VirtualBox"
            if hypervisor == "virtualbox":
                fix = "install VirtualBox, or take libvirt: vagrant.hypervisor"
            raise InputError(f"there is no hypervisor: {hypervisor} is not installed (no {tool})", fix=fix)
        if hypervisor == "libvirt":
            self._libvirt()

    def _libvirt(self) -> None:
        command = ["virsh", "--connect", "qemu:///system", "version"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            words = done.stderr.strip().splitlines() or ["it said nothing"]
            raise InputError(
                f"libvirt does not answer: {words[-1].removeprefix('error: ')}",
                fix="systemctl start libvirtd (without systemd: virtlogd -d; libvirtd -d); be root or in group libvirt",
            )

    def _same_machines(self) -> None:
        """Refuse to mix two clusters: machines that Vagrant remembers and the file does not ask for."""
        wanted = {node.name for node in self.wanted}
        others = sorted(set(self.vagrant.identities()) - wanted)
        if others:
            raise InputError(
                f"Vagrant remembers {', '.join(others)} here, which the cluster file does not ask for",
                fix=f"ask for as many as there were and run destroy, or: vagrant destroy {' '.join(others)}",
            )

    # --- the provider's interface

    def create(self, progress: Progress, only: Collection[str] = ()) -> Sequence[Machine]:
        """Bring every wanted machine, or ``only`` some, to running and reachable by SSH; save ``machines.json``."""
        self.check()
        if name := self.records.restoring():
            return self._bring_back(self.records.find(name), progress)
        self._drop_half_saved()
        wanted = [node for node in self.wanted if not only or node.name in only]
        progress.total(len(wanted))
        before = self.vagrant.states()
        down = [node.name for node in wanted if before.get(node.name) != "running"]
        for node in wanted:
            progress.start(node.name, "booting" if node.name in down else "looking")
        self._put_bundle_on_disk(progress)
        if down:
            if os.environ.get("KUBESMITH_BY_VAGRANT"):
                raise KubesmithError(f"not up: {', '.join(down)}", fix="vagrant up, without names")
            self._up(down, progress)
        running = [name for name, state in before.items() if state == "running"]
        return self._settle(progress, changed=down, among=[*running, *down] if only else ())

    def _put_bundle_on_disk(self, progress: Progress) -> None:
        """Give machines that are emulated the bundle as a disk: by SSH they would get a megabyte in a second."""
        design, bundle = self.design, self.bundle.resolve()
        if not design.emulated or self.vagrant_remembers() or not os.access(IMAGES, os.W_OK):
            return
        if not (bundle / "bundle.json").is_file():
            raise InputError(
                f"there is no bundle at {self.bundle}, and emulated machines get it on a disk of their own",
                fix="python3 runner.py bundle build",
            )
        disk = IMAGES / f"{bundle.name}.img"
        if not disk.exists():
            progress.start("bundle", "putting it on a disk")
            _make_disk(bundle, disk)
            progress.done("bundle", f"on the disk {disk}", changed=True)
        designs.save(self.folder, replace(design, bundle_disk=str(disk)))

    def _bundle_on_disk(self) -> str:
        """Return the name of the bundle that machines have on a disk, "" where they have none."""
        written = designs.load(self.folder)
        return Path(written.bundle_disk).stem if written else ""

    def status(self) -> Sequence[MachineStatus]:
        """Return the state of every wanted machine."""
        known = designs.load(self.folder)
        if known is None or not shutil.which("vagrant"):
            return [MachineStatus(node.name, "absent", "not made") for node in self.wanted]
        states = self.vagrant.states()
        addresses = {guest.name: guest.address for guest in self.design.guests}
        found = [(node.name, states.get(node.name, "not_created")) for node in self.wanted]
        return [MachineStatus(name, WORDS.get(word, "stopped"), f"{word}, {addresses[name]}") for name, word in found]

    def stop(self, progress: Progress) -> None:
        """Shut the machines down; ``create`` starts them again with their data."""
        self._tools()
        running = [name for name, state in self.vagrant.states().items() if state == "running"]
        progress.total(len(running))
        ssh.hang_up(self.folder, running)
        for name in running:
            progress.start(name, "shutting down")
            self.vagrant.run("halt", name)
            progress.done(name, "stopped", changed=True)

    def remove(self, names: Collection[str], progress: Progress) -> None:
        """Remove some machines and their snapshots, and forget how they were reached."""
        self._tools()
        there = [name for name in self.vagrant.identities() if name in names]
        progress.total(len(there))
        ssh.hang_up(self.folder, there)
        for name in there:
            progress.start(name, "removing")
            self._forget_snapshots(name)
            self.vagrant.run("destroy", "--force", name, told=progress.update)
            progress.done(name, "removed", changed=True)
        machines.save(self.folder, "vagrant", [m for m in machines.load(self.folder) if m.name not in names])

    def destroy(self, progress: Progress) -> None:
        """Remove the machines, their snapshots and the state folder."""
        if self.vagrant_remembers():
            self._tools()
            names = list(self.vagrant.identities())
            progress.total(len(names) + 1)
            ssh.hang_up(self.folder, names)
            for name in names:
                progress.start(name, "removing")
            for name in names:
                self._forget_snapshots(name)
            self.vagrant.run("destroy", "--force", told=progress.update)
            for name in names:
                progress.done(name, "removed", changed=True)
        for folder in (ssh.sockets(self.folder), self.folder):
            shutil.rmtree(folder, ignore_errors=True)
        if self.folder.exists():
            raise KubesmithError(f"{self.folder} could not be removed", fix=f"rm -r {self.folder}")
        progress.done("leftovers", "removed", changed=True)

    def vagrant_remembers(self) -> bool:
        """Tell whether there is a machine."""
        return any(self.dotfile.glob("machines/*/*/id"))

    # --- snapshots

    def snapshots(self) -> Sequence[Snapshot]:
        """Return the snapshots of this cluster, oldest first."""
        return self.records.all()

    def save(self, name: str, progress: Progress) -> None:
        """Keep the disks, and the memory of machines that run, as ``name``."""
        self.records.check_new(name)
        self._tools()
        if not self.vagrant_remembers():
            raise InputError(f"cluster {self.spec.cluster.name} has no machines", fix="python3 runner.py up")
        self._drop_half_saved()
        names = [node.name for node in self.wanted]
        progress.total(len(names))
        self.records.begin_saving(name, names)
        try:
            for node in names:
                progress.start(node, "saving")
                self.vagrant.run("snapshot", "save", node, name)
                progress.done(node, "saved", changed=True)
        except BaseException:
            self._drop_half_saved()
            raise
        roles = {guest.name: guest.role for guest in self.design.guests}
        addresses = {guest.name: guest.address for guest in self.design.guests}
        self.records.write(Snapshot(name, now(), roles, addresses))
        self.records.saved()

    def restore(self, name: str, progress: Progress) -> Sequence[Machine]:
        """Bring all machines back to ``name``, and their clocks to now."""
        snapshot = self.records.find(name)
        self.records.check_same(snapshot, self.wanted)
        self._tools()
        self._drop_half_saved()
        return self._bring_back(snapshot, progress)

    def delete(self, name: str, progress: Progress) -> None:
        """Remove what was kept as ``name``."""
        self.records.check_idle(self.records.find(name))
        self._tools()
        self.records.begin_saving(name, [])  # should we be interrupted, what is left is removed by the next run
        self.records.forget(name)
        progress.start(name, "removing")
        self._drop_half_saved()
        progress.done(name, "removed", changed=True)

    def _bring_back(self, snapshot: Snapshot, progress: Progress) -> Sequence[Machine]:
        names = list(snapshot.roles)
        for node in names:
            if snapshot.name not in self.vagrant.snapshots(node):
                raise InputError(
                    f"the snapshot {snapshot.name!r} is not whole: {node} has it no more",
                    fix=f"python3 runner.py snapshot delete {snapshot.name}; it cannot be restored",
                )
        progress.total(2 * len(names))
        self.records.begin_restoring(snapshot.name)
        ssh.hang_up(self.folder, names)
        for node in names:
            progress.start(node, "restoring")
            self.vagrant.run("snapshot", "restore", "--no-provision", node, snapshot.name, told=progress.update)
            progress.done(node, "restored", changed=True)
        states = self.vagrant.states()
        if down := [node for node in names if states.get(node) != "running"]:
            self._up(down, progress)
        made = self._settle(progress, changed=names)
        self._set_clocks()
        self.records.bring_back_kubeconfig(snapshot.name)
        self.records.restored()
        return made

    def _drop_half_saved(self) -> None:
        """Remove what a save or a deletion that was interrupted left on some machines."""
        name, _ = self.records.saving()
        if not name:
            return
        for node in self.vagrant.identities():
            if name in self.vagrant.snapshots(node):
                self.vagrant.run("snapshot", "delete", node, name)
        self.records.saved()

    def _forget_snapshots(self, node: str) -> None:
        """Remove a machine's snapshots: libvirt removes no machine that has some."""
        for name in self.vagrant.snapshots(node):
            self.vagrant.run("snapshot", "delete", node, name)

    def _set_clocks(self) -> None:
        """Set the clocks to ours: a machine whose memory was restored believes that it is still then."""
        config = str(self.folder / ssh.CONFIG)
        for guest in self.design.guests:
            script = f"date --utc --set=@{time.time():.3f} >/dev/null"
            _remote(["ssh", "-F", config, guest.name, "sudo", "sh", "-c", f"'{script}'"], guest.name)

    # --- the way in

    def _up(self, names: Sequence[str], progress: Progress) -> None:
        # Two emulated machines that boot at once only take each other's time, and run into timeouts.
        flags = ["--no-parallel"] if self.design.emulated else []
        ssh.hang_up(self.folder, names)
        self.vagrant.run("up", "--no-provision", *flags, *names, told=progress.update)

    def _settle(self, progress: Progress, changed: Sequence[str], among: Collection[str] = ()) -> Sequence[Machine]:
        """Name the machines, learn their host keys, and write down how each is reached.

        With ``among`` only those; the others, which are off, are kept as they were written down.
        """
        guests = [guest for guest in self.design.guests if not among or guest.name in among]
        reached = entries(self.vagrant.reach([guest.name for guest in guests]))
        known = self._identities()
        identities = self.vagrant.identities()
        with ThreadPoolExecutor(8) as pool:
            keys = list(pool.map(lambda g: self._enter(g, reached[g.name], known, identities), guests))
        peers = [
            ssh.Peer(g.name, g.address, key, reached[g.name]["User"], Path(reached[g.name]["IdentityFile"]))
            for g, key in zip(guests, keys, strict=True)
        ]
        config = ssh.write(self.folder, peers)
        self._remember(known | {peer.name: {"id": identities[peer.name], "host_key": peer.host_key} for peer in peers})
        for peer in peers:
            _await(config, peer)
            progress.done(peer.name, f"running at {peer.address}", changed=peer.name in changed)
        emulated = self.design.emulated
        vip = self.design.vip
        made = [
            Machine(p.name, p.address, p.address, 22, p.user, str(config), emulated=emulated, vip=vip) for p in peers
        ]
        made += [m for m in machines.load(self.folder) if among and m.name not in among]
        machines.save(self.folder, "vagrant", made)
        return made

    def _enter(
        self, guest: Guest, reached: Mapping[str, str], known: Mapping[str, Mapping[str, str]], ids: Mapping[str, str]
    ) -> str:
        """Prepare a machine on Vagrant's own way in; return its host key.

        A machine that is new is believed what it says over the hypervisor's own network; one that we know must have the
        host key that it had.
        """
        noted = known.get(guest.name, {})
        expected = noted.get("host_key", "") if noted.get("id") == ids[guest.name] else ""
        address, port = reached["HostName"], reached["Port"]
        command = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30", "-o", "LogLevel=ERROR", "-F", "/dev/null"]
        command += ["-i", reached["IdentityFile"], "-o", "IdentitiesOnly=yes", "-p", port]
        hosts = self.folder / f"{guest.name}.known_hosts"
        if expected:
            hosts.write_text(f"{guest.name} {expected}\n")
            command += ["-o", "StrictHostKeyChecking=yes", "-o", f"HostKeyAlias={guest.name}"]
            command += ["-o", f"HostKeyAlgorithms={expected.split()[0]}", "-o", f"UserKnownHostsFile={hosts}"]
        else:
            command += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        command += [f"{reached['User']}@{address}", "sudo", "sh", "-s", "--", guest.name, guest.address]
        command.append(self._bundle_on_disk() or "''")
        key = _remote(command, guest.name, SETTLE).strip()
        hosts.unlink(missing_ok=True)
        return key

    def _identities(self) -> dict[str, dict[str, str]]:
        file = self.folder / IDENTITIES
        noted: dict[str, dict[str, str]] = json.loads(file.read_text()) if file.exists() else {}
        return noted

    def _remember(self, identities: Mapping[str, Mapping[str, str]]) -> None:
        partial = self.folder / f"{IDENTITIES}.new"
        partial.write_text(json.dumps(identities, indent=2) + "\n")
        partial.replace(self.folder / IDENTITIES)


def _make_disk(bundle: Path, disk: Path) -> None:
    """Make a file system with the bundle's files, whole or not at all."""
    size = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file()) * 5 // 4 // 2**20 + 64
    partial = disk.with_suffix(".new")
    partial.unlink(missing_ok=True)
    command = ["mkfs.ext4", "-q", "-L", "kubesmith", "-m", "0", "-d", str(bundle), str(partial), f"{size}M"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KubesmithError(f"the bundle's disk could not be made: {done.stderr.strip()}", fix=f"look at {IMAGES}")
    partial.replace(disk)


def _remote(command: Sequence[str], node: str, script: str = "") -> str:
    """Run ssh; return what the machine answered. KubesmithError in one sentence where it does not, or refuses."""
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return done.stdout
    if "HOST IDENTIFICATION HAS CHANGED" in done.stderr or "Host key verification failed" in done.stderr:
        raise KubesmithError(
            f"{node} has another SSH host key than when it was made: somebody else may be answering",
            fix=f"find out who; if it is right: vagrant destroy {node}, then run the same command again",
        )
    words = done.stderr.strip().splitlines() or [f"ssh ended with {done.returncode}"]
    raise KubesmithError(f"{node} cannot be reached by SSH: {words[-1]}", fix=f"vagrant ssh {node}")


def _await(config: Path, peer: ssh.Peer) -> None:
    deadline = time.monotonic() + SSH_SECONDS
    while problem := ssh.answers(config, peer.name):
        if time.monotonic() > deadline:
            raise KubesmithError(
                f"{peer.name} runs, but does not answer by SSH at its own address {peer.address}: {problem}",
                fix=f"vagrant ssh {peer.name} -c 'ip address'",
            )
        time.sleep(1)


def _memory(starting: Sequence[Guest]) -> None:
    meminfo = Path("/proc/meminfo")
    if not starting or not meminfo.exists():
        return
    needed = sum(guest.memory for guest in starting)
    lines = meminfo.read_text().splitlines()
    available = next(int(line.split()[1]) // 1024 for line in lines if line.startswith("MemAvailable:"))
    if needed > available:
        raise InputError(
            f"{len(starting)} machines need {needed} MiB of memory and {available} MiB are available",
            fix="stop something, ask for fewer workers, or give less: vagrant.worker_memory",
        )


def _disk(new: Sequence[Guest]) -> None:
    folder = next(f for f in (Path("/var/lib/libvirt/images"), Path("/var/lib/libvirt"), Path.home()) if f.exists())
    free = shutil.disk_usage(folder).free // 2**20
    if len(new) * DISK_MB > free:
        raise InputError(
            f"{len(new)} machines need {len(new) * DISK_MB} MiB of disk and {folder} has {free} MiB free",
            fix="free some, or ask for fewer workers",
        )
