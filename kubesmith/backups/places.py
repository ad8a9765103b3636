"""All the places that keep a cluster's backups: this machine and the targets of the cluster file."""

from __future__ import annotations

import shutil

from ansible_collections.kubesmith.cluster.plugins.module_utils.backup import SUFFIX, listed

from kubesmith import paths
from kubesmith.backups import store, targets
from kubesmith.backups.store import Backup
from kubesmith.errors import InputError, KubesmithError
from kubesmith.job import Job


def everywhere(job: Job) -> tuple[list[Backup], list[str]]:
    """Return the backups of all places, the oldest first, and what is wrong with the places that gave no answer."""
    found = store.backups(job.spec.cluster.name)
    problems = []
    for wanted in job.spec.backup.targets:
        try:
            found += _at(targets.make(wanted), job.spec.cluster.name)
        except KubesmithError as error:
            problems.append(str(error))
    return sorted(found, key=lambda backup: (str(backup.meta.get("created")), backup.id)), problems


def _at(target: targets.Target, cluster: str) -> list[Backup]:
    folder = targets.described(target)
    try:
        return [Backup(meta, target.url) for meta in listed(str(folder), cluster)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def bring(job: Job, wanted: str) -> Backup:
    """Return the backup that is meant, on this machine: one that only a target has is fetched.

    ``wanted`` is a name, ``latest`` or the path of a file. InputError where there is none; a target that does not
    answer is told, since it may have a newer one.
    """
    cluster = job.spec.cluster.name
    known, problems = everywhere(job)
    for problem in problems:
        job.ui.line(f"not looked at: {problem}", always=True)
    named = known[-1:] if wanted == store.LATEST else [backup for backup in known if backup.id == wanted]
    for backup in named:
        here = [one for one in known if one.id == backup.id and one.file]
        return here[0] if here else fetch(job, backup)
    return store.find(cluster, wanted)


def fetch(job: Job, backup: Backup) -> Backup:
    """Bring a backup from its target to this machine."""
    cluster = job.spec.cluster.name
    wanted = next(row for row in job.spec.backup.targets if row.url == backup.place)
    folder = paths.make_private(store.folder(cluster))
    incoming = paths.make_private(folder / ".incoming")
    names = [f"{backup.id}{SUFFIX}", f"{backup.id}.json"]
    try:
        with job.ui.phase("fetch", f"Fetch from {backup.place}"):
            targets.make(wanted).get(names, incoming)
        for name in names:
            (incoming / name).replace(folder / name)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return store.find(cluster, backup.id)


def send(job: Job, backup: Backup) -> None:
    """Copy a backup to every target and drop the oldest there; KubesmithError names those that failed, at the end."""
    assert backup.file
    problems = []
    for wanted in job.spec.backup.targets:
        try:
            target = targets.make(wanted)
            with job.ui.phase("send", f"Send to {wanted.url}"):
                target.put(backup.file)
                target.put(backup.file.with_name(f"{backup.id}.json"))
                prune(target, job.spec.cluster.name, job.spec.backup.keep)
        except KubesmithError as error:
            problems.append(str(error))
    if problems:
        raise KubesmithError(
            f"backup {backup.id} is on this machine, and not where it should be too: {'; '.join(problems)}",
            fix="mend the target; python3 runner.py backup sends the next one",
        )


def prune(target: targets.Target, cluster: str, keep: int) -> list[str]:
    """Remove the oldest backups of a cluster at a target but ``keep``; return their names."""
    gone = [backup.id for backup in _at(target, cluster)[:-keep]]
    if gone:
        target.remove([name for one in gone for name in (f"{one}.json", f"{one}{SUFFIX}")])
    return gone


def prune_all(job: Job, keep: int) -> list[tuple[str, str]]:
    """Remove the oldest backups in every place; return (name, place). InputError where a target does not answer."""
    cluster = job.spec.cluster.name
    gone = [(name, store.HERE) for name in store.prune(cluster, keep)]
    problems = []
    for wanted in job.spec.backup.targets:
        try:
            gone += [(name, wanted.url) for name in prune(targets.make(wanted), cluster, keep)]
        except InputError:
            raise
        except KubesmithError as error:
            problems.append(str(error))
    if problems:
        raise KubesmithError(f"not pruned: {'; '.join(problems)}", fix="mend the target, and run it again")
    return gone
