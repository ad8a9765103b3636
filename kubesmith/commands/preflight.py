"""``preflight``: look at all nodes at once, change nothing, and say what is in the way."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.kubesmith.cluster.plugins.module_utils.survey_traces import pem_digest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kubesmith import execute
from kubesmith.errors import InputError
from kubesmith.job import Job, ssh_argv
from kubesmith.preflight import ERROR, Cluster, Finding, Node, judge, ordered
from kubesmith.ui import Ui

MODULE = "kubesmith.cluster.node_preflight"
COLOURS = {ERROR: "red"}
PLAIN_WIDTH = 160  # columns of the table where the output is no terminal


def run(job: Job) -> int:
    """Carry out the verb; return 1 if there is an error among the findings, else 0."""
    with job.alone():
        findings, nodes = look(job)
    if job.ui.as_json:
        facts = {node.name: node.facts for node in nodes}
        rows = [asdict(finding) for finding in findings]
        print(
            json.dumps({"cluster": job.spec.cluster.name, "ok": not errors(findings), "findings": rows, "nodes": facts})
        )
    else:
        show(findings, len(job.spec.machines()), job.ui)
    return 1 if errors(findings) else 0


def before_up(job: Job, only: Collection[str] = ()) -> None:
    """Look at the nodes, all or ``only`` some; show what was found, and raise InputError if ``up`` would fail.

    Nothing was touched by then.
    """
    findings, _nodes = look(job, only)
    job.ui.event("preflight", findings=[asdict(finding) for finding in findings])
    if findings and not job.ui.as_json:
        show(findings, len(only) or len(job.spec.machines()), job.ui)
    if count := len(errors(findings)):
        raise InputError(
            f"preflight found {count} error(s): the nodes were not touched",
            fix="mend them and run the same again; --skip-preflight goes on nevertheless",
        )


def look(job: Job, only: Collection[str] = ()) -> tuple[list[Finding], list[Node]]:
    """Return (findings, nodes that answered) of all nodes or ``only`` some; one that did not is a finding."""
    hosts = job.hosts()
    nodes: list[Node] = []

    def collect(result: execute.TaskResult) -> None:
        if result.action == MODULE:
            asked, answered = (datetime.fromisoformat(text).timestamp() for text in (result.start, result.end))
            nodes.append(Node(result.host, result.answer["preflight"], asked, answered))

    result = execute.playbook(
        "kubesmith.cluster.preflight",
        inventory=job.inventory,
        state=job.state,
        ui=job.ui,
        limit=",".join(only),
        kept_in="preflights",
        collect=collect,
    )
    order = [node.name for node in job.spec.machines()]
    nodes.sort(key=lambda node: order.index(node.name))
    silent = [_silent(failure, hosts.get(failure.host, {})) for failure in result.failures]
    found = ordered(silent + judge(nodes, cluster(job)), order)
    return [replace(finding, fix=job.ui.typed(finding.fix)) for finding in found], nodes


def _silent(failure: execute.Failure, variables: Mapping[str, Any]) -> Finding:
    """Return the finding for a node that gave no facts."""
    host = str(variables.get("ansible_host", failure.host))
    if host.endswith(".not-made.invalid"):
        fix = "python3 runner.py up --only nodes"
        return Finding(ERROR, failure.host, "machine", "it has not been made", "it runs and answers by SSH", fix)
    if failure.unreachable:
        seen, rule = failure.message.splitlines()[-1].rpartition("via ssh: ")[2], "it answers by SSH"
        fix = f"look whether it runs, and whether this works: {shlex.join(ssh_argv(dict(variables)))}"
        return Finding(ERROR, failure.host, "reached", seen, rule, fix)
    rule = "the module node_preflight runs there, as root, with Python 3.9 or newer"
    fix = "a password for sudo is the usual reason: set KUBESMITH_BECOME_PASSWORD, or run it on a terminal"
    return Finding(ERROR, failure.host, "looked at", failure.message or failure.detail, rule, fix)


def cluster(job: Job) -> Cluster:
    """Return what this machine knows of the cluster: its CA, out of the kubeconfig kept here, and the bundle."""
    planes = tuple(node.name for node in job.spec.machines() if node.role == "control-plane")
    spec = job.spec.cluster
    return Cluster(spec.name, spec.kubernetes, known_ca(job.kubeconfig), bundle(job.bundle), planes)


def known_ca(kubeconfig: Path) -> str:
    """Return the digest of a kubeconfig's CA, an empty string where there is none to read."""
    try:
        text = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["certificate-authority-data"]
        return str(pem_digest(base64.b64decode(text).decode()))
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
        return ""


def bundle(folder: Path) -> dict[str, Any]:
    """Return {digest, arch, kubernetes, mib} of a bundle, nothing where there is none."""
    try:
        made = json.loads((folder / "bundle.json").read_text())
    except (OSError, ValueError):
        return {}
    rows = [row for part in made["components"] for row in (*part["files"], *part["images"])]
    size = sum(int(row["size"]) for row in rows) >> 20
    return {"digest": made["digest"], "arch": made["arch"], "kubernetes": made["kubernetes"], "mib": size}


def errors(findings: Sequence[Finding]) -> list[Finding]:
    """Return the errors among findings."""
    return [finding for finding in findings if finding.severity == ERROR]


def show(findings: Sequence[Finding], nodes: int, ui: Ui) -> None:
    """Print the findings as one table, those that several nodes share on one line, and the count."""
    wrong = len(errors(findings))
    if findings:
        terminal = ui.console.is_terminal
        console = ui.console if terminal else Console(file=ui.console.file, width=PLAIN_WIDTH, highlight=False)
        console.print(table(findings))
    words = f"{nodes} node(s): {wrong} error(s), {len(findings) - wrong} warning(s)"
    ui.line(Text(words, "red" if wrong else "yellow" if findings else "green"), always=bool(wrong))


def table(findings: Sequence[Finding]) -> Table:
    """Return the findings as a table for people."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title, share in (("", None), ("Node", 2), ("What", 2), ("Seen", 4), ("Rule", 3), ("Fix", 5)):
        made.add_column(title, ratio=share, overflow="fold", no_wrap=share is None)
    for nodes, finding in merged(findings):
        mark = Text(finding.severity, COLOURS.get(finding.severity, "yellow"))
        made.add_row(mark, nodes, finding.what, finding.seen, finding.rule, finding.fix)
    return made


def merged(findings: Sequence[Finding]) -> list[tuple[str, Finding]]:
    """Return (nodes, finding) with equal findings of several nodes as one."""
    rows: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        rows.setdefault((finding.severity, finding.what, finding.seen, finding.rule, finding.fix), []).append(finding)
    return [(", ".join(row.node for row in same), same[0]) for same in rows.values()]
