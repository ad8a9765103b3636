"""Interruptions of a lab's own, chosen by a seed: make test-faults.

KUBESMITH_SEED repeats a choice, KUBESMITH_CASES says how many (60), KUBESMITH_PART=2/6 takes a part of them. What
passed is kept in artifacts/interruptions-SEED.jsonl and not tried again unless KUBESMITH_AGAIN=1. KUBESMITH_KEEP=1
leaves the lab.
"""

import json
import os
import time
from pathlib import Path

import pytest

from interruptions import cases
from interruptions.lab import Interrupted
from kubesmith.cli import VERBS

SEED = int(os.environ.get("KUBESMITH_SEED") or time.time_ns() % 1_000_000)
COUNT = int(os.environ.get("KUBESMITH_CASES") or 60)
KEPT = Path(__file__).parents[2] / "artifacts" / f"interruptions-{SEED}.jsonl"


def chosen():
    """Return the cases of this run."""
    return cases.part(cases.choose(tuple(VERBS), SEED, COUNT), os.environ.get("KUBESMITH_PART") or "1/1")


def earlier():
    """Return what an earlier run of this seed found, by case."""
    if not KEPT.exists():
        return {}
    return {row["case"]: row for row in map(json.loads, KEPT.read_text().splitlines())}


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", [pytest.param(case, id=f"{i:03}-{case.id}") for i, case in enumerate(chosen(), 1)])


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    made = Interrupted(
        tmp_path_factory.mktemp("interruptions"), os.environ.get("KUBESMITH_INTERRUPTED_LAB", "interrupted")
    )
    try:
        made.up()
        made.remember()
        yield made
    finally:
        if not os.environ.get("KUBESMITH_KEEP"):
            made.run("destroy", "--yes")


@pytest.fixture
def note():
    """Return what keeps a case's result at once, so that a suite that is stopped goes on from there."""

    def write(case, **row):
        KEPT.parent.mkdir(exist_ok=True)
        with KEPT.open("a") as out:
            out.write(json.dumps({"case": case.id, "fault": case.fault, "moment": str(case.moment), **row}) + "\n")

    return write


def pytest_terminal_summary(terminalreporter):
    rows = earlier()
    mine = [rows[case.id] for case in chosen() if case.id in rows]
    if not mine:
        return
    survived = [row for row in mine if row["survived"]]
    write = terminalreporter.write_line
    write("")
    write(
        f"seed {SEED}: {len(mine)} of {len(chosen())} cases tried, {len(survived)} survived, "
        f"{sum(row['lost'] for row in mine)} objects lost, {sum(row['half'] for row in mine)} half-written files"
    )
    for fault in cases.FAULTS:
        of_it = [row for row in mine if row["fault"] == fault]
        write(
            f"  {fault:<12} {len(of_it):3} tried, {sum(row['survived'] for row in of_it):3} survived, "
            f"{sum(row['stopped'] for row in of_it):3} stopped the run"
        )
    for fault, why in cases.NOT_APPLICABLE.items():
        write(f"  {fault:<12} not applicable: {why}")
