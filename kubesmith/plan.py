"""What ``up`` would change: answers of the modules in check mode, in words; and how long it took before. Pure."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median
from typing import Any

from kubesmith.execute import TaskResult

FILE, SETTING, PROGRAM, IMAGE, SERVICE, CLUSTER, MACHINE = (
    *("file", "setting", "program", "image", "service", "cluster", "machine"),
)
CONTROLLER = "controller"
NEAREST = 3  # earlier runs of which a median is taken
Answer = Mapping[str, Any]
Row = Mapping[str, Any]
Task = tuple[str, str]  # role and name


@dataclass(frozen=True)
class Change:
    """One thing that would change on a node; ``detail`` holds a text file's lines that go (-) and come (+)."""

    node: str
    kind: str
    text: str
    detail: tuple[str, ...] = ()


@dataclass(frozen=True)
class Notice:
    """One thing that is not as the cluster file says, and that ``up`` does not change."""

    node: str
    text: str
    detail: tuple[str, ...] = ()


@dataclass(frozen=True)
class Estimate:
    """Seconds that the changes took before, from how many runs; ``unknown`` are tasks that no run had to do."""

    seconds: float
    runs: int
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Parts:
    """What the bundle holds: {path on the node: (component, version)}, and {image reference: bytes}."""

    files: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    images: Mapping[str, int] = field(default_factory=dict)


def parts(bundle: Mapping[str, Any]) -> Parts:
    """Return the parts of a bundle's description."""
    rows = bundle.get("components", ())
    files = {row["install"]: (c["name"], c["version"]) for c in rows for row in c["files"] if "install" in row}
    return Parts(files, {row["ref"]: int(row["size"]) for c in rows for row in c["images"]})


def changes(results: Sequence[TaskResult], bundle: Parts) -> list[Change]:
    """Return what would change, in the order in which ``up`` would do it, each thing once on a node."""
    found: dict[tuple[str, str], Change] = {}
    touched: dict[str, set[str]] = defaultdict(set)
    for result in results:
        for kind, text, detail in _explained(result, bundle, touched[result.host]):
            found.setdefault((result.host, text), Change(result.host, kind, text, detail))
        touched[result.host] |= {*paths(result.answer), *result.answer.get("imported", ())}
    return list(found.values())


def notices(results: Sequence[TaskResult], adopted: str | None = None, bundle: Parts | None = None) -> list[Notice]:
    """Return what differs and stays; ``adopted`` is what the cluster file says of nodes that other hands set up."""
    text = "kubeadm's configuration differs from the running cluster's; up does not apply it"
    return [*_foreign(results, adopted, bundle or Parts()), *_edited(results)] + [
        Notice(result.host, text, detail)
        for result in results
        if result.action.endswith(".kubeadm_init") and result.answer.get("found") == "complete"
        for detail in edits(result.answer).values()
    ]


def _edited(results: Sequence[TaskResult]) -> Iterator[Notice]:
    """Yield the files that kubeadm wrote and somebody edited since: - is what is there, + what kubeadm wrote."""
    seen: set[tuple[str, str]] = set()
    for result in results:
        for row in result.answer.get("ansible_facts", {}).get("kubesmith", {}).get("edited", ()):
            if (result.host, row["path"]) in seen:
                continue
            seen.add((result.host, row["path"]))
            what = "is not as kubeadm wrote it" if row["before"] else "is gone, or empty"
            after = ", then systemctl restart kubelet" if "kubelet" in row["path"] else ""
            remedy = f"cp {row['copy']} {row['path']}{after}"
            text = f"{row['path']} {what}, and up leaves it; to undo that, on the node: {remedy}"
            yield Notice(result.host, text, lines(row["before"], row["after"]))


def _foreign(results: Sequence[TaskResult], adopted: str | None, bundle: Parts) -> Iterator[Notice]:
    """Yield what runs on nodes that other hands set up, and what becomes of it."""
    seen: set[str] = set()
    for result in results:
        found = result.answer.get("ansible_facts", {}).get("kubesmith", {}).get("foreign", {})
        if result.host in seen:
            continue
        seen |= {result.host} if found else set()
        for name, row in found.items():
            owner = f"of the package {row['package']}" if row["package"] else "of no package"
            text = f"{name} {row['version']} is {row['path']}, {owner}, started by {row['unit'] or 'no unit'}"
            ours = next(
                (f"{c} {v} in {p}" for p, (c, v) in bundle.files.items() if p == f"{BIN}/{name}"), "the bundle's"
            )
            yield Notice(result.host, f"{text}: {BECOMES[adopted].format(ours=ours)}")


