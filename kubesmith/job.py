"""What every verb starts from: the cluster file that was asked for, read, and the objects that go with it."""

from __future__ import annotations

import fcntl
import os
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.plugin_utils import inventory as builder
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import load
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import spec as spec_module
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.own_networks import own_networks
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.problems import SpecError

from kubesmith import machines, ordinary, paths
from kubesmith.errors import InputError
from kubesmith.providers import make
from kubesmith.providers.base import Provider, Wanted
from kubesmith.providers.existing import SOCKETS, ExistingProvider
from kubesmith.ui import Ui


@dataclass(frozen=True)
class Job:
    """One cluster and one way to show what is done to it."""

    file: Path
    spec: spec_module.Spec
    ui: Ui
    assume_yes: bool = False
    listed: ordinary.Listed | None = None  # of an ordinary Ansible inventory

    @cached_property
    def inventory(self) -> Path:
        """What Ansible is given: the cluster file, or an ordinary inventory with what the wrapper adds to it."""
        return ordinary.linked(self.listed, self.state) if self.listed else self.file

    @cached_property
    def state(self) -> Path:
        """The cluster's state folder; it need not exist."""
        return paths.state(self.spec.cluster.name)

    @cached_property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig; absent until the first control plane is up."""
        if self.listed and self.listed.kubeconfig:
            return Path(self.listed.kubeconfig).expanduser().absolute()
        return self.state / "kubeconfig"

    @property
    def bundle(self) -> Path:
        """The bundle of the cluster's Kubernetes; it need not exist."""
        return paths.bundle(self.spec.cluster.kubernetes)

    def hosts(self) -> dict[str, dict[str, Any]]:
        """Return the inventory's variables of each node, as Ansible would see them."""
        if self.listed:
            return ordinary.reach(self.listed, self.spec)
        rows = [vars(machine) for machine in machines.load(self.state)]
        sockets = os.environ.get(SOCKETS, "")
        return builder.build(self.spec, rows, state=str(self.state), bundle=str(self.bundle), sockets=sockets).hosts

    def not_made(self) -> list[str]:
        """Return the nodes whose machines the provider has not made; none where machines are not its business."""
        there = {machine.name for machine in machines.load(self.state)}
        return [node.name for node in self.spec.machines() if self.spec.provider != "ssh" and node.name not in there]

    def require_machines(self) -> None:
        """Raise InputError if there is no machine at all."""
        if len(self.not_made()) == len(self.spec.machines()):
            raise InputError(f"cluster {self.spec.cluster.name} has no machines", fix="python3 runner.py up")

    def provider(self) -> Provider:
        """Return the provider of this cluster's machines."""
        wanted = [Wanted(node.name, node.role, node.address or "") for node in self.spec.machines()]
        network = self.spec.network
        return make(
            self.spec,
            wanted,
            inventory=self.file,
            avoid=[IPv4Network(text.partition(",")[0]) for text in (network.pods, network.services)],
            bundle=self.bundle,
        )

    @cached_property
    def endpoint(self) -> str:
        """Where the nodes are to reach the API server, host and port; "" if it is at the only control plane itself."""
        if self.listed:
            shared = next(iter(self.listed.hosts.values()))
            return str(shared.get("kubeadm_master_endpoint", "")) or _vip(shared)
        rows = [vars(machine) for machine in machines.load(self.state)]
        variables = builder.build(self.spec, rows, state=str(self.state), bundle="").variables
        return str(variables.get("kubeadm_master_endpoint", "")) or _vip(variables)

    def enter(self, names: Collection[str] = ()) -> None:
        """Have the passwords that machines of provider ssh want, all or only ``names``; others want none.

        InputError for a wrong one.
        """
        provider = self.provider()
        if isinstance(provider, ExistingProvider):
            provider.enter(names)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the cluster's lock while the body runs; raise InputError if another run holds it."""
        paths.make_private(self.state)
        lock = self.state / "lock"
        with lock.open("a+") as held:
            lock.chmod(0o600)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.seek(0)
                owner = held.read().strip() or "unknown"
                raise InputError(
                    f"another run (process {owner}) is working on cluster {self.spec.cluster.name}",
                    fix="wait until it ends, or stop it",
                ) from None
            held.truncate(0)
            held.write(f"{os.getpid()}\n")
            held.flush()
            yield


def _vip(variables: Mapping[str, Any]) -> str:
    """Return the endpoint at the address that control planes share, "" where they share none."""
    vip = variables.get("kubeadm_master_vip")
    return f"{vip}:{variables.get('kubeadm_master_vip_port', 8443)}" if vip else ""


def of_text(work: Job, text: str) -> Job:
    """Return the job of the same cluster file with another text, which is right."""
    made = spec_module.check(load.parse(text.encode(), str(work.file)), str(work.file), own_networks())
    return replace(work, spec=made)


def find(inventory: str) -> Path:
    """Return the cluster file meant by ``--inventory``: a path, or the name of a folder under ``inventories/``."""
    given = Path(inventory)
    inside = [given / name for name in ("cluster.yml", *ordinary.NAMES)]
    for candidate in (given, *inside, paths.inventories() / inventory / "cluster.yml"):
        if candidate.is_file():
            return candidate.absolute()
    known = sorted(folder.parent.name for folder in paths.inventories().glob("*/cluster.yml"))
    raise InputError(
        f"no cluster file: {inventory!r} is neither a file nor a folder with cluster.yml or an inventory "
        f"({', '.join(ordinary.NAMES)}) nor a name under {paths.inventories()}",
        fix=f"names there: {', '.join(known)}",
    )


def read(inventory: str, ui: Ui, *, assume_yes: bool = False) -> Job:
    """Read the cluster file, or an ordinary Ansible inventory; raise InputError that lists every problem in it."""
    file = find(inventory)
    what = "cluster file"
    try:
        if ordinary.is_one(file):
            what = "inventory"
            listed = ordinary.read(file)
            return Job(file, listed.spec, ui, assume_yes, listed)
        return Job(file, spec_module.read(file, own_networks()), ui, assume_yes)
    except SpecError as error:
        raise InputError(f"the {what} has {len(error.problems)} problem(s):\n{error}") from error
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}", fix="check the path and its permissions") from error


def ssh_argv(variables: dict[str, Any]) -> Sequence[str]:
    """Return the ssh command line that reaches a host with these inventory variables."""
    argv = ["ssh", *shlex.split(variables.get("ansible_ssh_common_args", ""))]
    if key := variables.get("ansible_ssh_private_key_file"):
        argv += ["-i", key]
    if port := variables.get("ansible_port"):
        argv += ["-p", str(port)]
    user = variables.get("ansible_user")
    return [*argv, f"{user}@{variables['ansible_host']}" if user else str(variables["ansible_host"])]
