"""``plan``: what ``up`` would change, node by node, and how long that took before. Changes nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from rich.text import Text

from kubesmith import adopt, execute, report
from kubesmith.backups import make
from kubesmith.bundle import load, source
from kubesmith.commands import bundle as bundles
from kubesmith.errors import KubesmithError
from kubesmith.job import Job
from kubesmith.plan import CONTROLLER, MACHINE, Change, Estimate, Notice, changes, estimate, notices, parts
from kubesmith.providers.existing import ExistingProvider
from kubesmith.running import refuse_other_version, refuse_without_workers
from kubesmith.ui import Ui

Words = tuple[str, str, tuple[str, ...]]
EXIT_CHANGES = 10
READY = ("running", "listed")
UNASKED = "not asked: what it lacks depends on the bundle, which is not there yet (bundle build)"
LINES = 16  # of a text's difference; --json and -v have all of them


def run(job: Job, *, exit_code: bool = False) -> int:
    """Show the plan; return 0, with ``exit_code`` 10 if something would change, and 1 if a node could not be asked.

    InputError names each machine of provider ssh that does not let us in, and a bundle's file that is not there.
    """
    refuse_without_workers(job)
    refuse_other_version(job)
    provider = job.provider()
    if isinstance(provider, ExistingProvider):
        provider.check()
    with job.alone():
        absent = _machines(job)
        bundle = _bundle(job.bundle)
        missing = [] if bundle else [Change(CONTROLLER, "program", _bundle_wanted(job))]
        ready = [node.name for node in job.spec.machines() if node.name not in {change.node for change in absent}]
        results: list[execute.TaskResult] = []
        if ready and bundle:
            limit = ",".join(["localhost", *ready]) if absent else ""
            outcome = execute.playbook(
                "kubesmith.cluster.site",
                inventory=job.inventory,
                state=job.state,
                ui=job.ui,
                check=True,
                limit=limit,
                variables=make.site_variables(job, only_look=True),
                kept_in="plans",
                collect=results.append,
            )
            if not outcome.ok:
                report.failed(outcome, job.ui)
                return 1
    found = in_order([*missing, *absent, *changes(results, parts(bundle))], job)
    expected = estimate(results, history(job.state)) if found and not absent and not missing else None
    differs = [*notices(results, job.spec.adopted, parts(bundle)), *_drift(job, results)]
    differs += [Notice(name, UNASKED) for name in ready if not bundle]
    _tell(job, found, differs, expected)
    return EXIT_CHANGES if exit_code and found else 0


def in_order(found: Sequence[Change], job: Job) -> list[Change]:
    """Return changes in the cluster file's order of nodes: two plans of one state are the same to the letter."""
    names = [CONTROLLER, *(node.name for node in job.spec.machines())]
    return sorted(found, key=lambda change: names.index(change.node) if change.node in names else len(names))


def _drift(job: Job, results: Sequence[execute.TaskResult]) -> list[Notice]:
    """Return where a cluster that other hands built is not as the cluster file says; up does not change that."""
    foreign = any(result.answer.get("ansible_facts", {}).get("kubesmith", {}).get("foreign") for result in results)
    return adopt.differences(job.spec, adopt.look(job.kubeconfig)) if foreign and job.kubeconfig.exists() else []


def _machines(job: Job) -> list[Change]:
    """Return what ``up`` does for machines that cannot be asked: those that do not run, or do not exist."""
    found = []
    for machine in job.provider().status():
        if machine.state == "absent":
            role = next((node.role for node in job.spec.machines() if node.name == machine.name), "worker")
            last = "initialise the control plane" if role == "control-plane" else "join the cluster"
            found.append(Change(machine.name, MACHINE, "create the machine"))
            found.append(Change(machine.name, MACHINE, f"install containerd, kubelet and the images, and {last}"))
        elif machine.state not in READY:
            found.append(Change(machine.name, MACHINE, f"start the machine ({machine.state}), then see what it lacks"))
    return found


def _bundle_wanted(job: Job) -> str:
    """Return what ``up`` does to have the bundle that is not there; InputError for a file that is not there either."""
    wanted = bundles.wanted(job)
    if wanted.source != "file":
        return "build the bundle"
    choice = source.choose(wanted)
    return f"import the bundle {wanted.file}" if choice.kind == "file" else "use the bundle that was imported"