BIN = "/usr/local/bin"
BECOMES = {
    "keep": "it stays (adopted: keep)",
    "replace": "{ours} takes its place (adopted: replace)",
    None: "not kubesmith's, so that up refuses it until the cluster file says adopted: keep, or replace",
}
Words = Iterator[tuple[str, str, tuple[str, ...]]]


def _explained(result: TaskResult, bundle: Parts, touched: set[str]) -> Words:
    name, answer = result.action.rpartition(".")[2], result.answer
    if name == "unit":
        yield from _unit(answer, touched)
    elif name == "bundle_images":
        yield from _images([row for row in answer.get("imported", ()) if row not in touched], bundle)
    elif answer.get("changed"):
        # Of a task that handles a password, Ansible tells only that it would change something.
        explain = None if "censored" in answer else EXPLAINED.get(name)
        yield from explain(answer, bundle) if explain else [(SETTING, result.task, ())]


def _host(answer: Answer, _bundle: Parts) -> Words:
    shown = edits(answer)
    for action in answer["actions"]:
        verb, _, path = action.partition(" ")
        if verb in ("write", "remove") and path.startswith("/"):
            yield FILE, action, shown.get(path, ())
        else:
            yield SETTING, action, ()


def _files(answer: Answer, _bundle: Parts) -> Words:
    shown = edits(answer)
    for row in answer["diff"]:
        path = _path(row["before_header"])
        absent = " (absent)"
        if row["after_header"].endswith(absent):
            yield FILE, f"remove {path}", ()
        elif row["before_header"].endswith(absent):
            yield FILE, f"write {path}", ()
        else:
            yield FILE, f"correct {path}", shown.get(path, ())


def _kubelet(answer: Answer, _bundle: Parts) -> Words:
    shown = edits(answer)
    for action in answer["actions"]:
        verb, _, path = action.partition(" ")
        if verb == "restart":
            yield SERVICE, action, ()
        elif path in shown:
            yield FILE, f"correct {path}", shown[path]
        else:
            yield FILE, action, ()


def _programs(answer: Answer, bundle: Parts) -> Words:
    before = dict(line.split(": ", 1) for row in answer["diff"] for line in row["before"].splitlines())
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in answer["installed"]:
        name, version = bundle.files.get(path, ("", ""))
        verb = "install" if before.get(path) == "absent" else "replace"
        groups[verb, f"{name} {version}".strip()].append(path)
    for (verb, component), found in groups.items():
        names = ", ".join(path.rsplit("/", 1)[-1] for path in found)
        yield PROGRAM, f"{verb} {component or 'files'}: {names}", tuple(found)


def _images(references: Sequence[str], bundle: Parts) -> Words:
    if references:
        size = sum(bundle.images.get(reference, 0) for reference in references) / 1e6
        names = ", ".join(reference.rsplit("/", 1)[-1] for reference in references)
        yield IMAGE, f"import {len(references)} image(s), {size:.0f} MB: {names}", tuple(references)


def _unit(answer: Answer, touched: set[str]) -> Words:
    """Tell of a service; check mode wrote no file, so that a restart which a file would cause is worked out here."""
    name = answer.get("unit", "a service")
    actions = list(answer.get("actions", ()))
    because = sorted(touched & set(answer.get("watched", ())))
    if because and not any(action.startswith(("start", "restart")) for action in actions):
        actions.append(f"restart: {because[0]} changes")
    for action in actions:
        verb, _, reason = action.partition(": ")
        yield SERVICE, f"{verb} {name}" + (f": {reason}" if reason else ""), ()


KUBEADM = {
    "kubeadm init": "initialise the control plane (kubeadm init)",
    "kubeadm join": "join the cluster (kubeadm join)",
    "kubeadm reset": "undo what an interrupted run left (kubeadm reset)",
}


def _kubeadm(answer: Answer, _bundle: Parts) -> Words:
    for action in answer["actions"]:
        yield CLUSTER, KUBEADM.get(action, action), ()


def _kubeconfig(answer: Answer, _bundle: Parts) -> Words:
    yield FILE, f"fetch the administrator's kubeconfig to {answer.get('dest', 'the controller')}", ()


def _objects(answer: Answer, _bundle: Parts) -> Words:
    shown = edits(answer)
    applied = answer.get("applied")
    if not applied:
        yield CLUSTER, "apply Calico's objects", ()
    elif not shown:
        yield CLUSTER, f"apply {len(applied)} objects of Calico", tuple(applied)
    else:
        for name in applied:
            yield CLUSTER, f"apply {name}", shown.get(name, ())


