"""``upgrade``: the cluster to another Kubernetes version, node by node, while its workloads go on."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.plugin_utils import spec as spec_module
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import upgrade_plan
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.load import parse
from rich.text import Text

from kubesmith import bootstrap, execute, paths, probe, report, running
from kubesmith.backups import make
from kubesmith.bundle import source
from kubesmith.commands import bundle
from kubesmith.errors import InputError, KubesmithError
from kubesmith.job import Job
from kubesmith.ui import Ui

PLAYBOOK = "kubesmith.cluster.upgrade"
RELEASE = "kubesmith.cluster.upgrade_release"
PLAN = "kubesmith.cluster.upgrade_plan"
SURVEY = "kubesmith.cluster.upgrade_survey"
DRAIN = "kubesmith.cluster.kube_drain"
ROLLBACK = "kubesmith.cluster.node_rollback"
KEPT_IN = "upgrades"
LINE = re.compile(r"""(?P<key>(?<![\w-])["']?kubernetes["']?\s*:\s*)(?P<quote>["']?)v?[\w.]+(?P=quote)""")
Plan = Mapping[str, Any]


def run(
    job: Job, to: str, *, check: bool = False, force: Sequence[str] = (), timeout: float = 300, measured: bool = True
) -> int:
    """Carry out the verb; return 0, or 1 if it failed, after a node was brought back to what it was.

    ``to`` is a version as in a cluster file. With ``check`` only the plan is shown. ``force`` are codes of insights to
    pass over, ``timeout`` the seconds that pods may take to start or to leave. Raises InputError, and nothing was
    touched, for a version that cannot be reached, and for each insight that blocks.
    """
    target = version(to)
    _known(force)
    if job.spec.adopted == "keep":
        raise InputError(
            "the programs of these nodes are those of other hands (adopted: keep), and an upgrade replaces them",
            fix=f"write `adopted: replace` into {job.file}, look at plan, and run up with the version that runs",
        )
    job.require_machines()
    found = running.look(job)
    if found:
        _refuse(found.version, target)
    choice = source.choose(replace(bundle.wanted(job), kubernetes=target))
    ready = choice.kind == "at hand"
    with job.alone():
        if not check:
            _provide(job, choice)
        variables = {
            "upgrade_to": target,
            "upgrade_bundle": str(source.at_hand(target).resolve() if ready else paths.bundle(target)),
            "upgrade_force": list(force),
            "upgrade_timeout": int(timeout),
        }
        plan = _plan(job, variables)
        show(plan, job.ui)
        if check or plan["blocked"]:
            return _told(job, plan, check=check)
        if plan["nothing"]:
            _follow(job, target)
            return _told(job, plan, check=True)
        variables["upgrade_snapshot"] = not _backed_up(job, plan)
        return _carry_out(job, plan, variables, measured=measured)


def _backed_up(job: Job, plan: Plan) -> bool:
    """Take the backup before the change; tell whether there is one.

    One that goes on has its own from when it began, and the programs on its nodes are of two versions by now. What a
    backup needs is on every node; the only bundle here may be the target's, of which nothing is installed yet.
    """
    if plan["resumed"]:
        return job.spec.backup.before_changes
    return make.before(job, f"upgrade {' → '.join(plan['way'])}", install=False) is not None


def version(text: str) -> str:
    """Return the version that is meant; InputError if this release builds none such."""
    try:
        return spec_module.Cluster(name="x", kubernetes=text).kubernetes
    except ValueError as error:
        known = ", ".join(spec_module.VERSIONS)
        raise InputError(
            f"--to {text!r} is not a Kubernetes version that this release builds: {known}, or stable",
            fix=f"choose one of {known}",
        ) from error


def _known(force: Sequence[str]) -> None:
    unknown = sorted(set(force) - set(upgrade_plan.FORCEABLE))
    if unknown:
        raise InputError(
            f"--force {unknown[0]} is not something that can be passed over",
            fix=f"choose from {', '.join(upgrade_plan.FORCEABLE)}",
        )


def _refuse(seen: str, target: str) -> None:
    """Raise InputError for the wrong way, before anything else is done; only the API server was asked."""
    for insight in upgrade_plan.refused(seen, seen, target):
        raise InputError(f"{insight.text}; nothing was touched", fix=insight.fix)


def _provide(job: Job, choice: source.Choice) -> None:
    """Have the target's bundle: at hand, from a file, from upstream, or built."""
    if choice.kind == "gomod":
        bootstrap.require_packages("bundle", assume_yes=job.assume_yes)
    with job.ui.phase("bundle", "Bundle") as progress:
        source.provide(choice, progress)


