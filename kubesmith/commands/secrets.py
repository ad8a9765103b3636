"""``secrets``: which key encrypts the secrets in etcd, what really stands there, and a new key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from kubesmith import execute, report
from kubesmith.backups import make
from kubesmith.errors import InputError
from kubesmith.job import Job
from kubesmith.ui import Ui

MODULE = "kubesmith.cluster.encryption_keys"
Row = dict[str, Any]


def run(job: Job, action: str | None, *, check: bool = False) -> int:
    """Carry out ``secrets`` or ``secrets rotate``.

    Returns 0, or 1 if something in etcd is not written by the key that writes, control planes differ, or a step failed.
    """
    if check and action is None:
        raise InputError("--check says nothing to secrets, which changes nothing anyway", fix="leave it out")
    job.require_machines()
    with job.alone():
        if action == "rotate":
            if not check:
                make.before(job, "secrets rotate")
            outcome, _rows = _play(job, "secrets_rotate", check=check)
            if not outcome.ok:
                report.failed(outcome, job.ui)
                job.ui.line("no key was dropped that is needed; secrets rotate goes on from here", always=True)
                return 1
        outcome, rows = _play(job, "secrets")
    problems = wrong(rows)
    ok = outcome.ok and not problems
    if job.ui.as_json:
        row = {"cluster": job.spec.cluster.name, "ok": ok, "problems": problems, "control_planes": rows}
        print(json.dumps(row))
    else:
        _show(rows, problems, job.ui)
    if not outcome.ok:
        report.failed(outcome, job.ui)
    return 0 if ok else 1


def _play(job: Job, name: str, *, check: bool = False) -> tuple[execute.Result, dict[str, Row]]:
    """Run a playbook; return its outcome and what the module answered last on each control plane, without a key."""
    rows: dict[str, Row] = {}

    def collect(result: execute.TaskResult) -> None:
        if result.action != MODULE or "known" not in result.answer:  # a task that returns a key is censored
            return
        kept = ("known", "writer", "newest", "in_use", "stored")
        rows[result.host] = {name: result.answer.get(name) for name in kept}
        for action in result.answer.get("actions", ()):
            job.ui.event("secrets", node=result.host, action=action)
            job.ui.line(f"      {result.host}: {action}")

    outcome = execute.playbook(
        f"kubesmith.cluster.{name}",
        inventory=job.inventory,
        state=job.state,
        ui=job.ui,
        check=check,
        kept_in="secrets",
        collect=collect,
    )
    return outcome, rows


def wrong(rows: Mapping[str, Row]) -> list[str]:
    """Return in words what is not as it should be; nothing for a finished rotation."""
    told = []
    for node, row in rows.items():
        if not row["in_use"]:
            told.append(f"{node}: the API server was not started with these keys, or is not ready")
        if len(row["known"]) > 1:
            told.append(f"{node}: has {len(row['known'])} keys: a rotation was not finished")
        for by, count in (row["stored"] or {}).items():
            if by != row["writer"]:
                what = "not encrypted" if by == "plain" else f"written by {by}"
                told.append(f"{node}: {count} object(s) in etcd are {what}")
    if len({tuple(key["digest"] for key in row["known"]) for row in rows.values()}) > 1:
        told.append("the control planes have different keys")
    return told


def _show(rows: Mapping[str, Row], problems: Sequence[str], ui: Ui) -> None:
    if rows and not ui.quiet:
        ui.console.print(table(rows))
    for text in problems:
        ui.line(Text(text, "red"), always=True)
    if problems and not ui.quiet:
        ui.line("python3 runner.py secrets rotate writes everything by a new key")


def table(rows: Mapping[str, Row]) -> Table:
    """Return a row for each control plane: its keys, the one that writes first, and what they wrote in etcd."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("Node", "Keys", "Writes", "In use", "In etcd"):
        made.add_column(title, overflow="fold")
    for node, row in rows.items():
        stored = ", ".join(f"{count} by {by}" for by, count in sorted((row["stored"] or {}).items()))
        keys = ", ".join(f"{key['name']} ({key['digest']})" for key in row["known"])
        made.add_row(*(Text(text) for text in (node, keys, row["writer"], "yes" if row["in_use"] else "no", stored)))
    return made
