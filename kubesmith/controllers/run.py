"""A converge over several controllers: the control plane here and once, the workers in shards, one result of all."""

from __future__ import annotations

import io
import json
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TextIO

from ansible_runner.streaming import Processor

from kubesmith import execute
from kubesmith.controllers import shards
from kubesmith.controllers.engines import Engine, Outcome
from kubesmith.execute import Failure, HostCount, Result
from kubesmith.job import Job
from kubesmith.phases import CONVERGE
from kubesmith.ui import PhaseProgress, PhaseTime, Ui

BEFORE = ",".join(phase for phase in CONVERGE if phase not in ("workers", "ready"))
PLAY = "Workers, by several controllers"


def converge(job: Job, engine: Engine) -> Result:
    """Bring the cluster up by the engine's controllers; return the result of all as if one Ansible had done it."""
    planes = [node.name for node in job.spec.machines() if node.role == "control-plane"]
    first = _site(job, tags=BEFORE, limit=",".join(["localhost", *planes]))
    if not first.ok:
        return first
    middle = workers(job, engine)
    results = [first, middle]
    if middle.ok:
        results.append(_site(job, tags="ready", limit=""))
    return together(results)


def _site(job: Job, *, tags: str, limit: str) -> Result:
    return execute.playbook(
        "kubesmith.cluster.site", inventory=job.inventory, state=job.state, ui=job.ui, tags=tags, limit=limit
    )


def workers(job: Job, engine: Engine) -> Result:
    """Have the shards of the workers carried out; the result counts every host, and misses none without saying so."""
    made = shards.make(job, engine.places(job.spec.cluster.kubernetes))
    hosts = [host for shard in made for host in shard.hosts]
    folder = execute.run_folder(job.state, "runs")
    began = time.monotonic()
    with job.ui.phase("workers", PLAY) as progress, (folder / "tasks.jsonl").open("w") as log:
        progress.total(len(hosts))
        merged = Merged(job.ui, log, progress)
        for outcome in engine.run(made, merged.live):
            merged.finish(outcome)
        progress.summary = merged.summary(len(made))
        progress.failed = bool(merged.failures)
    took = PhaseTime(PLAY, 0.0, time.monotonic() - began, not merged.failures)
    status = "failed" if merged.failures else "successful"
    return Result(status, merged.counts(), tuple(merged.failures), (took,), folder)


@dataclass
class _Seen:
    """What has been heard of one attempt at a shard."""

    controller: str
    watch: ShardWatch


