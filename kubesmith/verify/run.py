"""Run the checks: rounds of pytest in a process of its own, watched live, until the verdict stands."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from kubesmith import paths
from kubesmith.errors import KubesmithError
from kubesmith.progress import Progress
from kubesmith.verify import verdict as verdicts
from kubesmith.verify.show import show
from kubesmith.verify.stream import DESCRIPTOR
from kubesmith.verify.verdict import Check, Verdict

__all__ = ["CHECKS", "Check", "Verdict", "run", "show"]

CHECKS = Path(__file__).parent / "checks"
LONGEST_ROUND = 900.0  # seconds; far above what a broken cluster, or an emulated one, can make a round last
PAUSE = 2.0  # seconds between a round that failed and the next
NO_TESTS, TESTS_FAILED = 5, 1  # pytest's exit codes


def run(
    inventory: Path,
    report_dir: Path,
    *,
    progress: Progress,
    wait: float | None = None,
    count: int = 1,
    select: str = "",
) -> Verdict:
    """Verify the cluster of an Ansible inventory; return the verdict of the last round.

    Without ``wait`` there are ``count`` rounds, and the first that fails ends them. With it, rounds go on until
    ``count`` have passed in a row or ``wait`` seconds are over. ``select`` keeps only some checks or groups: ``C,G5``.
    Writes ``junit.xml`` and ``verify.json`` into ``report_dir``. Raises KubesmithError when no check could be made.
    """
    began = time.monotonic()
    rounds = in_a_row = 0
    while True:
        rounds += 1
        result = one_round(
            inventory, report_dir, progress=progress, select=select, label=_label(rounds, in_a_row, count, wait)
        )
        in_a_row = in_a_row + 1 if result.ok else 0
        seconds = time.monotonic() - began
        result = replace(result, rounds=rounds, passed_in_a_row=in_a_row, seconds=round(seconds, 2))
        verdicts.write(result, report_dir)
        if in_a_row >= count or (not result.ok and (wait is None or seconds + PAUSE > wait)):
            return result
        if wait is not None and seconds > wait:
            return _too_late(result, count, wait)
        if not result.ok:
            time.sleep(PAUSE)


def _label(rounds: int, in_a_row: int, count: int, wait: float | None) -> str:
    if count == 1 and (wait is None or rounds == 1):
        return ""
    return f"round {rounds} ({in_a_row} of {count} passed) "


def _too_late(result: Verdict, count: int, wait: float) -> Verdict:
    """Return the verdict when rounds pass, but the time ends before enough of them have passed in a row."""
    late = Check("", "enough rounds pass in a row", "cluster", "cluster", "failed")
    late = replace(
        late, expected=f"{count} in {wait:.0f} s", seen=f"{result.passed_in_a_row} of {result.rounds} rounds"
    )
    return replace(result, failed=(late,))


def one_round(inventory: Path, report_dir: Path, *, progress: Progress, select: str, label: str = "") -> Verdict:
    """Run all checks once."""
    readable, writable = os.pipe()
    environment = {**os.environ, **_environment(report_dir), DESCRIPTOR: str(writable)}
    log = report_dir / "pytest.log"
    with log.open("w") as output, os.fdopen(readable) as events:
        process = subprocess.Popen(
            _command(inventory, report_dir, select),
            env=environment,
            pass_fds=(writable,),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that hung ssh commands end with it, and ^C is ours to pass on
        )
        os.close(writable)
        with _ended(process) as timed_out:
            watch = Watch(progress, label)
            watch.follow(events)
            process.wait()
    if not watch.complete or process.returncode not in (0, TESTS_FAILED):
        raise _no_verdict(process.returncode, log, select, timed_out)
    return replace(verdicts.of(watch.checks), certificates=tuple(watch.certificates))


def _command(inventory: Path, report_dir: Path, select: str) -> list[str]:
    return [
        *(sys.executable, "-m", "pytest", str(CHECKS), "-q", "--no-header", "--color=no"),
        *("-p", "kubesmith.verify.stream", f"--junitxml={report_dir / 'junit.xml'}", "-o", "junit_family=xunit1"),
        *("-o", "disable_test_id_escaping_and_forfeit_all_rights_to_community_support=true"),  # w1→w2 as it is
        *("--connection=ansible", "--hosts=ansible://all", f"--ansible-inventory={inventory}", f"--checks={select}"),
    ]


def _environment(report_dir: Path) -> dict[str, str]:
    """Return the settings under which testinfra's ``ansible-inventory`` reads any inventory, whatever the folder."""
    temporary = paths.make_private(report_dir / "tmp")
    (temporary / "ansible.cfg").touch()  # empty, and named so that no other one is found
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "/usr/bin:/bin")]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(paths.PACKAGE.parent), os.environ.get("PYTHONPATH", "")])),
        "PYTHONDONTWRITEBYTECODE": "1" if paths.INSTALLED else "",
        "ANSIBLE_CONFIG": str(temporary / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(paths.COLLECTIONS),
        "ANSIBLE_INVENTORY_ENABLED": "kubesmith.cluster.spec,ansible.builtin.yaml,ansible.builtin.ini",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "ANSIBLE_LOCAL_TEMP": str(temporary),
        "LC_ALL": "C.UTF-8",
    }


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[threading.Event]:
    """See to it that the round ends: at its limit, or when we are interrupted; pytest gets time to remove the probe."""
    timed_out = threading.Event()

    def limit() -> None:
        timed_out.set()
        _signal(process, signal.SIGINT)

    timer = threading.Timer(LONGEST_ROUND, limit)
    timer.daemon = True
    timer.start()
    try:
        yield timed_out
    finally:
        timer.cancel()
        if process.poll() is None:
            _signal(process, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
        _signal(process, signal.SIGKILL, group=True)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: int, *, group: bool = False) -> None:
    with contextlib.suppress(ProcessLookupError):
        if group:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)


