"""``verify``: run every check on every node, and the cluster's own proofs."""

from __future__ import annotations

import json
from dataclasses import asdict

from kubesmith import execute, report
from kubesmith.errors import KubesmithError
from kubesmith.job import Job
from kubesmith.verify import run as verify


def _server_image(job: Job) -> None:
    """Give nodes that other hands set up the image that the checks run; raise KubesmithError where that fails."""
    if not job.spec.adopted:
        return
    outcome = execute.playbook("kubesmith.cluster.verify_image", inventory=job.inventory, state=job.state, ui=job.ui)
    if not outcome.ok:
        report.failed(outcome, job.ui)
        raise KubesmithError("the image that the checks run could not be imported on every node")


def run(job: Job, *, wait: float | None, count: int) -> int:
    """Return 0 if all checks pass, ``count`` times in a row with ``wait`` seconds to get there; else 1."""
    job.require_machines()
    target = report.folder(job.state)
    _server_image(job)
    with job.ui.phase("verify", "Verify") as progress:
        verdict = verify.run(job.inventory, target, progress=progress, wait=wait, count=count)
        progress.summary = f"{len(verdict.passed)} passed, {len(verdict.failed)} failed, {len(verdict.skipped)} skipped"
        progress.failed = bool(verdict.failed)
    report.write(report.of(job, verdict=verdict), target)
    if job.ui.as_json:
        print(json.dumps(asdict(verdict), default=str))
    else:
        verify.show(verdict, job.ui.console)
        job.ui.line(f"Report: {target / 'report.html'}")
    return 1 if verdict.failed else 0