def _bundle(folder: Path) -> dict[str, Any]:
    """Return the bundle's description, nothing where there is none that can be used."""
    try:
        load(folder)
        made: dict[str, Any] = json.loads((folder / "bundle.json").read_text())
    except (OSError, ValueError, KubesmithError):
        return {}
    return made


def history(state: Path) -> list[list[dict[str, Any]]]:
    """Return the tasks of earlier runs that changed nodes, the oldest first; a damaged row is left out."""
    return [_rows(file) for file in sorted(state.glob("runs/*/tasks.jsonl"))]


def _rows(file: Path) -> list[dict[str, Any]]:
    rows = []
    for line in file.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue  # cut off by a kill
    return rows


def verify_seconds(state: Path) -> float | None:
    """Return the median time that ``verify`` took at the end of earlier runs, None if it never ran."""
    times = []
    for file in state.glob("reports/*/report.json"):
        phases = json.loads(file.read_text()).get("phases", ())
        times += [float(phase["seconds"]) for phase in phases if phase["name"] == "verify" and phase["ok"]]
    return median(times) if times else None


def _tell(job: Job, found: Sequence[Change], differs: Sequence[Notice], expected: Estimate | None) -> None:
    checked = verify_seconds(job.state)
    if job.ui.as_json:
        rows = {
            "cluster": job.spec.cluster.name,
            "changes": [asdict(change) for change in found],
            "notices": [asdict(notice) for notice in differs],
            "estimate": asdict(expected) if expected else None,
            "verify_seconds": checked,
        }
        print(json.dumps(rows))
        return
    show(found, differs, [node.name for node in job.spec.machines()], job.ui)
    if found:
        _print(f"Time: {duration(expected, checked)}", job.ui)


def duration(expected: Estimate | None, checked: float | None) -> str:
    """Return in words how long the changes and the verification will take."""
    if expected is None:
        return "no earlier run to learn from"
    text = f"about {expected.seconds:.0f} s"
    if expected.unknown:
        text = f"{expected.seconds:.0f} s and more (no earlier run of: {', '.join(expected.unknown)})"
    return (
        text
        + (f", then {checked:.0f} s to verify" if checked else "")
        + f" (medians of {expected.runs} earlier run(s))"
    )


def show(found: Sequence[Change], differs: Sequence[Notice], nodes: Sequence[str], ui: Ui) -> None:
    """Print what would change, in the order in which it would be done; nodes with the same changes together."""
    for names, same in grouped(found, nodes):
        _print(Text.assemble((", ".join(names), "bold"), f": {len(same)} change(s){' each' * (len(names) > 1)}"), ui)
        for kind, text, detail in same:
            _print(Text(f"  {kind:<8} {text}"), ui)
            _lines(detail, ui)
    for notice in differs:
        _print(Text(f"{notice.node}: {notice.text}", "yellow"), ui)
        _lines(notice.detail, ui)
    touched = len({change.node for change in found} - {CONTROLLER})
    if found:
        _print(f"{len(found)} change(s) on {touched} of {len(nodes)} node(s)", ui)
    else:
        _print(Text(f"nothing would change on {len(nodes)} node(s)", "green"), ui)


def grouped(found: Sequence[Change], nodes: Sequence[str]) -> list[tuple[list[str], Sequence[Words]]]:
    """Return (nodes, their changes as (kind, text, detail)), nodes whose changes are all the same as one."""
    own: dict[str, list[Words]] = {}
    for change in found:
        own.setdefault(change.node, []).append((change.kind, change.text, change.detail))
    groups: dict[tuple[Words, ...], list[str]] = {}
    for name in [CONTROLLER, *nodes]:
        if name in own:
            groups.setdefault(tuple(own[name]), []).append(name)
    return [(names, same) for same, names in groups.items()]


def _lines(detail: Sequence[str], ui: Ui) -> None:
    """Print the lines of a difference; lists of names are for --json."""
    shown = [line for line in detail if line.startswith(("- ", "+ "))]
    for line in shown if ui.verbosity else shown[:LINES]:
        _print(Text(f"             {line}", "red" if line.startswith("-") else "green"), ui)
    if len(shown) > LINES and not ui.verbosity:
        _print(Text(f"             … {len(shown) - LINES} more lines (-v)", "dim"), ui)


def _print(text: str | Text, ui: Ui) -> None:
    ui.console.print(text, soft_wrap=True)
