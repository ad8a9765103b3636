"""``snapshot save|restore|list|delete``: the state of all machines at one moment, and the way back to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

from rich.table import Table

from kubesmith.commands import verify
from kubesmith.errors import InputError
from kubesmith.job import Job

ACTIONS = ("save", "restore", "list", "delete")
#: Seconds for a restored cluster to pass every check: leases run out, pods start, clocks were set.
RESTORED_SECONDS = 600.0
EMULATED_SECONDS = 2400.0


def run(job: Job, action: str, name: str | None) -> int:
    """Carry out ``action``; return its exit code. InputError for an action that lacks its name, or has one too many."""
    if action == "list":
        if name:
            raise InputError(f"snapshot list takes no name, and {name[:80]!r} is one", fix="snapshot list")
        return show(job)
    if not name:
        raise InputError(f"snapshot {action} needs a name", fix=f"for example: snapshot {action} clean")
    actions: dict[str, Callable[[Job, str], int]] = {"save": save, "restore": restore, "delete": delete}
    return actions[action](job, name)


def save(job: Job, name: str) -> int:
    """Keep the state of all machines as ``name``."""
    with job.alone(), job.ui.phase("snapshot", f"Save {name}") as progress:
        job.provider().save(name, progress)
    return 0


def restore(job: Job, name: str) -> int:
    """Bring all machines back to ``name`` and verify the cluster, if they were one; 1 if a check fails."""
    with job.alone(), job.ui.phase("snapshot", f"Restore {name}") as progress:
        machines = job.provider().restore(name, progress)
    if not job.kubeconfig.exists():
        return 0
    emulated = any(machine.emulated for machine in machines)
    return verify.run(job, wait=EMULATED_SECONDS if emulated else RESTORED_SECONDS, count=1)


def delete(job: Job, name: str) -> int:
    """Remove the snapshot ``name``."""
    with job.alone(), job.ui.phase("snapshot", f"Delete {name}") as progress:
        job.provider().delete(name, progress)
    return 0


def show(job: Job) -> int:
    """Show the snapshots, oldest first."""
    found = job.provider().snapshots()
    if job.ui.as_json:
        print(json.dumps([asdict(snapshot) for snapshot in found]))
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("Snapshot", "Taken", "Nodes", "MiB"):
        table.add_column(title)
    for snapshot in found:
        table.add_row(snapshot.name, snapshot.taken, ", ".join(snapshot.roles), str(snapshot.size_mb or "?"))
    job.ui.console.print(table if found else f"cluster {job.spec.cluster.name} has no snapshots")
    return 0
