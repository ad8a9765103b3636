"""``certs rotate``: new CAs in stages, and the way back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from kubesmith import execute, report
from kubesmith.backups import make
from kubesmith.errors import InputError, KubesmithError
from kubesmith.job import Job

MODULE = "kubesmith.cluster.authority_rotation"
STAGES = ("trust", "issue", "drop")
TEXT = {
    "none": "no rotation is under way",
    "trust": "the new CAs are trusted beside the old ones, which sign",
    "issue": "the new CAs sign, the old ones are still trusted",
    "drop": "only the new CAs are trusted",
}


def run(job: Job, *, to: str, rollback: bool, check: bool) -> int:
    """Carry out the stages that are left up to ``to``, or undo those that were; return 0, or 1 if one failed.

    InputError where the control planes are not at the same stage, and where there is nothing to undo.
    """
    job.require_machines()
    with job.alone():
        now = stage(job)
        steps = back(now) if rollback else ahead(now, to)
        job.ui.line(TEXT[now])
        for name, again in steps:
            job.ui.line(f"next: {name}{', and every certificate anew' if again else ''}")
        if check or not steps:
            return 0
        make.before(job, "the rotation of CAs")
        for name, again in steps:
            outcome = _play(job, "certs_rotate", {"rotate_stage": name, "rotate_again": again})
            if not outcome.ok:
                report.failed(outcome, job.ui)
                raise KubesmithError(
                    f"the rotation stopped on the way to stage {name}",
                    fix="python3 runner.py certs rotate goes on; --rollback goes back",
                )
        ends = stage(job)
    if job.ui.as_json:
        row = {"cluster": job.spec.cluster.name, "ok": True, "before": now, "stage": ends}
        print(json.dumps(row | {"steps": [name for name, _again in steps]}))
    job.ui.line(TEXT[ends] if ends != "none" else "done: the old CAs are trusted no more" if not rollback else "undone")
    return 0


def ahead(now: str, to: str) -> list[tuple[str, bool]]:
    """Return (stage, whether certificates are issued anew) for what is left up to ``to``."""
    done = {"none": 0, "trust": 1, "issue": 2, "drop": 2}[now]  # one that is at "drop" has not forgotten the old ones
    return [(name, name == "issue") for name in STAGES[done : STAGES.index(to) + 1]]


def back(now: str) -> list[tuple[str, bool]]:
    """Return the same for the way back; InputError where there is none."""
    if now in ("none", "drop"):
        raise InputError(
            "there is no rotation to undo: " + TEXT[now],
            fix="restore a backup from before it: python3 runner.py restore",
        )
    return [*([("trust", True)] if now == "issue" else []), ("back", False)]


def stage(job: Job) -> str:
    """Ask the control planes how far a rotation is; the least far where one was stopped between two."""
    found: list[str] = []

    def collect(result: execute.TaskResult) -> None:
        if result.action == MODULE:
            found.append(result.answer["stage"])

    outcome = _play(job, "certs_stage", {}, collect)
    if not outcome.ok or not found:
        report.failed(outcome, job.ui)
        raise InputError("not every control plane answers", fix="python3 runner.py status")
    return min(found, key=["none", *STAGES].index)


def _play(job: Job, name: str, variables: Mapping[str, Any], collect: Any = None) -> execute.Result:
    return execute.playbook(
        f"kubesmith.cluster.{name}",
        inventory=job.inventory,
        state=job.state,
        ui=job.ui,
        variables=variables,
        kept_in="certs",
        collect=collect,
    )
