"""``backup``: take one, list them, verify them, drop the oldest, show the cluster file in one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from kubesmith.backups import archive, key, make, places, store
from kubesmith.errors import InputError
from kubesmith.job import Job


def run(
    job: Job, action: str | None, name: str | None, *, identity: Path | None = None, keep: int | None = None
) -> int:
    """Carry out ``backup [ACTION] [NAME]``; return the exit code."""
    if name and action not in ("verify", "spec"):
        raise InputError(f"backup {action or 'create'} takes no name, and got {name!r}", fix="leave it out")
    if keep is not None and action != "prune":
        raise InputError("--keep says nothing to any action but prune", fix="set backup.keep in the cluster file")
    if action == "list":
        return show(job)
    if action == "verify":
        return verify(job, name, identity)
    if action == "collect":
        return collect(job)
    if action == "prune":
        return prune(job, job.spec.backup.keep if keep is None else keep)
    if action == "spec":
        return spec(job, name, identity)
    return create(job)


def create(job: Job) -> int:
    """Take a backup now."""
    job.require_machines()
    with job.alone():
        made = make.take(job, "asked for")
    if job.ui.as_json:
        print(json.dumps({"cluster": job.spec.cluster.name, "ok": True, "backup": row(made)}))
    else:
        size = f"{made.meta['bytes'] / 1e6:.1f} MB"
        job.ui.line(f"{made.id}: {size}, {made.meta['snapshot']['keys']} keys; {made.file}")
    return 0


def collect(job: Job) -> int:
    """Bring what control planes backed up by themselves."""
    job.require_machines()
    with job.alone():
        new = make.collect(job)
    if job.ui.as_json:
        print(json.dumps({"cluster": job.spec.cluster.name, "ok": True, "backups": [row(backup) for backup in new]}))
    for backup in new:
        job.ui.line(f"{backup.id}: {backup.meta['bytes'] / 1e6:.1f} MB")
    job.ui.line(f"{len(new)} new")
    return 0


def row(backup: store.Backup) -> dict[str, Any]:
    """Return what --json tells of a backup."""
    return dict(backup.meta) | {"place": backup.place, "file": str(backup.file) if backup.file else None}


def show(job: Job) -> int:
    """List the backups of all places, the oldest first; 1 if a place gave no answer."""
    found, problems = places.everywhere(job)
    code = 1 if problems else 0
    if job.ui.as_json:
        rows = [row(backup) for backup in found]
        print(json.dumps({"cluster": job.spec.cluster.name, "backups": rows, "problems": problems}))
        return code
    for problem in problems:
        job.ui.line(Text(problem, "red"), always=True)
    if not found:
        job.ui.line(f"there is no backup of cluster {job.spec.cluster.name}; python3 runner.py backup takes one")
        return code
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("Backup", "Created", "Kubernetes", "etcd", "MB", "Reason", "Place"):
        table.add_column(title, justify="right" if title == "MB" else "left", overflow="fold")
    for backup in found:
        meta = backup.meta
        words = [meta["id"], meta["created"], meta["kubernetes"], meta["etcd"], f"{meta['bytes'] / 1e6:.1f}"]
        table.add_row(*(Text(str(word)) for word in [*words, meta["reason"], backup.place]))
    job.ui.console.print(table)
    return code


def chosen(job: Job, name: str | None) -> Sequence[store.Backup]:
    """Return the backup that is named, all without a name; InputError where there is none."""
    cluster = job.spec.cluster.name
    found = [places.bring(job, name)] if name else store.backups(cluster)
    if not found:
        raise InputError(f"there is no backup of cluster {cluster}", fix="python3 runner.py backup")
    return found


def verify(job: Job, name: str | None, identity: Path | None) -> int:
    """Open and check backups; 2 if one that was named is refused, 1 if one of all is."""
    place = identity or key.file(job.spec.cluster.name)
    if not name:
        chosen(job, None)  # without a backup nobody misses a key
    key.load(place)
    rows = []
    for backup in chosen(job, name):
        try:
            with archive.opened(backup, place) as one:
                seen = archive.inspect(one, job.bundle)
            rows.append({"id": backup.id, "ok": True, **seen})
            job.ui.line(
                f"{backup.id}: whole; {len(one.meta['files'])} files, {seen['keys']} keys, revision {seen['revision']}"
            )
        except InputError as error:
            if name:
                raise
            rows.append({"id": backup.id, "ok": False, "problem": str(error)})
            job.ui.line(Text(str(error), "red"), always=True)
    ok = all(entry["ok"] for entry in rows)
    if job.ui.as_json:
        print(json.dumps({"cluster": job.spec.cluster.name, "ok": ok, "backups": rows}))
    return 0 if ok else 1


def prune(job: Job, keep: int) -> int:
    """Drop the oldest backups but so many."""
    with job.alone():
        gone = places.prune_all(job, keep)
    if job.ui.as_json:
        rows = [{"id": name, "place": place} for name, place in gone]
        print(json.dumps({"cluster": job.spec.cluster.name, "kept": keep, "removed": rows}))
    for name, place in gone:
        job.ui.line(f"removed {name} from {place}")
    job.ui.line(f"{len(gone)} removed, at most {keep} kept")
    return 0


def spec(job: Job, name: str | None, identity: Path | None) -> int:
    """Print the cluster file that a backup holds."""
    backup = places.bring(job, name or store.LATEST)
    with archive.opened(backup, identity or key.file(job.spec.cluster.name)) as one:
        print(one.spec.read_text(), end="")
    return 0
