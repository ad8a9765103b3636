"""``restore``: a cluster back from a backup, in place or on new machines."""

from __future__ import annotations

import json
import sys
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils.restoring import SHARED

from kubesmith import execute, report
from kubesmith.backups import archive, key, make, places, plan, store
from kubesmith.commands import up
from kubesmith.errors import InputError, KubesmithError
from kubesmith.job import Job
from kubesmith.phases import PHASES
from kubesmith.verify import run as verify

LOOK = "kubesmith.cluster.restore_facts"
SECONDS = 600.0  # in which a restored cluster passes every check


def run(job: Job, name: str | None, *, identity: Path | None = None, check: bool = False) -> int:
    """Carry out the verb; return 0, or 1 if the restore or a check failed.

    InputError, with nothing touched, for a backup that is damaged, of another cluster, or newer than the bundle.
    """
    cluster = job.spec.cluster.name
    backup = places.bring(job, name or store.LATEST)
    with archive.opened(backup, identity or key.file(cluster)) as one:
        plan.fits(one.meta, archive.inspect(one, job.bundle), cluster, job.spec.cluster.kubernetes, job.bundle)
        with job.alone():
            wanted = look(job, one.meta)
            tell(job, one, wanted)
            if check:
                return 0
            confirm(job, one)
            packed = pack(one)
            if wanted.in_place:
                return in_place(job, one, packed, wanted)
        return anew(job, one, packed, wanted)


def look(job: Job, meta: Mapping[str, Any]) -> plan.Plan:
    """Ask every machine that there is whose it is; InputError where one does not answer or is another cluster's."""
    roles = {node.name: node.role for node in job.spec.machines()}
    there = there_are(job)
    found: dict[str, plan.Facts] = {}

    def collect(result: execute.TaskResult) -> None:
        if result.action == LOOK:
            found[result.host] = result.answer["restore"]

    if there:
        outcome = execute.playbook(
            "kubesmith.cluster.restore_look",
            inventory=job.inventory,
            state=job.state,
            ui=job.ui,
            limit=",".join(there),
            kept_in="restores",
            collect=collect,
        )
        silent = [node for node in there if node not in found and roles[node] == "control-plane"]
        if silent:
            words = outcome.failures[0].message.strip().splitlines()[-1] if outcome.failures else "no answer"
            raise InputError(
                f"{', '.join(silent)} cannot be looked at: {words}",
                fix="have it answer, or take its machine away if it is lost",
            )
    return plan.make(found, roles, meta)


def there_are(job: Job) -> list[str]:
    """Return the nodes whose machines are there and run; those of provider ssh are all taken to be."""
    names = [node.name for node in job.spec.machines()]
    if job.spec.provider == "ssh" or job.listed:
        return names
    states = {status.name: status.state for status in job.provider().status()}
    stopped = [name for name in names if states.get(name) == "stopped"]
    if stopped:
        raise InputError(
            f"{', '.join(stopped)} do(es) not run, and may have the cluster's data",
            fix="python3 runner.py up --only nodes",
        )
    return [name for name in names if states.get(name) == "running" and name not in job.not_made()]


def tell(job: Job, one: archive.Opened, wanted: plan.Plan) -> None:
    """Say what the restore does."""
    meta = one.meta
    how = f"in place on {', '.join(wanted.planes)}" if wanted.in_place else "on new machines"
    job.ui.event(
        "restore", backup=meta["id"], in_place=wanted.in_place, planes=list(wanted.planes), created=meta["created"]
    )
    count = f"Kubernetes {meta['kubernetes']}, {meta['snapshot']['keys']} keys"
    job.ui.line(f"backup {meta['id']} of {meta['created']}: {count}; {how}")


def confirm(job: Job, one: archive.Opened) -> None:
    """Have the cluster's name typed, unless --yes was given; InputError if it was not."""
    name = job.spec.cluster.name
    if job.assume_yes:
        return
    fix = "type the cluster's name when asked, or give --yes"
    if not sys.stdin.isatty():
        raise InputError(f"cluster {name} is not restored: nobody is there to confirm it", fix=fix)
    typed = input(
        f"Cluster {name} will be as it was at {one.meta['created']}; what came later is lost. Type its name: "
    )
    if typed.strip() != name:
        raise InputError(f"cluster {name} is not restored: {typed.strip()[:80]!r} is not its name", fix=fix)


