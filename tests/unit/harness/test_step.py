"""The test run's own counting, and how it ends what it starts."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from harness import step
from harness.step import Counts, Step, execute, pytest_counts, sanity_counts


@pytest.fixture(autouse=True)
def _logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "LOGS", tmp_path / "logs")


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("..\n2 passed in 0.10s\n", Counts(2, 0, 0)),
        ("== 1 failed, 3 passed, 2 skipped, 1 warning in 4.00s (0:00:04) ==\n", Counts(3, 1, 2)),
        ("1 passed, 2 errors in 0.1s", Counts(1, 2, 0)),
        ("1 error in 0.1s", Counts(0, 1, 0)),
        ("SKIPPED [1] a/test_x.py:7: needs root\n1 passed, 1 skipped in 0.1s", Counts(1, 0, 1, ("needs root",))),
        ("no tests ran in 0.01s", Counts(0, 0, 0)),
        ("", Counts(0, 0, 0)),
        ("a test prints: 9 passed in 1.0s\n1 passed in 0.1s", Counts(1, 0, 0)),
    ],
)
def test_pytests_closing_line_is_counted(text: str, counts: Counts) -> None:
    assert pytest_counts(text) == counts


def test_ansible_tests_own_lines_are_counted() -> None:
    text = 'Running sanity test "a"\nRunning sanity test "b"\nRunning sanity test "b"\n'
    assert sanity_counts(text) == Counts(2, 0, 0)
    text += 'WARNING: Skipping sanity test "c" on Python 3.14 because it could not be found.\n'
    text += "FATAL: The 1 sanity test(s) listed below (out of 2) failed. See error output above for details.\n"
    found = sanity_counts(text)
    assert (found.passed, found.failed, found.skipped) == (1, 1, 1)


@pytest.mark.parametrize(("code", "passed", "failed"), [(0, 1, 0), (3, 0, 1)])
def test_a_step_is_one_test(code: int, passed: int, failed: int) -> None:
    outcome = execute(Step("Some step!", ("sh", "-c", f"echo said; exit {code}")), "group")
    assert (outcome.ok, outcome.counts.passed, outcome.counts.failed) == (code == 0, passed, failed)
    assert outcome.log
    assert outcome.log.name == "group-some-step.log"
    assert outcome.log.read_text() == "said\n"


def test_a_step_that_ends_badly_without_a_counted_failure_has_failed() -> None:
    """As pytest does when it finds no test at all."""
    assert not execute(Step("x", ("sh", "-c", "echo no tests ran in 0.01s; exit 5"), count=pytest_counts), "g").ok


def test_a_skipped_step_is_told_and_not_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    outcome = execute(Step("x", ("touch", str(made)), skip="needs root"), "g")
    assert outcome.ok
    assert outcome.counts == Counts(skipped=1, reasons=("needs root",))
    assert not made.exists()


def test_a_step_that_takes_too_long_is_asked_to_end_and_tidied(tmp_path: Path) -> None:
    tidied = tmp_path / "tidied"
    script = "trap 'echo asked; exit 0' INT; sleep 60 & wait"
    outcome = execute(Step("x", ("sh", "-c", script), limit=1, tidy=("touch", str(tidied))), "g")
    assert not outcome.ok
    assert outcome.log
    assert "asked" in outcome.log.read_text()
    assert tidied.exists()


def ended(stat: Path, seconds: float) -> bool:
    """Tell whether a process is gone, or dead and not yet buried; a killed one takes its time on a busy machine."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def test_an_interrupt_leaves_nothing_running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child, tidied = tmp_path / "child", tmp_path / "tidied"
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    monkeypatch.setattr(step, "GRACE", 1.0)

    def interrupt() -> None:
        while not child.exists() or not child.read_text().strip():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            script = f"trap '' INT; sleep 60 & echo $! > {child}; wait"
            execute(Step("x", ("sh", "-c", script), tidy=("touch", str(tidied))), "g")
    finally:
        thread.join()
        signal.signal(signal.SIGTERM, before)
    assert tidied.exists()
    assert ended(Path(f"/proc/{child.read_text().strip()}/stat"), seconds=20)