def _no_verdict(code: int, log: Path, select: str, timed_out: threading.Event) -> KubesmithError:
    """Return the error for a round that made no check, out of pytest's own words."""
    if timed_out.is_set():
        return KubesmithError(f"verify did not end within {LONGEST_ROUND:.0f} s", fix=f"see {log}")
    if code == NO_TESTS:
        return KubesmithError(f"no check is called {select!r}", fix="numbers and groups are listed in docs/verify.md")
    lines = [
        line.removeprefix("E").strip() for line in log.read_text().splitlines() if line.startswith(("E ", "ERROR"))
    ]
    lines = [line.removeprefix("ERROR:").strip() for line in lines]
    return KubesmithError(
        f"the checks could not be run: {' '.join(lines[:6]) or f'pytest ended with {code}'}", fix=f"see {log}"
    )


@dataclass
class Watch:
    """Turns the stream of a running round into checks and progress."""

    progress: Progress
    label: str = ""
    checks: list[Check] = field(default_factory=list)
    waiting: dict[str, int] = field(default_factory=dict)
    certificates: list[dict[str, Any]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Tell whether every collected check was made: a round that broke off proves nothing."""
        return bool(self.checks) and not any(self.waiting.values())

    def follow(self, events: TextIO) -> None:
        """Read until the stream ends."""
        for line in events:
            event = json.loads(line)
            getattr(self, f"_{event.pop('event')}")(**event)

    def _collected(self, counts: dict[str, int]) -> None:
        self.waiting = counts
        self.progress.total(len(counts))
        for place, number in counts.items():
            self.progress.start(place, f"{self.label}{number} checks")

    def _certificates(self, rows: list[dict[str, Any]]) -> None:
        self.certificates = rows

    def _check(self, check: dict[str, Any]) -> None:
        made = verdicts.check_from(check)
        self.checks.append(made)
        place = made.node
        self.waiting[place] = self.waiting.get(place, 1) - 1
        if self.waiting[place] <= 0:
            self.progress.done(place, self.label + self._summary(place), changed=False)
        elif made.outcome == "failed":
            self.progress.update(place, f"{self.label}FAILED {made.title}")
        else:
            self.progress.update(place, f"{self.label}{self.waiting[place]} to go: {made.title}")

    def _summary(self, place: str) -> str:
        mine = [check.outcome for check in self.checks if check.node == place]
        numbers = {outcome: mine.count(outcome) for outcome in ("passed", "failed", "skipped")}
        return ", ".join(f"{number} {outcome}" for outcome, number in numbers.items() if number)