def pack(one: archive.Opened) -> Path:
    """Return an archive of what the nodes need of a backup; it goes with the opened backup."""
    target = one.folder / ".shared.tar"
    target.touch(mode=0o600)
    with tarfile.open(target, "w") as packed:
        for path in sorted(one.folder.rglob("*")):
            name = str(path.relative_to(one.folder))
            if path.is_file() and SHARED.fullmatch(name):
                packed.add(path, name)
    return target


def in_place(job: Job, one: archive.Opened, packed: Path, wanted: plan.Plan) -> int:
    """Exchange the data of the control planes that are there, then verify; put the old data back if it fails."""
    began = time.monotonic()
    make.before(job, f"the restore of {one.meta['id']}", vital=False)
    variables = {
        "restore_archive": str(packed),
        "restore_planes": list(wanted.planes),
        "restore_workers": list(wanted.workers),
        "restore_names": dict(wanted.names),
        "restore_members": dict(wanted.members),
    }
    outcome = _play(job, "restore", variables)
    if not outcome.ok:
        report.failed(outcome, job.ui)
        if "Ready" in {failure.play for failure in outcome.failures}:
            raise KubesmithError(
                "the data is restored, but not every node became Ready", fix="python3 runner.py status"
            )
        return undo(job, variables)
    if wanted.missing:
        job.ui.line(f"not members yet: {', '.join(wanted.missing)}; python3 runner.py up joins them", always=True)
    target = report.folder(job.state)
    with job.ui.phase("verify", "Verify") as progress:
        verdict = verify.run(job.inventory, target, progress=progress, wait=SECONDS, count=1)
        progress.failed = bool(verdict.failed)
    if verdict.failed:
        verify.show(verdict, job.ui.console)
    made = report.of(job, tasks=outcome.hosts, verdict=verdict)
    report.write(made, target)
    report.show(made, target, job.ui, job)
    return done(job, one, began, ok=not verdict.failed, in_place=True)


def _play(job: Job, name: str, variables: Mapping[str, Any]) -> execute.Result:
    return execute.playbook(
        f"kubesmith.cluster.{name}",
        inventory=job.inventory,
        state=job.state,
        ui=job.ui,
        variables=variables,
        kept_in="restores",
    )


def undo(job: Job, variables: Mapping[str, Any]) -> int:
    """Bring the old data back after a restore that failed; always 1."""
    outcome = _play(job, "restore_undo", variables)
    if not outcome.ok:
        report.failed(outcome, job.ui)
        raise KubesmithError(
            "the restore failed, and so did the way back: the control plane's manifests may be in "
            "/etc/kubernetes/kubesmith-restore and its old data in /var/lib/etcd/.restore/old",
            fix="run the same restore again: it goes on from there",
        )
    job.ui.line("the restore failed; the cluster has its own data again", always=True)
    return 1


def anew(job: Job, one: archive.Opened, packed: Path, wanted: plan.Plan) -> int:
    """Build the cluster on machines that have none of it, from the backup's data and keys; join what is left of it."""
    began = time.monotonic()
    variables = {"kubeadm_master_restore": str(packed)}
    if not wanted.workers:
        return done(job, one, began, ok=up.run(job, variables=variables) == 0, in_place=False)
    # They were looked at already, and without a kubeconfig preflight would not know whose they are.
    first = frozenset(PHASES[: PHASES.index("network")]) - (set() if job.kubeconfig.exists() else {"preflight"})
    code = up.run(job, phases=first, variables=variables)
    if code == 0:
        with job.alone():
            outcome = _play(job, "restore_workers", {"restore_workers": list(wanted.workers)})
        if not outcome.ok:
            report.failed(outcome, job.ui)
        code = up.run(
            job, phases=frozenset(PHASES[PHASES.index("network") :]), variables={"kubeadm_master_restore": ""}
        )
    return done(job, one, began, ok=code == 0, in_place=False)


def done(job: Job, one: archive.Opened, began: float, *, ok: bool, in_place: bool) -> int:
    """Say how long it took; return the exit code."""
    seconds = round(time.monotonic() - began, 1)
    if job.ui.as_json:
        row = {"cluster": job.spec.cluster.name, "ok": ok, "backup": one.meta["id"], "in_place": in_place}
        print(json.dumps(row | {"seconds": seconds}))
    job.ui.line(f"restored from {one.meta['id']} in {seconds} s" if ok else "restored, and not whole: see above")
    return 0 if ok else 1
