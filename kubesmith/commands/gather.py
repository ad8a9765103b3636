"""``gather``: everything that helps to understand a cluster's state, in one file without secrets."""

from __future__ import annotations

import json
from pathlib import Path

from kubesmith import gather
from kubesmith.errors import InputError
from kubesmith.job import Job


def run(job: Job, *, output: Path | None) -> int:
    """Write the file and say where it is and what is missing; return 1 if no node answered, else 0."""
    if output and not output.is_dir() and not output.parent.is_dir():
        raise InputError(f"there is no folder {output.parent}", fix="make it, or give another --output")
    job.require_machines()
    found = gather.whole(job)
    with job.ui.phase("pack", "Pack, without secrets"):
        target = gather.pack(job, found, output=output)
    size = target.stat().st_size
    if job.ui.as_json:
        print(json.dumps({"file": str(target), "bytes": size, "missing": found.missing}))
    else:
        for what, why in found.missing.items():
            job.ui.line(f"missing: {what}: {why}", always=True)
        job.ui.line(f"Evidence: {target} ({size / 1024:,.0f} KiB)", always=True)
    return 0 if found.facts else 1