def _permissions(answer: Answer, _bundle: Parts) -> Words:
    for action in answer["actions"]:
        yield FILE, f"correct {action}" if action.startswith("/") else action, ()


def _nodes(answer: Answer, _bundle: Parts) -> Words:
    for action in answer["actions"]:
        yield CLUSTER, action, ()


EXPLAINED: dict[str, Callable[[Answer, Parts], Words]] = {
    "host_prepare": _host,
    "files": _files,
    "kubelet_settings": _kubelet,
    "node_take_over": _host,
    "bundle_files": _programs,
    "kubeadm_init": _kubeadm,
    "kubeadm_join": _kubeadm,
    "kubeconfig": _kubeconfig,
    "kube_apply": _objects,
    "kube_nodes": _nodes,
    "node_permissions": _permissions,
}


def edits(answer: Answer) -> dict[str, tuple[str, ...]]:
    """Return {path: lines that go and come} of each text in an answer's diff that exists already and changes."""
    rows = answer.get("diff") or ()
    texts = [row for row in rows if isinstance(row, Mapping) and row.get("before") and row.get("after")]
    return {_path(row["before_header"]): lines(row["before"], row["after"]) for row in texts}


def lines(before: str, after: str) -> tuple[str, ...]:
    """Return the lines that go (``- text``) and come (``+ text``) between two texts."""
    found = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    kept = [line for line in list(found)[2:] if not line.startswith("@@")]
    return tuple(f"{line[0]} {line[1:]}" for line in kept)


def paths(answer: Answer) -> list[str]:
    """Return the files that an answer's task would write."""
    if not answer.get("changed"):
        return []
    rows = answer.get("diff") or ()
    headers = [_path(str(row.get("before_header", ""))) for row in rows if isinstance(row, Mapping)]
    return [path for path in (*headers, *answer.get("installed", ())) if path.startswith("/")]


def _path(header: str) -> str:
    return re.sub(r" \(absent\)$", "", header)


def estimate(results: Sequence[TaskResult], runs: Sequence[Sequence[Row]]) -> Estimate | None:
    """Return how long the tasks of the plan took before; None where no run is known.

    ``runs`` are the rows of tasks.jsonl of earlier runs: {role, task, changed, seconds …}. A task's time is the median
    of those runs that had to do most nearly the same; hosts work side by side, so that the slowest counts.
    """
    known = [run for run in runs if run]
    if not known or not results:
        return None
    planned = {_task(result): bool(result.answer.get("changed")) for result in results}
    for result in results:
        planned[_task(result)] = planned[_task(result)] or bool(result.answer.get("changed"))
    wanted = {task for task, changed in planned.items() if changed}
    nearest = sorted(known, key=lambda run: len(wanted ^ _changed(run)))
    times = {task: _seconds(task, changed, nearest) for task, changed in planned.items()}
    unknown = tuple(task[1] for task, changed in planned.items() if changed and times[task] is None)
    between = median(_between(run) for run in nearest[:NEAREST])
    return Estimate(round(sum(time or 0.0 for time in times.values()) + between, 1), len(known), unknown)


def _seconds(task: Task, changed: bool, runs: Sequence[Sequence[Row]]) -> float | None:
    """Return the median of a task's times in the nearest ``runs`` that did the same; None where none did."""
    slowest = [_slowest(task, changed, run) for run in runs]
    known = [seconds for seconds in slowest if seconds is not None]
    return median(known[:NEAREST]) if known else None


def _slowest(task: Task, changed: bool, run: Sequence[Row]) -> float | None:
    times = [
        float(row["seconds"] or 0)
        for row in run
        if (row["role"] or "", row["task"]) == task and row["status"] == "ok" and bool(row["changed"]) == changed
    ]
    return max(times, default=None)


def _between(run: Sequence[Row]) -> float:
    """Return what a run needed beside its tasks, in seconds: Ansible's own work between them."""
    starts = [datetime.fromisoformat(row["start"]).timestamp() for row in run if row["start"]]
    if not starts:
        return 0.0
    ends = [
        start + float(row["seconds"] or 0) for start, row in zip(starts, [r for r in run if r["start"]], strict=True)
    ]
    slowest: dict[Task, float] = defaultdict(float)
    for row in run:
        task = row["role"] or "", row["task"]
        slowest[task] = max(slowest[task], float(row["seconds"] or 0))
    return max(0.0, max(ends) - min(starts) - sum(slowest.values()))


def _task(result: TaskResult) -> Task:
    return result.role, result.task


def _changed(run: Sequence[Row]) -> set[Task]:
    return {(row["role"] or "", row["task"]) for row in run if row["changed"]}
