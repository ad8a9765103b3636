"""The life of a tour: looked before anything is touched, taken, and put back whatever became of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kubesmith import milestones
from kubesmith.errors import InputError, KubesmithError
from kubesmith.job import Job
from kubesmith.progress import Silent
from kubesmith.tour import guard, journal
from kubesmith.tour.api import Cluster
from kubesmith.tour.journal import EXERCISE, TOUR, Journal, Undo
from kubesmith.tour.nodes import Nodes
from kubesmith.tour.power import Switch
from kubesmith.tour.record import Record
from kubesmith.tour.stage import LABEL, Stage, Teller, ways
from kubesmith.tour.texts import Texts

RESTORE = 300.0  # seconds for all ways back, and again for the cluster to be well
EVERY = 1.5


@dataclass(frozen=True)
class Tour:
    """One tour: its name, how it is taken, to which group it belongs, and about how many seconds it lasts."""

    name: str
    take: Callable[[Stage], None]
    group: str
    seconds: int
    worker: bool = True  # it needs a worker to do things to
    power: bool = False  # … and a way to switch it off
    audit: bool = False  # it reads the audit log


def check(job: Job, tour: Tour, texts: Texts) -> tuple[Nodes, str]:
    """Return the nodes and the worker of a tour; InputError if it cannot be taken here. Changes nothing."""
    guard.lab(job, texts)
    api = guard.reachable(job, texts)
    nodes = Nodes(job)
    guard.rights(api, texts)
    guard.well(job, texts)
    guard.root(nodes, texts)
    if tour.audit:
        there = [nodes.run(name, "ls /var/log/kubernetes/audit/audit.log || true") for name in nodes.control_planes]
        if not all(there):
            raise texts.error("no_audit", tour=tour.name)
    return nodes, (nodes.workers or nodes.control_planes)[0]


def check_first(job: Job, tour: Tour, texts: Texts) -> None:
    """Raise InputError for what can be told without asking the cluster."""
    guard.lab(job, texts)
    if why := unfit(job, tour, texts):
        raise InputError(why, fix=texts("fixes.other_tour"))


def unfit(job: Job, tour: Tour, texts: Texts) -> str:
    """Return why a tour does not fit this cluster, empty where it does."""
    workers = [machine for machine in job.spec.machines() if machine.role != "control-plane"]
    if tour.worker and not workers:
        return texts("errors.no_worker", tour=tour.name)
    if tour.power and not Switch(job).there:
        return texts("errors.no_switch", tour=tour.name, provider=job.spec.provider)
    return ""


@contextmanager
def heeded() -> Iterator[None]:
    """Have a closed terminal or a SIGTERM end the tour as ^C does: with everything taken back."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def take(job: Job, tour: Tour, teller: Teller) -> Record:
    """Take one tour and return its record. The cluster is as it was before when this returns or raises.

    InputError if it cannot be taken here; KubesmithError if the cluster could not be put back.
    """
    with job.alone(), heeded():
        if left := journal.find(job.state):
            raise teller.texts.error("exercise_open", name=left.name)
        nodes, worker = check(job, tour, teller.texts)
        book = Journal(journal.place(job.state), TOUR, tour.name)
        stage = Stage(job, book, teller, nodes, worker)
        before = marks(stage.api)
        try:
            _taken(stage, tour)
        finally:
            put_back(job, book, nodes, teller)
        now = marks(stage.api)
        stage.claim("restored", now == before, seen=differences(before, now))
        stage.record.seconds = time.time() - stage.record.started
        return stage.record


def _taken(stage: Stage, tour: Tour) -> None:
    """Take the tour; what it waited for in vain is a claim that does not hold, and no reason to show nothing."""
    stage.say("about")
    try:
        tour.take(stage)
    except KubesmithError as error:
        stage.claim("finished", False, why=str(error))


def put_back(job: Job, book: Journal, nodes: Nodes, teller: Teller) -> None:
    """Take back everything in the journal, wait until the cluster is well, and remove the journal."""
    texts = teller.texts
    if not book.undo:
        return book.remove()
    patience = max(float(row.get("kubesmith_patience", 1)) for row in nodes.variables.values())
    try:
        if not teller.ui.live:
            teller.ui.line(f"» {texts('frame.restore')}")
        with job_phase(teller, texts("frame.restore")) as told:
            if any(machine.state not in ("running", "listed") for machine in job.provider().status()):
                job.provider().create(Silent())  # ways back lead over machines that run
            journal.take_back(book, ways(job, nodes), seconds=RESTORE * patience, told=told)
            _await_well(job, RESTORE * patience)
    except KubesmithError as error:
        fix = texts("fixes.not_restored", file=book.file)
        raise KubesmithError(texts("errors.not_restored", why=error), fix=fix) from error
    return book.remove()


