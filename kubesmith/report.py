"""What a run leaves: a summary on the terminal, and the same as JSON in the report folder."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from kubesmith import html, kube, paths
from kubesmith.errors import KubesmithError
from kubesmith.execute import HostCount, Result
from kubesmith.job import Job
from kubesmith.ui import PhaseTime, Ui
from kubesmith.verify import calendar
from kubesmith.verify.verdict import Verdict

HERE = "this machine"  # where the wrapper runs, in the certificates' calendar


@dataclass(frozen=True)
class NodeRow:
    """One node as the API server describes it."""

    name: str
    role: str
    ready: str
    address: str
    kubelet: str
    runtime: str
    system: str


@dataclass(frozen=True)
class Report:
    """Everything that is known at the end of a run. Times are in seconds."""

    cluster: str
    nodes: Sequence[NodeRow]
    phases: Sequence[PhaseTime]
    tasks: dict[str, HostCount]
    checks: dict[str, int] = field(default_factory=dict)
    kubeconfig: str = ""
    bundle: str = ""
    components: Sequence[Mapping[str, Any]] = ()
    certificates: Sequence[Mapping[str, Any]] = ()
    failure: Mapping[str, Any] = field(default_factory=dict)  # a digest (kubesmith/digest.py), as data

    @property
    def seconds(self) -> float:
        """Return how long the run took, from its first phase to the end of its last."""
        return max((phase.start + phase.seconds for phase in self.phases), default=0.0)


def folder(state: Path) -> Path:
    """Make a new folder for a run's reports and point ``reports/latest`` at it."""
    reports = paths.make_private(state / "reports")
    made = paths.make_private(reports / time.strftime("%Y%m%dT%H%M%S"))
    link = reports / "latest.new"
    link.unlink(missing_ok=True)
    link.symlink_to(made.name)
    link.replace(reports / "latest")
    return made


def nodes(kubeconfig: Path) -> list[NodeRow]:
    """Ask the API server for its nodes."""
    return rows(kube.get(kubeconfig, ["nodes"])["items"])


def rows(items: Iterable[dict[str, Any]]) -> list[NodeRow]:
    """Return the rows of the nodes in ``items``."""
    return [_row(node) for node in items]


def _row(node: dict[str, Any]) -> NodeRow:
    meta, status = node["metadata"], node["status"]
    control_plane = "node-role.kubernetes.io/control-plane" in meta.get("labels", {})
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions", [])}
    addresses = [row["address"] for row in status.get("addresses", []) if row["type"] == "InternalIP"]
    info = status["nodeInfo"]
    return NodeRow(
        name=meta["name"],
        role="control plane" if control_plane else "worker",
        ready={"True": "Ready", "False": "NotReady"}.get(conditions.get("Ready", ""), "Unknown"),
        address=addresses[0] if addresses else "",
        kubelet=info["kubeletVersion"],
        runtime=info["containerRuntimeVersion"],
        system=info["osImage"],
    )


