"""Budgets that can be broken, each by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
        (
            [row("w1", number) for number in range(budgets.WORKER + 1)],
            f"w1 went through {budgets.WORKER + 1} tasks, the budget is {budgets.WORKER}",
        ),
        (
            [row("cp1", number) for number in range(budgets.CONTROL_PLANE + 1)],
            f"cp1 went through {budgets.CONTROL_PLANE + 1} tasks, the budget is",
        ),
        ([*FINE, *(row("w1", n, status="skipped") for n in range(3))], "3 of 23 tasks were skipped"),
        ([*FINE, row("w1", 5, changed=True)], "the second run changed: w1: t5"),
        ([*FINE, row("w1", 10, seconds=50.0)], "w1: t10 took 83% of the run"),
        ([row("localhost", 1)], "no task ran on any node"),
    ],
)
def test_each_budget_can_be_broken(rows: list[dict[str, Any]], said: str) -> None:
    found = list(budgets.broken(rows, ["cp1"], second=True))
    assert [said in text for text in found] == [True], found


def write(folder: Path, *, changed: bool) -> str:
    folder.mkdir(parents=True)
    rows = [*FINE, row("cp1", 10, role="kubeadm_master", changed=changed)]
    (folder / "tasks.jsonl").write_text("".join(json.dumps(item) + "\n" for item in rows))
    return str(folder)


def test_the_first_run_may_change_things(tmp_path: Path) -> None:
    first, second = write(tmp_path / "first", changed=True), write(tmp_path / "second", changed=False)
    assert budgets.main([first, second]) == 0
    assert budgets.main([second, first]) == 1


def test_the_runs_of_site_are_found_in_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "20260101T000000.1-create", changed=True)
    write(tmp_path / "20260101T000001.1-site", changed=True)
    assert budgets.main([str(tmp_path)]) == 1
    assert "two runs are wanted, and there are 1" in capsys.readouterr().out
    write(tmp_path / "20260101T000002.1-site", changed=False)
    assert budgets.main([str(tmp_path)]) == 0
    assert "cp1 11 tasks, 0 skipped, 1 changed" in capsys.readouterr().out


PLAYBOOK = """
- name: First
  hosts: all
  gather_facts: false
  tasks:
    - {name: Done, ansible.builtin.set_fact: {a: 1}}
    - {name: Left out, ansible.builtin.set_fact: {a: 1}, when: inventory_hostname == 'w1'}
    - {name: Changed, ansible.builtin.command: "true", when: inventory_hostname == 'w1'}
    - {name: Broken, ansible.builtin.fail: , when: inventory_hostname == 'w1'}
"""


def test_rows_of_a_run_that_nobody_watches(tmp_path: Path) -> None:
    (tmp_path / "site.yml").write_text(PLAYBOOK)
    (tmp_path / "hosts").write_text("[all]\ncp1 ansible_connection=local\nw1 ansible_connection=local\n")
    callbacks = Path(budgets.__file__).parent / "callbacks"
    settings = {"ANSIBLE_CALLBACK_PLUGINS": str(callbacks), "ANSIBLE_CALLBACKS_ENABLED": "task_rows"}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts", "site.yml"]
    own = os.environ | settings | {"KUBESMITH_TASK_ROWS": str(tmp_path / "rows")}
    subprocess.run(command, cwd=tmp_path, env=own, check=False, capture_output=True)
    (file,) = (tmp_path / "rows").glob("*-site/tasks.jsonl")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    told = {(item["host"], item["task"]): (item["status"], item["changed"]) for item in rows}
    assert told == {
        ("cp1", "Done"): ("ok", False),
        ("cp1", "Left out"): ("skipped", False),
        ("cp1", "Changed"): ("skipped", False),
        ("cp1", "Broken"): ("skipped", False),
        ("w1", "Done"): ("ok", False),
        ("w1", "Left out"): ("ok", False),
        ("w1", "Changed"): ("ok", True),
        ("w1", "Broken"): ("failed", False),
    }
    assert all(0 < item["seconds"] < 300 and item["play"] == "First" for item in rows)
