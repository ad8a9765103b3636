"""A backup taken from a control plane, and the one that comes before every change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from kubesmith import execute, paths
from kubesmith.backups import key, places, store
from kubesmith.errors import KubesmithError
from kubesmith.job import Job

MODULE = "kubesmith.cluster.cluster_backup"
PLAYBOOK = "kubesmith.cluster.backup"


def recipients(job: Job) -> list[str]:
    """Return the public keys that a cluster's backups are encrypted for; this machine's own is first."""
    return [key.recipient(job.spec.cluster.name, job.ui), *job.spec.backup.recipients]


def site_variables(job: Job, *, only_look: bool = False) -> dict[str, Any]:
    """Return what site.yml is told of backups: the public keys for those that nodes take by themselves.

    Who will ``only_look`` makes no key.
    """
    if not job.spec.backup.schedule or (only_look and not key.file(job.spec.cluster.name).exists()):
        return {}
    return {"kubeadm_master_backup_recipients": recipients(job)}


def spec_text(job: Job) -> str:
    """Return the cluster file as it is written; of an ordinary inventory what was read from it."""
    if job.listed is None:
        return job.file.read_text()
    return str(yaml.safe_dump(job.spec.model_dump(mode="json", exclude_defaults=True), sort_keys=False))


def control_planes(job: Job) -> list[str]:
    """Return the control planes' names, in the file's order."""
    return [node.name for node in job.spec.machines() if node.role == "control-plane"]


def take(job: Job, reason: str, *, install: bool = True) -> store.Backup:
    """Take a backup from the first control plane that can give one, keep it on this machine and send it to the targets.

    ``install``: programs that a control plane lacks for it come from the bundle, which is of the version that runs.
    The caller holds the cluster's lock. KubesmithError tells why each of them gave none, or which target has none.
    """
    name = job.spec.cluster.name
    variables = {
        "backup_recipients": recipients(job),
        "backup_spec": spec_text(job),
        "backup_reason": reason,
        "backup_install": install,
        "backup_keep": job.spec.backup.keep,
        "backup_dest": str(paths.make_private(store.folder(name))),
    }
    problems = []
    for host in control_planes(job):
        meta, problem = _from(job, host, variables)
        if meta:
            store.prune(name, job.spec.backup.keep)
            made = store.find(name, meta["id"])
            places.send(job, made)
            return made
        problems.append(f"{host}: {problem}")
    raise KubesmithError("no backup was made: " + "; ".join(problems), fix="python3 runner.py status")


def collect(job: Job) -> list[store.Backup]:
    """Bring the backups that nodes took by themselves to this machine and send them on; return the new ones.

    The caller holds the cluster's lock. KubesmithError names the control planes that gave no answer, after the others.
    """
    name = job.spec.cluster.name
    known = {backup.id for backup in store.backups(name)}
    variables = {
        "backup_take": False,
        "backup_dest": str(paths.make_private(store.folder(name))),
        "backup_recipients": [],
    }
    outcome = execute.playbook(
        PLAYBOOK, inventory=job.inventory, state=job.state, ui=job.ui, variables=variables, kept_in="backups"
    )
    new = [backup for backup in store.backups(name) if backup.id not in known]
    for backup in new:
        places.send(job, backup)
    store.prune(name, job.spec.backup.keep)
    if not outcome.ok:
        words = "; ".join(f"{failure.host}: {failure.message.strip().splitlines()[-1]}" for failure in outcome.failures)
        raise KubesmithError(f"not collected: {words or outcome.status}", fix="python3 runner.py status")
    return new


def _from(job: Job, host: str, variables: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str]:
    found: list[Mapping[str, Any]] = []

    def collect(result: execute.TaskResult) -> None:
        if result.action == MODULE:
            found.append(result.answer["backup"])

    outcome = execute.playbook(
        PLAYBOOK,
        inventory=job.inventory,
        state=job.state,
        ui=job.ui,
        limit=host,
        variables=variables,
        kept_in="backups",
        collect=collect,
    )
    if outcome.ok and found:
        return found[0], ""
    words = [failure.message.strip().partition("\n")[0] for failure in outcome.failures]
    return None, "; ".join(dict.fromkeys(words)) or outcome.status


def before(job: Job, change: str, *, vital: bool = True, install: bool = True) -> store.Backup | None:
    """Take the backup that comes before ``change``; None where there is no cluster yet, or none is wanted.

    With ``vital`` a failure ends the run; without it, where the change may be what mends the cluster, it is a warning.
    On nodes whose programs are kept as other hands set them up nothing is installed without being asked.
    """
    kept = job.spec.adopted == "keep"
    if kept or not job.spec.backup.before_changes or not job.kubeconfig.exists():
        return None
    try:
        made = take(job, f"before {change}", install=install)
    except KubesmithError as error:
        if vital:
            fix = "mend the cluster first, or set backup.before_changes: false in the cluster file"
            raise KubesmithError(f"{change} did not begin: {error}", fix=fix) from error
        job.ui.line(f"{change} goes on without a backup: {error}", always=True)
        return None
    job.ui.event("backup", **{name: made.meta[name] for name in ("id", "created", "reason", "bytes")})
    return made