@contextmanager
def job_phase(teller: Teller, title: str) -> Iterator[Callable[[Undo], None]]:
    """Show ways back as they are gone."""
    if not teller.ui.live:
        yield lambda way: teller.ui.line(f"    {journal.words(way)[:150]}")
        return
    with teller.ui.console.status(title) as status:
        yield lambda way: status.update(f"{title}: {journal.words(way)[:60]}")


def _await_well(job: Job, seconds: float) -> None:
    """Wait until the cluster is well and no namespace of a tour is left; KubesmithError with what is lacking."""
    names = [node.name for node in job.spec.machines()]
    deadline = time.monotonic() + seconds
    while True:
        lacking = milestones.look(job.kubeconfig, "ready", names) or _left(job)
        if not lacking:
            return
        if time.monotonic() > deadline:
            raise KubesmithError("; ".join(lacking[:3]))
        time.sleep(EVERY)


def _left(job: Job) -> list[str]:
    try:
        rows = Cluster(job.kubeconfig).items(f"/api/v1/namespaces?labelSelector={LABEL.replace('/', '%2F')}")
    except KubesmithError as error:
        return [str(error)]
    return [f"namespace {row['metadata']['name']} is being removed" for row in rows]


def marks(api: Cluster) -> dict[str, Any]:
    """Return what a tour might leave: of each node labels, taints, cordon; namespaces; what kube-system wants."""
    nodes = {
        item["metadata"]["name"]: {
            "labels": item["metadata"].get("labels", {}),
            "taints": [
                row for row in item["spec"].get("taints", ()) if not row["key"].startswith("node.kubernetes.io")
            ],
            "cordoned": bool(item["spec"].get("unschedulable")),
            "ready": next(c["status"] for c in item["status"]["conditions"] if c["type"] == "Ready"),
        }
        for item in api.items("/api/v1/nodes")
    }
    wanted = {
        f"{kind}/{item['metadata']['name']}": item["spec"].get("replicas", item["spec"]["template"]["spec"])
        for kind in ("deployments", "daemonsets")
        for item in api.items(f"/apis/apps/v1/namespaces/kube-system/{kind}")
    }
    static = sorted(
        item["metadata"]["name"]
        for item in api.items("/api/v1/namespaces/kube-system/pods")
        if "kubernetes.io/config.mirror" in item["metadata"].get("annotations", {})
    )
    spaces = sorted(item["metadata"]["name"] for item in api.items("/api/v1/namespaces"))
    return {"nodes": nodes, "namespaces": [s for s in spaces if "verify-" not in s], "wanted": wanted, "static": static}


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return in which parts two sets of marks differ, as JSON paths; empty where they do not."""
    found = []
    for part, value in before.items():
        if now[part] != value:
            rows = [key for key in value if now[part].get(key) != value[key]] if isinstance(value, dict) else []
            found.append(f"{part} {', '.join(rows)}".strip())
    return "; ".join(found)


def restore_left(job: Job, teller: Teller) -> bool:
    """Take back what a tour that was killed has left, unless one is going on; tell whether there was anything.

    An exercise that is wholly planted is the learner's, and stays.
    """
    left = journal.find(job.state)
    if left is None or (left.kind == EXERCISE and left.planted):
        return False
    texts = teller.texts
    with job.alone(), heeded():
        left = journal.find(job.state)
        if left is None or (left.kind == EXERCISE and left.planted):
            return False
        teller.ui.event("tour_restore", tour=left.name, changes=len(left.undo))
        teller.ui.line(texts("frame.left", name=left.name, count=len(left.undo)), always=not teller.ui.as_json)
        put_back(job, left, Nodes(job), teller)
        teller.ui.line(texts("frame.left_done"), always=not teller.ui.as_json)
    return True


def restore(job: Job, teller: Teller) -> None:
    """Take back everything that a journal holds, an exercise of the learner's too."""
    with job.alone(), heeded():
        if left := journal.find(job.state):
            put_back(job, left, Nodes(job), teller)
    teller.ui.line(teller.texts("frame.left_done"))


def going_on(job: Job) -> bool:
    """Tell whether a tour is going on now, which holds the cluster's lock."""
    try:
        with job.alone():
            return False
    except KubesmithError:
        return True