def _plan(job: Job, variables: Mapping[str, Any]) -> Plan:
    """Look at every node and return the plan; KubesmithError if a node could not be asked."""
    made: list[Plan] = []
    images: list[set[str]] = []

    def collect(result: execute.TaskResult) -> None:
        if result.action == PLAN:
            made.append(result.answer["plan"])
        elif result.action == SURVEY:
            images.append({ref for ref in result.answer["survey"]["images"] if probe.AGNHOST in ref})

    outcome = _playbook(job, PLAYBOOK, variables, tags="plan", collect=collect)
    if not outcome.ok or not made:
        report.failed(outcome, job.ui)
        raise InputError(
            "there is no plan: not every node could be asked; nothing was touched", fix=f"{_runner()} status"
        )
    return {**made[-1], "probe_image": max(set.intersection(*images), default="")}


def _runner() -> str:
    return "python3 runner.py"


def _playbook(job: Job, name: str, variables: Mapping[str, Any], **more: Any) -> execute.Result:
    return execute.playbook(
        name, inventory=job.inventory, state=job.state, ui=job.ui, variables=variables, kept_in=KEPT_IN, **more
    )


def show(plan: Plan, ui: Ui) -> None:
    """Print the plan: the way, other parts, each node in the order of work, and what speaks against it."""
    ui.event("plan", **{key: plan[key] for key in ("way", "components", "steps", "insights", "batches", "blocked")})
    if ui.as_json:
        return
    ui.line(Text.assemble("Way: ", (" → ".join(plan["way"]), "bold")))
    for name, now, then in plan["components"]:
        ui.line(f"  {name}: {now if now == then else f'{now} → {then}'}")
    for step in plan["steps"]:
        place = f"{step['batch']}." if step["batch"] else "-"
        words = "; ".join(step["actions"]) or "nothing to do"
        ui.line(Text.assemble(f"{place:>4} ", (step["node"], "bold"), f" ({step['role']}): {words}"))
    for row in plan["insights"]:
        style = "red" if row["level"] == upgrade_plan.BLOCK else "yellow"
        where = f"{row['node']}: " if row["node"] else ""
        text = Text.assemble((f"{row['level']} ", style), f"[{row['code']}] {where}{row['text']}\n      → {row['fix']}")
        ui.line(text, always=True)


def _told(job: Job, plan: Plan, *, check: bool) -> int:
    """End without having touched anything: refused, only looked at, or nothing to do."""
    blocks = [row for row in plan["insights"] if row["level"] == upgrade_plan.BLOCK]
    if job.ui.as_json:
        keys = ("way", "components", "steps", "insights", "batches", "blocked", "nothing")
        row = {"cluster": job.spec.cluster.name, "ok": not blocks, "check": check, **{key: plan[key] for key in keys}}
        print(json.dumps(row))
    if blocks:
        forced = sorted({row["code"] for row in blocks})
        may = all(code in upgrade_plan.FORCEABLE for code in forced)
        fix = "; ".join(dict.fromkeys(row["fix"] for row in blocks))
        raise InputError(
            f"{len(blocks)} thing(s) speak against the upgrade ({', '.join(forced)}); nothing was touched",
            fix=fix + (f"; or pass over it: {' '.join(f'--force {code}' for code in forced)}" if may else ""),
        )
    if plan["nothing"]:
        job.ui.line(Text(f"every node is at {plan['way'][-1]}: nothing to do", "green"))
    return 0


def _carry_out(job: Job, plan: Plan, variables: Mapping[str, Any], *, measured: bool) -> int:
    results: list[execute.TaskResult] = []
    began = time.monotonic()
    with _released(job), _measuring(job, measured, plan["probe_image"]) as meter:
        outcome = _playbook(job, PLAYBOOK, variables, tags="upgrade", collect=results.append)
    if outcome.ok:
        _follow(job, variables["upgrade_to"])
    made = {
        "cluster": job.spec.cluster.name,
        "ok": outcome.ok,
        "way": plan["way"],
        "components": plan["components"],
        "seconds": round(time.monotonic() - began, 1),
        "nodes": nodes(plan, results),
        "rolled_back": rolled_back(results),
        "snapshots": sorted({str(r.answer["snapshot"]) for r in results if r.answer.get("snapshot")}),
        "probe": meter.report.as_json() if meter and meter.report else None,
    }
    folder = report.folder(job.state)
    (folder / "upgrade.json").write_text(json.dumps(made, indent=1) + "\n")
    if not outcome.ok:
        report.failed(outcome, job.ui)
    _show_end(job, made, meter, folder)
    return 0 if outcome.ok else 1


@contextmanager
def _measuring(job: Job, wanted: bool, image: str) -> Iterator[probe.Meter | None]:
    """Count what a workload and the API miss while the body runs; ``image`` is one that all nodes have already."""
    if not wanted:
        yield None
        return
    with job.ui.phase("probe", "Probe: a workload of two replicas behind a disruption budget"):
        meter = probe.measure(job, budget=_workers(job) > 1, image=image)
        try:
            inside = meter.__enter__()
        except KubesmithError as error:
            raise KubesmithError(
                f"{error}; nothing was touched", fix="mend it, or measure nothing: --no-probe"
            ) from error
    try:
        yield inside
    finally:
        meter.__exit__(None, None, None)