class Merged:
    """The events of all shards in one: live as they come, and in the end each shard's own stream.

    A shard of which a controller was lost is attempted again. What the lost attempt changed was changed: it counts.
    What it found to fail does not, for the last attempt says how the hosts are now.
    """

    def __init__(self, ui: Ui, log: TextIO, progress: PhaseProgress) -> None:
        """``log`` gets a row for each task and host, with the shard and the controller."""
        self.ui, self.log, self.progress = ui, log, progress
        self.failures: list[Failure] = []
        self.controllers: set[str] = set()
        self.again = 0
        self._one = threading.Lock()  # an engine tells what comes live on a thread of its own
        self._attempts: dict[str, dict[int, _Seen]] = {}
        self._hosts: dict[str, HostCount] = {}

    def live(self, shard: str, attempt: int, controller: str, lines: bytes) -> None:
        """Show what a controller tells while it works, and remember it in case that it is never heard of again."""
        with self._one:
            seen = self._seen(shard, attempt, controller)
            for line in lines.splitlines():
                event = json.loads(line)
                if "event" in event:
                    seen.watch.handle(event)

    def finish(self, outcome: Outcome) -> None:
        """Take a shard's outcome: its stream is the truth, and each of its hosts must have been gone through."""
        with self._one:
            self._finish(outcome)

    def _finish(self, outcome: Outcome) -> None:
        attempts = self._attempts.get(outcome.shard.name, {})
        lost = [seen for number, seen in attempts.items() if number != outcome.attempt]
        self.again += bool(lost)
        for seen in lost:
            self._add(seen.watch, changed_only=True)
        final = self._watch(outcome.shard.name, outcome.controller, log=self.log)
        if outcome.stream:
            self.controllers.add(outcome.controller)
            status = _process(outcome.stream, final)
            if status == "successful":
                final.forgive()
            self._add(final)
        self.failures += final.failures
        self._account(outcome, final)
        for host in outcome.shard.hosts:
            changed = self._hosts.get(host, HostCount()).changed
            self.progress.done(host, f"by {outcome.controller or 'nobody'}", changed=changed > 0)

    def counts(self) -> dict[str, HostCount]:
        """Return each host's counts, over all shards and attempts."""
        return dict(self._hosts)

    def summary(self, count: int) -> str:
        """Return the phase's closing words."""
        text = f"{count} shards by {len(self.controllers)} controllers"
        return text + (f", {self.again} run again after a controller was lost" if self.again else "")

    def _account(self, outcome: Outcome, final: ShardWatch) -> None:
        """Add a failure for each host that nothing, or not everything, is known of."""
        failed = {failure.host for failure in final.failures}
        ended = bool(outcome.stream) and final.ended
        for host in outcome.shard.hosts:
            if host not in failed and not (ended and host in final.hosts):
                why = outcome.problem or "its controller's stream ended before it was done"
                self.failures.append(Failure(host, PLAY, outcome.shard.name, f"the shard was not carried out: {why}"))

    def _seen(self, shard: str, attempt: int, controller: str) -> _Seen:
        attempts = self._attempts.setdefault(shard, {})
        if attempt not in attempts:
            attempts[attempt] = _Seen(controller, self._watch(shard, controller, log=None))
        return attempts[attempt]

    def _watch(self, shard: str, controller: str, log: TextIO | None) -> ShardWatch:
        """Return a watch that shows what it sees or, with a ``log``, writes it down."""
        progress = None if log else self.progress
        return ShardWatch(self.ui, log or io.StringIO(), progress=progress, shard=shard, controller=controller)

    def _add(self, watch: execute.Watch, *, changed_only: bool = False) -> None:
        for host, count in watch.hosts.items():
            before, own = self._hosts.get(host, HostCount()), HostCount(**count)
            own = HostCount(changed=own.changed) if changed_only else own
            self._hosts[host] = _sum([before, own])


@dataclass
class ShardWatch(execute.Watch):
    """Watches one attempt at a shard: many go on at once, so that plays are no phases of their own."""

    shard: str = ""
    controller: str = ""
    ended: bool = False

    def handle(self, event: dict[str, Any]) -> bool:
        """Take one event; the statistics at its end prove that Ansible came to its end."""
        if event.get("event") == "playbook_on_stats":
            self.ended = True
            return False
        return super().handle(event)

    def row(self) -> dict[str, Any]:
        """Return what a task's row has besides."""
        return {"shard": self.shard, "controller": self.controller}

    def show(self, row: dict[str, Any], text: str) -> None:
        """Show it, unless it was shown when it happened."""
        if self.progress:
            super().show(row, text)


def _process(stream: bytes, watch: execute.Watch) -> str:
    """Have ansible-runner process a worker's stream; return its status."""
    with tempfile.TemporaryDirectory(prefix="kubesmith-") as folder:
        processor = Processor(
            _input=io.BytesIO(stream), private_data_dir=folder, event_handler=watch.handle, quiet=True, settings={}
        )
        status, _code = processor.run()
    return str(status)


def together(results: Sequence[Result]) -> Result:
    """Return several results as one: what each host went through in all of them."""
    hosts = {host: _sum(result.hosts.get(host, HostCount()) for result in results) for r in results for host in r.hosts}
    plays: list[PhaseTime] = []
    for result in results:
        start = max((play.start + play.seconds for play in plays), default=0.0)
        plays += [replace(play, start=start + play.start) for play in result.plays]
    failures = tuple(failure for result in results for failure in result.failures)
    worst = next((result for result in results if not result.ok), results[-1])
    return Result(worst.status, hosts, failures, tuple(plays), worst.log)


def _sum(counts: Iterable[HostCount]) -> HostCount:
    rows = list(counts)
    return HostCount(*(sum(getattr(row, name) for row in rows) for name in HostCount.__dataclass_fields__))
