"""``wait-for``: return when the cluster has reached a milestone."""

from __future__ import annotations

import json
import time

from rich.text import Text

from kubesmith import milestones
from kubesmith.errors import InputError
from kubesmith.job import Job

TIMEOUT = 300.0  # seconds
INTERVAL = 1.0
SHOWN = 5  # things that are lacking


def run(job: Job, milestone: str, *, timeout: float = TIMEOUT) -> int:
    """Return 0 once ``milestone`` is reached, 1 with the reasons if it is not within ``timeout`` seconds."""
    milestones.check(milestone)
    if job.spec.provider != "ssh" and not job.state.exists():
        raise InputError(f"cluster {job.spec.cluster.name} has no machines", fix="python3 runner.py up")
    nodes = [node.name for node in job.spec.machines()]
    began = time.monotonic()
    with job.ui.phase("wait", f"Wait for {milestone}") as progress:
        while True:
            lacking = milestones.look(job.kubeconfig, milestone, nodes)
            seconds = time.monotonic() - began
            if not lacking or seconds >= timeout:
                break
            progress.update(milestone, lacking[0] + (f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""))
            time.sleep(min(INTERVAL, max(0.05, timeout - seconds)))
        progress.summary = f"{len(lacking)} lacking" if lacking else "reached"
        progress.failed = bool(lacking)
    event = milestones.last_event(job.kubeconfig) if lacking and job.kubeconfig.exists() else ""
    _tell(job, milestone, seconds, lacking, event)
    return 1 if lacking else 0


def _tell(job: Job, milestone: str, seconds: float, lacking: list[str], event: str) -> None:
    if job.ui.as_json:
        row = {"milestone": milestone, "reached": not lacking, "seconds": round(seconds, 1), "lacking": lacking}
        print(json.dumps(row | {"last_event": event}))
        return
    if not lacking:
        return
    job.ui.line(Text(f"{milestone} was not reached within {seconds:.0f} s:", "red"), always=True)
    for reason in lacking[:SHOWN]:
        job.ui.line(Text(f"  {reason}"), always=True)
    if len(lacking) > SHOWN:
        job.ui.line(Text(f"  and {len(lacking) - SHOWN} more"), always=True)
    if event:
        job.ui.line(Text(f"  last warning: {event}"), always=True)
    job.ui.line(job.ui.typed("→ python3 runner.py status; python3 runner.py gather"), always=True)
