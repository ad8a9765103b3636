"""``reset``: take the cluster off its machines, which stay."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

from rich.text import Text

from kubesmith import execute, report
from kubesmith.commands.preflight import known_ca
from kubesmith.errors import InputError
from kubesmith.job import Job
from kubesmith.ui import Ui

MODULE = "kubesmith.cluster.node_reset"


def run(job: Job, *, check: bool = False) -> int:
    """Carry out the verb; return 0, or 1 if a node failed. Raises InputError unless it is confirmed."""
    job.require_machines()
    if not check:
        confirm(job)
    done: dict[str, Sequence[str]] = {}
    warnings: dict[str, Sequence[str]] = {}

    def collect(result: execute.TaskResult) -> None:
        if result.action == MODULE:
            done[result.host] = result.answer["actions"]
            warnings[result.host] = result.answer.get("warnings", [])

    with job.alone():
        outcome = execute.playbook(
            "kubesmith.cluster.reset",
            inventory=job.inventory,
            state=job.state,
            ui=job.ui,
            check=check,
            variables={"reset_authority": known_ca(job.kubeconfig)},
            kept_in="resets",
            collect=collect,
        )
    if job.ui.as_json:
        row = {"cluster": job.spec.cluster.name, "ok": outcome.ok, "check": check, "nodes": done, "warnings": warnings}
        print(json.dumps(row))
    else:
        show(done, job.ui, everything=check or bool(job.ui.verbosity))
        for host, texts in warnings.items():
            for text in texts:
                job.ui.line(Text(f"{host}: {text}", "yellow"), always=True)
    if not outcome.ok:
        report.failed(outcome, job.ui)
    return 0 if outcome.ok else 1


def confirm(job: Job) -> None:
    """Have the cluster's name typed, unless --yes was given; raise InputError if it was not."""
    name = job.spec.cluster.name
    if job.assume_yes:
        return
    fix = "type the cluster's name when asked, or give --yes"
    if not sys.stdin.isatty():
        raise InputError(f"cluster {name} is not reset: nobody is there to confirm it", fix=fix)
    typed = input(f"This removes cluster {name} and all its data. Type its name to go on: ")
    if typed.strip() != name:
        raise InputError(f"cluster {name} is not reset: {typed.strip()[:80]!r} is not its name", fix=fix)


def show(done: Mapping[str, Sequence[str]], ui: Ui, *, everything: bool) -> None:
    """Print for each node what was done or would be; with ``everything`` each action, else how many."""
    for host in sorted(done):
        actions = done[host]
        ui.line(Text.assemble((host, "bold"), f": {len(actions)} thing(s)" if actions else ": nothing to remove"))
        for text in actions if everything else ():
            ui.line(f"  {text}")
