"""Budgets that can be broken, each by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness import budgets


def row(host: str, number: int, **over: Any) -> dict[str, Any]:
    made = {"host": host, "role": "containerd", "task": f"t{number}", "status": "ok", "changed": False}
    return made | {"start": f"2026-01-01T00:00:{number:02d}", "seconds": 1.0} | over


FINE = [row("w1", number) for number in range(10)] + [row("cp1", number) for number in range(10)]


def test_a_run_within_its_budgets() -> None:
    assert list(budgets.broken(FINE, ["cp1"], second=True)) == []


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row("w1", number) for number in range(budgets.WORKER + 1)], "w1 went through 23 tasks"),
        ([row("cp1", number) for number in range(budgets.CONTROL_PLANE + 1)], "cp1 went through 37 tasks"),
        ([*FINE, *(row("w1", n, status="skipped") for n in range(3))], "3 of 23 tasks were skipped"),
        ([*FINE, row("w1", 5, changed=True)], "the second run changed: w1: t5"),
        ([*FINE, row("w1", 10, seconds=50.0)], "w1: t10 took 83% of the run"),
        ([row("localhost", 1)], "no task ran on any node"),
    ],
)
def test_each_budget_can_be_broken(rows: list[dict[str, Any]], said: str) -> None:
    found = list(budgets.broken(rows, ["cp1"], second=True))
    assert [said in text for text in found] == [True], found


def test_the_first_run_may_change_things(tmp_path: Path) -> None:
    for name, changed in (("first", True), ("second", False)):
        (tmp_path / name).mkdir()
        rows = [*FINE, row("cp1", 10, role="kubeadm_master", changed=changed)]
        (tmp_path / name / "tasks.jsonl").write_text("".join(json.dumps(item) + "\n" for item in rows))
    assert budgets.main([str(tmp_path / "first"), str(tmp_path / "second")]) == 0
    assert budgets.main([str(tmp_path / "second"), str(tmp_path / "first")]) == 1
