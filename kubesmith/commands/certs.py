"""``certs``: when every certificate of the cluster ends, whether it is in use, and new ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from kubesmith import execute, kube, report
from kubesmith.backups import make
from kubesmith.errors import InputError
from kubesmith.job import Job
from kubesmith.ui import Ui
from kubesmith.verify import calendar, certificates

LOOK = "kubesmith.cluster.node_certificates"
RENEW = "kubesmith.cluster.certificates_renew"
HERE = "this machine"
USE = {True: "yes", False: "no", None: "-"}
Row = dict[str, Any]


def run(job: Job, action: str | None, *, within: float, check: bool = False) -> int:
    """Carry out ``certs`` or ``certs renew``; return 0, or 1 if one ends within so many days or is not in use."""
    if check and action is None:
        raise InputError("--check says nothing to certs, which changes nothing anyway", fix="leave it out")
    job.require_machines()
    with job.alone():
        if action == "renew":
            if not check:
                make.before(job, "the renewal of certificates", vital=False)
            outcome, done = _play(job, "certs_renew", RENEW, "actions", check=check)
            _tell(done, job.ui)
            if not outcome.ok:
                report.failed(outcome, job.ui)
                return 1
            if check:
                return 0
        outcome, found = _play(job, "certs", LOOK, "certificates")
    rows = table_rows(found, {str(job.kubeconfig): kube.client_certificate(job.kubeconfig)})
    bad = [row for row in rows if wrong(row, within)]
    ok = outcome.ok and not bad
    if job.ui.as_json:
        print(json.dumps({"cluster": job.spec.cluster.name, "ok": ok, "within": within, "certificates": rows}))
    else:
        _show(rows, within, job.ui)
    if not outcome.ok:
        report.failed(outcome, job.ui)
    return 0 if ok else 1


def _play(
    job: Job, name: str, module: str, key: str, *, check: bool = False
) -> tuple[execute.Result, dict[str, Sequence[Any]]]:
    """Run a playbook; return its outcome and what ``module`` answered under ``key``, by node."""
    found: dict[str, Sequence[Any]] = {}

    def collect(result: execute.TaskResult) -> None:
        if result.action == module:
            found[result.host] = result.answer[key]

    outcome = execute.playbook(
        f"kubesmith.cluster.{name}",
        inventory=job.inventory,
        state=job.state,
        ui=job.ui,
        check=check,
        kept_in="certs",
        collect=collect,
    )
    return outcome, found


def _tell(done: Mapping[str, Sequence[str]], ui: Ui) -> None:
    for host, actions in done.items():
        ui.event("renewed", node=host, actions=list(actions))
        ui.line(f"{host}: {', '.join(actions) or 'nothing to renew'}")


def table_rows(found: Mapping[str, Sequence[Mapping[str, Any]]], own: Mapping[str, str]) -> list[Row]:
    """Return a row for each certificate on the nodes and each kubeconfig kept here, with what tells of its use.

    ``current`` is None for a certificate that no program of a node holds. ``served_ends`` is when the certificate ends
    that the program shows, if that can be seen.
    """
    known = {node: {row["path"]: row for row in rows} for node, rows in found.items()}
    made: list[Row] = []
    for row in calendar.rows({node: {path: r["pem"] for path, r in rows.items()} for node, rows in known.items()}):
        more = known[row["node"]][row["path"]]
        served = certificates.parse(more["served"]) if more["served"] else None
        made.append(
            row
            | {
                "serial": format(certificates.parse(more["pem"]).serial_number, "x"),
                "process": more["user"],
                "current": more["current"],
                "served_serial": format(served.serial_number, "x") if served else None,
                "served_ends": served.not_valid_after_utc.isoformat(timespec="seconds") if served else None,
            }
        )
    for row in calendar.rows({HERE: own}):
        serial = format(certificates.parse(own[row["path"]]).serial_number, "x")
        made.append(
            row | {"serial": serial, "process": "", "current": None, "served_serial": None, "served_ends": None}
        )
    return made


def wrong(row: Mapping[str, Any], within: float) -> bool:
    """Tell whether a certificate, or the one shown in its place, ends within so many days, or is not in use."""
    ends = [row["ends"], *([row["served_ends"]] if row["served_ends"] else [])]
    return row["current"] is False or any(_left(end) < within * 86400 for end in ends)


def _left(ends: str) -> float:
    return (datetime.fromisoformat(ends) - datetime.now(UTC)).total_seconds()


def left(ends: str) -> str:
    """Return how long it is until then, in days, below two in hours and minutes."""
    seconds = _left(ends)
    if seconds < 0:
        return "ended"
    if seconds >= 2 * 86400:
        return f"{seconds // 86400:.0f} d"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


def _show(rows: Sequence[Row], within: float, ui: Ui) -> None:
    """Print the table, and a line for each row that is not as it should be."""
    bad = [row for row in rows if wrong(row, within)]
    if not ui.quiet:
        ui.console.print(table(rows, within))
    for row in bad:
        ui.line(Text(f"{row['node']}: {row['path']}: {reason(row, within)}", "red"), always=True)
    words = f"{len(rows)} certificates and kubeconfigs, {len(bad)} that want attention"
    ui.line(Text(words, "red" if bad else "green"), always=bool(bad))


def reason(row: Mapping[str, Any], within: float) -> str:
    """Return in words what is wrong with a row."""
    who = row["process"]
    if row["current"] is False and row["served_serial"]:
        return f"{who} still shows another one, number {row['served_serial']}, that ends {row['served_ends']}"
    if row["current"] is False:
        return f"{who} does not work with it: it does not answer, or started before the file was written"
    return f"ends {row['ends']}: {left(row['ends'])} left, and {within:g} days is the least"


def table(rows: Sequence[Row], within: float) -> Table:
    """Return the rows as a table for people."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("Node", "File", "Kind", "Subject", "Ends", "Left", "Process", "In use"):
        made.add_column(title, overflow="fold")
    for row in rows:
        style = "red" if wrong(row, within) else ""
        words = [row[key] for key in ("node", "path", "kind", "subject")]
        words += [row["ends"][:10], left(row["ends"]), row["process"], USE[row["current"]]]
        made.add_row(*(Text(str(word)) for word in words), style=style)
    return made
