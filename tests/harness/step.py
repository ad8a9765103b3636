"""One command of the test run: started, watched, ended, counted."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
LOGS = CHECKOUT / "artifacts" / "test"
GRACE = 120.0  # seconds that an interrupted step gets to remove what it made, such as a lab's nodes


@dataclass(frozen=True)
class Counts:
    """How many tests passed, failed and were skipped, and the reasons of the skipped ones."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """A command. ``skip`` is the reason why it cannot run on this machine; ``limit`` is in seconds.

    ``count`` makes Counts out of the output; without it a step counts as one test. What follows a ``vital`` step in
    its group builds on it. ``tidy`` removes what the step may leave on the machine when it is cut short.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path = CHECKOUT
    skip: str = ""
    limit: float = 1800.0
    count: Callable[[str], Counts] | None = None
    vital: bool = False
    tidy: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a step ended."""

    step: Step
    code: int
    seconds: float
    counts: Counts
    log: Path | None = None

    @property
    def ok(self) -> bool:
        """Tell whether nothing failed."""
        return self.code == 0 and not self.counts.failed


def execute(step: Step, group: str) -> Outcome:
    """Run a step with its output in a log. Raises KeyboardInterrupt after the step was given time to tidy up."""
    if step.skip:
        return Outcome(step, 0, 0.0, Counts(skipped=1, reasons=(step.skip,)))
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{group}-{re.sub('[^a-z0-9]+', '-', step.name.lower()).strip('-')}.log"
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            step.command,
            cwd=step.folder,
            env={**os.environ, **step.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with _ended(process, step):
            try:
                code = process.wait(step.limit)
            except subprocess.TimeoutExpired:
                output.write(f"\nstopped after {step.limit:.0f} s\n".encode())
                code = -1
    return Outcome(step, code, time.monotonic() - began, _counts(step, code, log), log)


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes], step: Step) -> Iterator[None]:
    """See to it that nothing of a step that was cut short is left: asked first, then made to end, then tidied."""
    try:
        yield
    finally:
        cut_short = process.poll() is None
        if cut_short:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if cut_short and step.tidy:
            subprocess.run(step.tidy, cwd=step.folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def _counts(step: Step, code: int, log: Path) -> Counts:
    counts = step.count(log.read_text(errors="replace")) if step.count else Counts(passed=int(code == 0))
    if code and not counts.failed:
        return Counts(counts.passed, 1, counts.skipped, counts.reasons)
    return counts


def pytest_counts(text: str) -> Counts:
    """Count by pytest's closing line; reasons of skips by its ``-rs`` lines."""
    words = {"passed": 0, "failed": 0, "error": 0, "errors": 0, "skipped": 0}
    closing = [line for line in text.splitlines() if re.search(r"\d+ \w+.* in [\d.]+s", line)]
    for number, word in re.findall(r"(\d+) (\w+)", closing[-1]) if closing else ():
        words[word] = int(number)
    reasons = tuple(re.findall(r"^SKIPPED \[\d+\] \S+: (.+)$", text, re.MULTILINE))
    return Counts(words["passed"], words["failed"] + words["error"] + words["errors"], words["skipped"], reasons)


def sanity_counts(text: str) -> Counts:
    """Count by ansible-test's own lines: each kind of sanity test is one."""
    made = set(re.findall(r'^Running sanity test "([^"]+)"', text, re.MULTILINE))
    failed = re.search(r"The (\d+) sanity test\(s\) listed below", text)
    skipped = dict.fromkeys(re.findall(r"^WARNING: (Skipping .*|.*skipped.*)$", text, re.MULTILINE))
    failures = int(failed[1]) if failed else 0
    return Counts(len(made) - failures, failures, len(skipped), tuple(skipped))
