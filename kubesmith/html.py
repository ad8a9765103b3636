"""The report as one self-contained HTML page, drawn from the same data as report.json and verify.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

SOON = 30  # days left that are a warning: kubeadm's certificates live a year
CLUSTER = "cluster"  # the column of checks that belong to no single node


def render(report: Mapping[str, Any], checks: Sequence[Mapping[str, Any]], *, when: str) -> str:
    """Return the page.

    ``report`` is report.json's content; ``checks`` are rows of verify.json (kubesmith.verify.verdict.Check); ``when``
    is the run's time for people.
    """
    environment = Environment(loader=PackageLoader("kubesmith"), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    nodes = report["nodes"]
    planes = [node for node in nodes if node["role"] == "control plane"]
    workers = [node for node in nodes if node["role"] != "control plane"]
    return environment.get_template("report.html.j2").render(
        report=report,
        when=when,
        checks=checks,
        failed=[row for row in checks if row["outcome"] == "failed"],
        passed=sum(row["outcome"] == "passed" for row in checks),
        groups=[group for group in (planes, workers) if group],
        span=max(float(report["seconds"]), 0.001),
        calendar=_by_node(report["certificates"]),
        soon=SOON,
        columns=_columns(checks, [node["name"] for node in nodes]),
        matrix=_matrix(checks),
    )


def _columns(checks: Sequence[Mapping[str, Any]], order: Sequence[str]) -> list[str]:
    """Return the nodes that have checks: those of ``order`` first, the cluster's own column last."""
    names = {row["node"] for row in checks}
    known = [name for name in order if name in names]
    return known + sorted(names - {*known, CLUSTER}) + [CLUSTER] * (CLUSTER in names)


def _by_node(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["node"], []).append(row)
    return found


def _matrix(checks: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, dict[str, str]]]:
    """Return each check's number and sentence with its outcome by node: failed if any of the node's targets failed."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for row in sorted(checks, key=lambda check: check["outcome"] == "failed"):
        outcome = row["outcome"] if row["outcome"] != "skipped" else f"skipped: {row['seen']}"
        rows.setdefault((row["check"], row["sentence"]), {})[row["node"]] = outcome
    return [(number, sentence, cells) for (number, sentence), cells in sorted(rows.items(), key=_by_number)]


def _by_number(row: tuple[tuple[str, str], dict[str, str]]) -> tuple[str, int, str]:
    number, sentence = row[0]
    digits = "".join(letter for letter in number if letter.isdigit())
    return number[:1], int(digits or 0), sentence
