"""The small interface that every provider of machines answers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kubesmith.machines import Machine
from kubesmith.progress import Progress

if TYPE_CHECKING:
    from kubesmith.providers.snapshots import Snapshot


@dataclass(frozen=True)
class Wanted:
    """One machine that the spec asks for: its name, its role (``control-plane`` or ``worker``), its address if said."""

    name: str
    role: str
    address: str = ""


@dataclass(frozen=True)
class MachineStatus:
    """The state of one machine: ``running``, ``stopped`` or ``absent``, and the provider's own words for it."""

    name: str
    state: str
    detail: str = ""


class Provider(Protocol):
    """Makes and unmakes machines. Every method is safe to repeat and to interrupt."""

    def check(self) -> None:
        """Raise InputError, with the remedy, for whatever would stop ``create`` (tools, name, subnet, disk, memory)."""

    def create(self, progress: Progress, only: Collection[str] = ()) -> Sequence[Machine]:
        """Bring every wanted machine to running and reachable by SSH; return all and save ``machines.json``.

        With ``only`` those of these names; the others are left as they are, and are not asked.
        """

    def status(self) -> Sequence[MachineStatus]:
        """Return the state of every wanted machine, and of any other that belongs to this cluster."""

    def stop(self, progress: Progress) -> None:
        """Stop the machines; ``create`` starts them again with their data."""

    def snapshots(self) -> Sequence[Snapshot]:
        """Return the snapshots of this cluster, oldest first."""

    def save(self, name: str, progress: Progress) -> None:
        """Keep the state of all machines as ``name``; those that run do so afterwards. InputError if it cannot be."""

    def restore(self, name: str, progress: Progress) -> Sequence[Machine]:
        """Bring all machines back to the snapshot ``name``, running and reachable; return them as ``create`` does."""

    def delete(self, name: str, progress: Progress) -> None:
        """Remove the snapshot ``name``."""

    def remove(self, names: Collection[str], progress: Progress) -> None:
        """Remove the machines of these names with their data, if they are there; what is wanted is made anew later."""

    def destroy(self, progress: Progress) -> None:
        """Remove all that belongs to this cluster and nothing else: machines, snapshots, its state folder."""