def _workers(job: Job) -> int:
    """Return how many nodes a workload can be on: with a single one it cannot but be away while that is upgraded."""
    everywhere = job.spec.features.schedule_control_planes
    return sum(node.role == "worker" or everywhere for node in job.spec.machines())


@contextmanager
def _released(job: Job) -> Iterator[None]:
    """Leave no node cordoned that the upgrade cordoned, whatever ended it; a kill leaves that to the next run."""
    try:
        yield
    except KeyboardInterrupt:
        job.ui.line("interrupted: giving back what is cordoned", always=True)
        release(job)
        raise
    else:
        return


def release(job: Job) -> None:
    """Uncordon what an upgrade cordoned; a cluster that does not answer keeps that for later."""
    try:
        outcome = _playbook(job, RELEASE, {})
    except KubesmithError as error:
        job.ui.line(Text(f"nodes may be cordoned still: {error}", "yellow"), always=True)
        return
    if not outcome.ok:
        job.ui.line(Text("nodes may be cordoned still; the next run of upgrade gives them back", "yellow"), always=True)


def nodes(plan: Plan, results: Sequence[execute.TaskResult]) -> list[dict[str, Any]]:
    """Return, for each node that was to be upgraded, how long it took and how long it was out of service."""
    made = []
    for node in (name for batch in plan["batches"] for name in batch):
        own = [row for row in results if row.host == node]
        drained = next((row for row in own if row.action == DRAIN and "wait" not in row.task and _cordoned(row)), None)
        back = next((row for row in reversed(own) if row.action == DRAIN and _uncordoned(row)), None)
        away = _seconds(drained.start, back.end) if drained and back else 0.0
        took = _seconds(own[0].start, own[-1].end) if own else 0.0
        made.append({"node": node, "seconds": took, "out_of_service": away})
    return made


def _cordoned(row: execute.TaskResult) -> bool:
    return any(action.startswith("cordon ") for action in row.answer.get("actions", ()))


def _uncordoned(row: execute.TaskResult) -> bool:
    return any(action.startswith("uncordon ") for action in row.answer.get("actions", ()))


def _seconds(first: str, last: str) -> float:
    return round((datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds(), 1)


def rolled_back(results: Sequence[execute.TaskResult]) -> dict[str, list[str]]:
    """Return {node: what was put back} of the nodes that were brought back to what they were."""
    return {
        row.host: list(row.answer["actions"])
        for row in results
        if row.action == ROLLBACK and any(text.startswith("put back ") for text in row.answer.get("actions", ()))
    }


def _show_end(job: Job, made: Mapping[str, Any], meter: probe.Meter | None, folder: Path) -> None:
    ui = job.ui
    if ui.as_json:
        print(json.dumps(made))
        return
    for row in made["nodes"]:
        if row["seconds"]:
            ui.line(f"  {row['node']}: {row['seconds']:.0f} s, out of service for {row['out_of_service']:.0f} s")
    for node, actions in made["rolled_back"].items():
        ui.line(Text(f"  {node}: rolled back, {len(actions)} thing(s) put back", "yellow"), always=True)
    for line in meter.report.lines() if meter and meter.report else ():
        ui.line(f"  {line}", always=True)
    way = " → ".join(made["way"])
    if made["ok"]:
        ui.line(Text(f"upgraded {way} in {made['seconds']:.0f} s; report: {folder / 'upgrade.json'}", "green"))
    else:
        again = "the same command goes on from here once the cause is gone"
        ui.line(Text(f"not upgraded ({way}); {again}; report: {folder / 'upgrade.json'}", "red"), always=True)


def _follow(job: Job, target: str) -> None:
    """Have the cluster's file, and the bundle that a lab's nodes see, say the new version."""
    if job.spec.cluster.kubernetes != target:
        if job.listed:
            job.ui.line(f"write into your inventory: kubesmith_kubernetes: {target}", always=True)
        else:
            job.file.write_text(with_version(job.file.read_text(), target))
            job.ui.line(f"{job.file}: kubernetes: {job.spec.cluster.kubernetes} → {target}")
    if job.spec.provider == "podman":
        cluster = job.spec.cluster.model_copy(update={"kubernetes": target})
        after = replace(job, spec=job.spec.model_copy(update={"cluster": cluster}))
        with job.ui.phase("nodes", "Nodes: the new bundle") as progress:
            after.provider().create(progress)


def with_version(text: str, target: str) -> str:
    """Return a cluster file's text with another version and all else as it is, comments too.

    A file that names none is left alone: it means the newest, which is what it got.
    """
    document = parse(text.encode(), "cluster.yml")
    place = ("cluster", "kubernetes")
    if place not in document.positions:
        return text
    lines = text.splitlines(keepends=True)
    index = document.position(place)[0] - 1
    lines[index] = LINE.sub(rf"\g<key>\g<quote>{target}\g<quote>", lines[index], count=1)
    return "".join(lines)
