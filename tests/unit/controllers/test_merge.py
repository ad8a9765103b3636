"""Events of many shards as one result: nothing is counted twice and nobody is forgotten."""

from __future__ import annotations

import io
import json
from typing import Any

from kubesmith.controllers.engines import Outcome
from kubesmith.controllers.run import Merged, together
from kubesmith.controllers.shards import Shard
from kubesmith.execute import Failure, HostCount, Result
from kubesmith.ui import PhaseTime, Ui


def line(kind: str, host: str = "", *, changed: bool = False, **more: Any) -> bytes:
    data = {"host": host, "play": "Workers", "task": "join", "res": {"changed": changed, **more}}
    return json.dumps({"event": kind, "uuid": "u", "counter": 1, "event_data": data}).encode() + b"\n"


END = line("playbook_on_stats") + b'{"status": "successful"}\n{"eof": true}\n'
BAD_END = line("playbook_on_stats") + b'{"status": "failed"}\n{"eof": true}\n'
SHARD = Shard("shard-001", ("w1", "w2"), b"")


def merged() -> tuple[Merged, io.StringIO]:
    ui = Ui(quiet=True)
    log = io.StringIO()
    with ui.phase("workers", "Workers") as progress:
        return Merged(ui, log, progress), log


def test_a_shard_that_went_well_counts_each_task_once_though_it_was_shown_live_too() -> None:
    made, log = merged()
    stream = line("runner_on_ok", "w1", changed=True) + line("runner_on_ok", "w2") + END
    made.live("shard-001", 1, "tls://a", stream)
    made.finish(Outcome(SHARD, stream, "tls://a", 1))
    assert made.counts() == {"w1": HostCount(evaluated=1, changed=1), "w2": HostCount(evaluated=1)}
    assert made.failures == []
    rows = [json.loads(row) for row in log.getvalue().splitlines()]
    assert [(row["host"], row["shard"], row["controller"]) for row in rows] == [
        ("w1", "shard-001", "tls://a"),
        ("w2", "shard-001", "tls://a"),
    ]
    assert made.summary(1) == "1 shards by 1 controllers"


def test_what_a_lost_controller_changed_counts_and_what_it_found_to_fail_does_not() -> None:
    made, _log = merged()
    lost = line("runner_on_ok", "w1", changed=True) + line("runner_on_unreachable", "w2", msg="gone")
    made.live("shard-001", 1, "tls://a", lost)
    made.finish(
        Outcome(SHARD, line("runner_on_ok", "w1") + line("runner_on_ok", "w2", changed=True) + END, "tls://b", 2)
    )
    assert made.counts() == {"w1": HostCount(evaluated=1, changed=1), "w2": HostCount(evaluated=1, changed=1)}
    assert made.failures == []
    assert "1 run again" in made.summary(1)


def test_a_host_that_no_event_speaks_of_is_a_failure() -> None:
    made, _log = merged()
    made.finish(Outcome(SHARD, line("runner_on_ok", "w1") + END, "tls://a", 1))
    assert [failure.host for failure in made.failures] == ["w2"]


def test_a_stream_without_its_end_vouches_for_nobody() -> None:
    made, _log = merged()
    made.finish(Outcome(SHARD, line("runner_on_ok", "w1") + line("runner_on_ok", "w2"), "tls://a", 1))
    assert sorted(failure.host for failure in made.failures) == ["w1", "w2"]


def test_a_shard_that_nobody_could_carry_out_says_why_for_each_host() -> None:
    made, _log = merged()
    made.finish(Outcome(SHARD, b"", problem="3 controllers were lost while they worked at it"))
    assert {failure.host: failure.message for failure in made.failures} == dict.fromkeys(
        SHARD.hosts, "the shard was not carried out: 3 controllers were lost while they worked at it"
    )


def test_a_task_that_failed_fails_its_host_and_no_other() -> None:
    made, _log = merged()
    stream = line("runner_on_failed", "w1", msg="no") + line("runner_on_ok", "w2") + BAD_END
    made.finish(Outcome(SHARD, stream, "tls://a", 1))
    assert [(failure.host, failure.message) for failure in made.failures] == [("w1", "no")]


def test_results_become_one() -> None:
    first = Result("successful", {"cp1": HostCount(3, 1)}, (), (PhaseTime("a", 0, 2, True),), "/x")
    failure = Failure("w1", "p", "t", "m")
    second = Result(
        "failed", {"cp1": HostCount(2), "w1": HostCount(5, 2)}, (failure,), (PhaseTime("b", 0, 3, True),), "/y"
    )
    result = together([first, second])
    assert result.hosts == {"cp1": HostCount(5, 1), "w1": HostCount(5, 2)}
    assert (result.status, result.failures, result.log) == ("failed", (failure,), "/y")
    assert [(play.name, play.start) for play in result.plays] == [("a", 0), ("b", 2)]
