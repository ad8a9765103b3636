"""``status``: machines, and what each part of the cluster does on each node; once, or watched."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kubesmith import kube, parts, report
from kubesmith.errors import KubesmithError
from kubesmith.job import Job, ssh_argv
from kubesmith.parts import AVAILABLE, DEGRADED, PROGRESSING, Part
from kubesmith.providers.base import MachineStatus

COLOURS = {"running": "green", "listed": "default", "stopped": "yellow", "absent": "red"}
STATES = {AVAILABLE: "green", PROGRESSING: "yellow", DEGRADED: "red"}
KINDS = "nodes,pods,deployments"
INTERVAL = 2.0
MOST = 12  # nodes of which every part is shown; of a larger cluster only the parts that are not available


@dataclass(frozen=True)
class Status:
    """What was seen at one time."""

    machines: Sequence[MachineStatus]
    nodes: Sequence[report.NodeRow] = ()
    parts: Sequence[Part] = ()
    sick: Sequence[str] = ()
    trouble: str = ""
    at: str = field(default_factory=lambda: parts.now().isoformat(timespec="seconds"))

    @property
    def good(self) -> bool:
        """Tell whether all is as it should be."""
        machines = all(machine.state in ("running", "listed") for machine in self.machines)
        ready = bool(self.nodes) and all(node.ready == "Ready" for node in self.nodes)
        up = all(part.state == AVAILABLE for part in self.parts)
        return machines and ready and up and not self.sick and not self.trouble


def run(job: Job, *, watch: bool = False) -> int:
    """Show machines, nodes, parts and pods that do not run; return 0 if all is as it should be, else 1."""
    if watch:
        return _watch(job)
    seen = look(job)
    if job.ui.as_json:
        print(json.dumps(data(job, seen)))
    else:
        job.ui.console.print(screen(seen))
    return 0 if seen.good else 1


def look(job: Job) -> Status:
    """Ask the provider for the machines and the API server for all else."""
    machines = job.provider().status()
    planes = [node.name for node in job.spec.machines() if node.role == "control-plane"]
    workers = [node.name for node in job.spec.machines() if node.role != "control-plane"]
    try:
        items = kube.get(job.kubeconfig, [KINDS, "--all-namespaces"])["items"]
    except (KubesmithError, subprocess.TimeoutExpired) as error:
        fix = job.ui.typed(error.fix) if isinstance(error, KubesmithError) and not job.kubeconfig.exists() else ""
        trouble = f"the API server does not answer: {error}{f'; {fix}' if fix else ''}"
        rows = parts.silent(planes, workers, _processes(job), "it does not answer") if job.kubeconfig.exists() else []
        return Status(machines, parts=rows, trouble=trouble)
    nodes = report.rows(item for item in items if item["kind"] == "Node")
    sick = [
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']} {pod['status'].get('phase', 'Unknown')}"
        for pod in items
        if pod["kind"] == "Pod" and pod["status"].get("phase") not in ("Running", "Succeeded")
    ]
    return Status(machines, nodes, parts.parts(items, planes, workers, parts.now()), sick)


#: Prints {process: since when} of a cluster's programs, the kubelet only if it is healthy. Needs no root.
PROCESSES = """
import json, os, pathlib, time, urllib.request
names, found, tick = set(NAMES), {}, os.sysconf("SC_CLK_TCK")
booted = time.time() - float(pathlib.Path("/proc/uptime").read_text().split()[0])
for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
    try:
        name, _bracket, rest = path.read_text().partition("(")[2].rpartition(")")
    except OSError:
        continue
    if name in names:
        began = booted + int(rest.split()[19]) / tick
        found[name] = min(found.get(name, "9"), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)))
try:
    urllib.request.urlopen("http://127.0.0.1:10248/healthz", timeout=3)
except OSError:
    found.pop("kubelet", None)
