"""Run the project's tests: python tests/run.py [GROUP…]; what `make test` runs when none is named.

Every group is run, whatever became of the one before. Exit codes: 0 nothing failed, 1 something did, 130 ^C.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.groups import GROUPS, LONG
from harness.step import Outcome, execute

SHOWN = 60  # last lines of a failed step's log


def main(words: Sequence[str]) -> int:
    """Run the wanted groups and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="GROUP", choices=[*GROUPS, []], help=", ".join(GROUPS))
    wanted = parser.parse_args(words).groups or [name for name in GROUPS if name not in LONG]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it, and steps inherit that
    outcomes: dict[str, list[Outcome]] = {name: [] for name in wanted}
    began = time.monotonic()
    code = 0
    try:
        with tempfile.TemporaryDirectory(prefix="kubesmith-test-") as folder:
            for name in wanted:
                run_group(name, Path(folder), outcomes[name])
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        code = 130
    failed = summary(outcomes, time.monotonic() - began)
    return code or int(failed)


def run_group(name: str, folder: Path, outcomes: list[Outcome]) -> None:
    """Run a group's steps, up to a vital one that fails: those after it could only fail for the same reason."""
    print(f"\n{name}", flush=True)
    for step in GROUPS[name](folder):
        if not step.skip:
            print(f"  » {step.name}", flush=True)
        outcomes.append(execute(step, name))
        show(outcomes[-1])
        if step.vital and not outcomes[-1].ok:
            print("  the rest of this group was not run")
            return


def show(outcome: Outcome) -> None:
    """Print how a step ended, and the end of its log if it failed."""
    step, counts = outcome.step, outcome.counts
    if step.skip:
        print(f"  - {step.name}: skipped: {step.skip}", flush=True)
        return
    numbers = f"{counts.passed} passed" + (f", {counts.failed} failed" if counts.failed else "")
    numbers += f", {counts.skipped} skipped" if counts.skipped else ""
    print(f"  {'✓' if outcome.ok else '✗'} {step.name:<34} {outcome.seconds:7.1f} s  {numbers}", flush=True)
    for reason in counts.reasons:
        print(f"    skipped: {reason}")
    if not outcome.ok and outcome.log:
        rows = outcome.log.read_text(errors="replace").splitlines()[-SHOWN:]
        print("".join(f"    | {row}\n" for row in rows) + f"    all of it: {outcome.log}", flush=True)


def summary(outcomes: dict[str, list[Outcome]], seconds: float) -> bool:
    """Print a line for each group, each failed step, and the sums; return whether anything failed."""
    print()
    for name, steps in outcomes.items():
        took = sum(outcome.seconds for outcome in steps)
        print(f"{name:<12} {took:7.1f} s  {'ok' if all(outcome.ok for outcome in steps) else 'FAILED'}")
    every = [outcome for steps in outcomes.values() for outcome in steps]
    for outcome in every:
        if not outcome.ok:
            print(f"failed: {outcome.step.name} ({outcome.log})")
    failed = sum(outcome.counts.failed for outcome in every)
    passed, skipped = (sum(o.counts.passed for o in every), sum(o.counts.skipped for o in every))
    print(f"in {seconds:.0f} s:\n{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