def node_table(rows: Sequence[NodeRow]) -> Table:
    """Return the nodes as a table for people."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("Node", "Role", "State", "Address", "Kubelet", "Runtime"):
        table.add_column(title, no_wrap=True)
    for row in rows:
        state = Text(row.ready, "green" if row.ready == "Ready" else "red")
        table.add_row(row.name, row.role, state, row.address, row.kubelet, row.runtime)
    return table


def components(folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """Return the digest of the bundle in ``folder`` and its components: version, source, the digest of each part."""
    file = folder / "bundle.json"
    if not file.exists():
        return "", []
    bundle = json.loads(file.read_text())
    rows = [
        {
            "name": row["name"],
            "version": row["version"],
            "source": row["source"].get("module") or row["source"]["type"],
            "digests": {part["path"]: f"sha256:{part['sha256']}" for part in row["files"]}
            | {image["ref"]: image["digest"] for image in row["images"]},
        }
        for row in bundle["components"]
    ]
    return bundle["digest"], rows


def of(
    job: Job,
    *,
    tasks: Mapping[str, HostCount] | None = None,
    verdict: Verdict | None = None,
    failure: Mapping[str, Any] | None = None,
) -> Report:
    """Return the report of the run that ends now: what it did, and the cluster as the API server describes it.

    Without an answer the nodes are those of the cluster file, in the state Unknown.
    """
    try:
        rows = nodes(job.kubeconfig)
    except KubesmithError:
        rows = _expected(job)
    digest, parts = components(job.bundle)
    counts = {kind: len(getattr(verdict, kind)) for kind in ("passed", "failed", "skipped")} if verdict else {}
    ours = calendar.rows({HERE: {str(job.kubeconfig): kube.client_certificate(job.kubeconfig)}})
    return Report(
        cluster=job.spec.cluster.name,
        nodes=rows,
        phases=tuple(job.ui.times),
        tasks=dict(tasks or {}),
        checks=counts,
        kubeconfig=str(job.kubeconfig),
        bundle=digest,
        components=parts,
        certificates=[*(verdict.certificates if verdict else ()), *ours],
        failure=dict(failure or {}),
    )


def _expected(job: Job) -> list[NodeRow]:
    hosts = job.hosts()
    return [
        NodeRow(
            name=node.name,
            role=node.role.replace("-", " "),
            ready="Unknown",
            address=str(hosts[node.name].get("kubesmith_node_address", "")),
            **dict.fromkeys(("kubelet", "runtime", "system"), ""),
        )
        for node in job.spec.machines()
    ]


def write(report: Report, target: Path) -> None:
    """Write ``report.json`` and ``report.html``, with the checks of verify.json beside it, mode 0600."""
    data = asdict(report) | {"schema": 1, "seconds": round(report.seconds, 3)}
    _private(target / "report.json", json.dumps(data, indent=2) + "\n")
    found = target / "verify.json"
    verdict = json.loads(found.read_text()) if found.exists() else {}
    checks = [row for kind in ("failed", "passed", "skipped") for row in verdict.get(kind, [])]
    _private(target / "report.html", html.render(data, checks, when=time.strftime("%Y-%m-%d %H:%M")))


def _private(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)


def show(report: Report, target: Path, ui: Ui, job: Job) -> None:
    """Print the summary: nodes, checks, where things are, and the next command to type."""
    changed = {host: count.changed for host, count in report.tasks.items() if host != "localhost"}
    ui.event("summary", **asdict(report), report=str(target))
    if ui.as_json or ui.quiet:
        return
    ui.line("", always=True)
    ui.console.print(node_table(report.nodes))
    ui.line("", always=True)
    for label, value in (
        ("Changed", ", ".join(f"{host} {count}" for host, count in sorted(changed.items()))),
        ("Checks", ", ".join(f"{count} {kind}" for kind, count in report.checks.items())),
        ("Time", f"{report.seconds:.1f} s"),
        ("Kubeconfig", report.kubeconfig),
        ("Report", str(target / "report.html")),
    ):
        if value:
            ui.console.print(Text.assemble((f"{label:<11}", "bold"), value), soft_wrap=True)
    where = "" if job.file == paths.inventories() / "lab" / "cluster.yml" else f" --inventory {job.file}"
    ui.console.print(
        Text.assemble(("Next       ", "bold"), f"python3 runner.py kubectl{where} get pods -A -o wide"), soft_wrap=True
    )


def failed(result: Result, ui: Ui) -> None:
    """Print each failure of a run: host, task, message; then where to read more."""
    for failure in result.failures:
        what = "cannot be reached" if failure.unreachable else f"failed at: {failure.task}"
        ui.event("failure", **asdict(failure))
        ui.console.print(Text.assemble((f"{failure.host} ", "bold red"), what))
        ui.console.print(Text("  " + failure.message.replace("\n", "\n  ")), soft_wrap=True)
        if failure.detail and (ui.verbosity or failure.detail not in failure.message):
            ui.console.print(Text("  " + failure.detail[-1500:].replace("\n", "\n  "), "dim"), soft_wrap=True)
    ui.console.print(Text(f"Log: {result.log}"), soft_wrap=True)