print(json.dumps(found))
"""


def _processes(job: Job) -> dict[str, dict[str, str]]:
    """Ask every node by SSH which programs of the cluster run, and since when; who does not answer is left out."""
    script = PROCESSES.replace("NAMES", repr(sorted(parts.PROCESSES.values())))

    def ask(item: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, str]] | None:
        argv = ssh_argv(item[1])
        command = [argv[0], "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", *argv[1:], "python3 -"]
        try:
            done = subprocess.run(command, input=script, capture_output=True, text=True, check=False, timeout=15)
            return (item[0], json.loads(done.stdout)) if done.returncode == 0 else None
        except (subprocess.TimeoutExpired, ValueError):
            return None

    with ThreadPoolExecutor(max_workers=16) as pool:
        return dict(found for found in pool.map(ask, job.hosts().items()) if found)


def data(job: Job, seen: Status) -> dict[str, object]:
    """Return what was seen, for programs."""
    return {
        "cluster": job.spec.cluster.name,
        "ok": seen.good,
        "at": seen.at,
        "machines": [asdict(machine) for machine in seen.machines],
        "nodes": [asdict(node) for node in seen.nodes],
        "parts": [asdict(part) for part in seen.parts],
        "pods_not_running": list(seen.sick),
        "trouble": seen.trouble,
    }


def screen(seen: Status) -> Group:
    """Return what was seen, for people."""
    shown: list[RenderableType] = []
    if not seen.nodes or any(machine.state not in ("running", "listed") for machine in seen.machines):
        shown += [_machines(seen.machines), ""]
    if seen.nodes:
        shown += [report.node_table(seen.nodes), ""]
    shown += _parts(seen.parts) if seen.parts else []
    shown += [Text(f"not running: {pod}", "red") for pod in seen.sick]
    if seen.trouble:
        shown.append(Text(seen.trouble, "yellow"))
    return Group(*shown)


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in titles:
        table.add_column(title)
    return table


def _machines(machines: Sequence[MachineStatus]) -> Table:
    table = _table("Machine", "State", "Detail")
    for machine in machines:
        table.add_row(machine.name, Text(machine.state, COLOURS.get(machine.state, "red")), machine.detail)
    return table


def _parts(rows: Sequence[Part]) -> list[RenderableType]:
    whole = len({part.node for part in rows}) <= MOST + 1
    listed = [part for part in rows if whole or part.state != AVAILABLE]
    hidden = len(rows) - len(listed)
    table = _table("Node", "Part", "State", "Since", "Why")
    now, before = parts.now(), ""
    for part in listed:
        name = part.node if part.node != before else ""
        table.add_row(name, part.name, Text(part.state, STATES[part.state]), parts.ago(part.since, now), part.why)
        before = part.node
    rest: list[RenderableType] = [Text(f"{hidden} more parts are available", "green")] if hidden else []
    return ([table] if listed else []) + rest


def _watch(job: Job) -> int:
    """Show the screen anew until ^C; where there is no terminal, a line (or with --json a row) for each change."""
    if job.ui.live:
        with Live(console=job.ui.console, auto_refresh=False, screen=True) as live:
            while True:
                seen = look(job)
                live.update(Group(screen(seen), Text(f"\n{seen.at}  ^C ends", "dim")), refresh=True)
                time.sleep(INTERVAL)
    before: dict[str, str] = {}
    while True:
        seen = look(job)
        states = _states(seen)
        changed = {what: state for what, state in states.items() if before.get(what) != state}
        if job.ui.as_json and changed:
            print(json.dumps(data(job, seen)), flush=True)
        for what, state in changed.items() if before else ():
            job.ui.line(f"{seen.at}  {what}: {before.get(what, 'unknown')} → {state}", always=True)
        if not before and not job.ui.as_json:
            job.ui.console.print(screen(seen))
        before |= states
        time.sleep(INTERVAL)


def _states(seen: Status) -> dict[str, str]:
    found = {f"machine {machine.name}": machine.state for machine in seen.machines}
    found["API server"] = seen.trouble or "answers"
    return found | {f"{part.node} {part.name}": f"{part.state} {part.why}".strip() for part in seen.parts}
