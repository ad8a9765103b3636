"""Machines that exist already and are reached by SSH; making and unmaking them is not our business."""

from __future__ import annotations

from collections.abc import Sequence

from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import Spec

from kubesmith.errors import InputError
from kubesmith.machines import Machine
from kubesmith.progress import Progress
from kubesmith.providers.base import MachineStatus
from kubesmith.providers.snapshots import Snapshot


class ExistingProvider:
    """Answers the provider's interface for the nodes listed in a cluster file."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def check(self) -> None:
        """Nothing is made, so nothing can be in the way."""

    def create(self, progress: Progress) -> Sequence[Machine]:
        """Return nothing: the inventory takes addresses from the cluster file itself."""
        for node in self.spec.machines():
            progress.done(node.name, f"listed at {node.address}", changed=False)
        return []

    def status(self) -> Sequence[MachineStatus]:
        """Return each node as ``listed``: whether it answers is for ``verify`` to find out."""
        return [MachineStatus(node.name, "listed", str(node.address)) for node in self.spec.machines()]

    def stop(self, progress: Progress) -> None:
        """Refuse: these machines may do other work."""
        raise InputError("provider ssh does not stop machines", fix="shut them down yourself")

    def snapshots(self) -> Sequence[Snapshot]:
        """Return none."""
        return []

    def save(self, name: str, progress: Progress) -> None:
        """Refuse: their disks are not ours."""
        raise _no_snapshots()

    def restore(self, name: str, progress: Progress) -> Sequence[Machine]:
        """Refuse: their disks are not ours."""
        raise _no_snapshots()

    def delete(self, name: str, progress: Progress) -> None:
        """Refuse: their disks are not ours."""
        raise _no_snapshots()

    def destroy(self, progress: Progress) -> None:
        """Refuse: these machines are not ours to remove."""
        raise InputError("provider ssh does not destroy machines", fix="remove the cluster from them by hand")


def _no_snapshots() -> InputError:
    return InputError(
        "provider ssh keeps no snapshots: the machines' disks are not ours", fix="use what the machines' platform has"
    )
