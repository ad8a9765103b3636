"""``cis``: the controls of the CIS Kubernetes Benchmark, evaluated on the running cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

from rich.table import Table
from rich.text import Text

from kubesmith import execute, report
from kubesmith.cis import evaluate
from kubesmith.cis.evaluate import Node, Row
from kubesmith.errors import InputError, KubesmithError
from kubesmith.job import Job
from kubesmith.ui import Ui

MODULE = "kubesmith.cluster.node_security"
WORDS = {"pass": "pass", "fail": "FAIL", "manual": "manual", "na": "n/a"}
STYLES = {"pass": "green", "fail": "bold red", "manual": "yellow", "na": "dim"}
NAMED = 3  # places of a finding that are told in the table


def run(job: Job, *, junit: Path | None = None) -> int:
    """Carry out the verb; return 0, or 1 if an automated control fails or a node could not be read."""
    job.require_machines()
    if junit is not None and not junit.absolute().parent.is_dir():
        raise InputError(
            f"no folder {junit.absolute().parent} to write {junit.name} into", fix="make it, or name another"
        )
    outcome, rows = look(job)
    failed = [row for row in rows if row.status == "fail"]
    if junit is not None:
        write_junit(rows, junit)
    if job.ui.as_json:
        print(json.dumps(as_data(job.spec.cluster.name, rows, ok=outcome.ok and not failed)))
    else:
        show(rows, job.ui)
    if not outcome.ok:
        report.failed(outcome, job.ui)
    return 0 if outcome.ok and not failed else 1


def look(job: Job) -> tuple[execute.Result, list[Row]]:
    """Read all nodes and evaluate the controls; raise KubesmithError where no control plane could be read."""
    states: dict[str, Mapping[str, Any]] = {}

    def collect(result: execute.TaskResult) -> None:
        if result.action == MODULE:
            states[result.host] = result.answer

    outcome = execute.playbook(
        "kubesmith.cluster.cis",
        inventory=job.inventory,
        state=job.state,
        ui=job.ui,
        variables={"cis_patterns": evaluate.patterns()},
        kept_in="cis",
        collect=collect,
    )
    roles = {node.name: node.role for node in job.spec.machines()}
    found = nodes(states, roles)
    if not any(node.control_plane for node in found):
        report.failed(outcome, job.ui)
        raise KubesmithError("no control plane could be read", fix="python3 runner.py status")
    return outcome, evaluate.evaluate(found)


def nodes(states: Mapping[str, Mapping[str, Any]], roles: Mapping[str, str]) -> list[Node]:
    """Return what the evaluators work on, control planes first; ``states`` are the module's answers by node."""
    asked = [answer["cluster"] for answer in states.values() if "cluster" in answer]
    cluster: Mapping[str, Any] = asked[0] if asked else {"error": "not asked"}
    kubelets: Mapping[str, Any] = cluster.get("kubelets", {})
    made = [
        Node(name, roles.get(name) == "control-plane", answer["node"], kubelets.get(name), cluster)
        for name, answer in states.items()
    ]
    return sorted(made, key=lambda node: (not node.control_plane, node.name))


def as_data(cluster: str, rows: Sequence[Row], *, ok: bool) -> dict[str, Any]:
    """Return the whole answer for --json."""
    return {
        "cluster": cluster,
        "benchmark": evaluate.BENCHMARK,
        "ok": ok,
        "counts": counts(rows),
        "controls": [
            {
                "id": row.control.id,
                "title": row.control.title,
                "automated": not row.control.manual,
                "status": row.status,
                "exception": row.control.exception if row.status in ("fail", "manual") else "",
                "findings": [vars(finding) for finding in row.findings],
            }
            for row in rows
        ],
    }


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """Return how many controls have each status."""
    return {status: sum(row.status == status for row in rows) for status in evaluate.STATUSES}


def show(rows: Sequence[Row], ui: Ui) -> None:
    """Print the table, then the exceptions with their reasons, and how many passed; of a quiet run what failed."""
    shown = [row for row in rows if row.status == "fail" or not ui.quiet]
    if shown:
        ui.console.print(table(shown))
    excepted = [row for row in rows if row.control.exception and row.status in ("fail", "manual")]
    if excepted and not ui.quiet:
        ui.line(Text("\nOtherwise on purpose", "bold"))
        for row in excepted:
            ui.line(f"{row.control.id:<7} {row.control.exception}")
        ui.line("")
    number = counts(rows)
    words = f"{evaluate.BENCHMARK}: {number['pass']} passed, {number['fail']} failed, "
    words += f"{number['manual']} for a person to judge, {number['na']} not applicable"
    ui.line(Text(words, "red" if number["fail"] else "green"), always=bool(number["fail"]))


def table(rows: Sequence[Row]) -> Table:
    """Return the rows as a table for people: equal evidence of several nodes is told once."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("Control", "Status", "What", "Seen"):
        made.add_column(title, overflow="fold", no_wrap=title in ("Control", "Status"))
    for row in rows:
        made.add_row(
            row.control.id,
            Text(WORDS[row.status], STYLES[row.status]),
            Text(row.control.title),
            Text(seen(row)),
        )
    return made


def seen(row: Row) -> str:
    """Return the evidence of a row in words: of the places that decided it, each text once with its places."""
    places: dict[str, list[str]] = {}
    for finding in row.findings:
        if finding.status == row.status:
            places.setdefault(finding.evidence, []).append(finding.place)
    return "; ".join(
        text if names == ["cluster"] else f"{evaluate.some(names, NAMED)}: {text}" for text, names in places.items()
    )


def write_junit(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as JUnit XML: a manual control that does not pass by itself is skipped, not failed."""
    number = counts(rows)
    suite = Xml.Element("testsuite", name=evaluate.BENCHMARK, tests=str(len(rows)), failures=str(number["fail"]))
    suite.set("skipped", str(number["manual"] + number["na"]))
    for row in rows:
        case = Xml.SubElement(suite, "testcase", classname=f"cis.{row.control.id}", name=row.control.title)
        if row.status == "fail":
            Xml.SubElement(case, "failure", message=seen(row))
        elif row.status != "pass":
            Xml.SubElement(case, "skipped", message=f"{WORDS[row.status]}: {row.control.exception or seen(row)}")
    text = Xml.tostring(suite, encoding="unicode", xml_declaration=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(text + "\n")
    part.replace(path)
