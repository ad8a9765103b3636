"""Names to phases, and phases to the playbook's tags."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubesmith import phases
from kubesmith.errors import InputError

PLAYBOOK = Path(__file__).parents[3] / "playbooks" / "site.yml"
INCLUDED = re.compile(r"tasks/\{\{ '(\w+)' if .* else '(\w+)' \}\}")


def test_nothing_said_is_the_whole_way() -> None:
    assert phases.chosen() == frozenset(phases.PHASES)
    assert phases.tags(phases.chosen()) == ""


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"first": "workers"}, {"workers", "ready", "verify"}),
        ({"last": "nodes"}, {"bundle", "nodes"}),
        ({"first": "network", "last": "network"}, {"network"}),
        ({"first": "converge", "last": "converge"}, set(phases.CONVERGE)),
        ({"last": "converge", "skip": ["preflight"]}, {"bundle", "nodes", *phases.CONVERGE}),
        ({"only": ["verify", "nodes"]}, {"nodes", "verify"}),
        ({"only": ["converge"]}, set(phases.CONVERGE)),
    ],
)
def test_a_part_of_the_way(asked: dict[str, str], wanted: set[str]) -> None:
    assert phases.chosen(**asked) == wanted


@pytest.mark.parametrize(
    "asked", [{"first": "verify", "last": "bundle"}, {"only": ["nodes"], "last": "ready"}, {"first": ""}, {"last": "x"}]
)
def test_what_makes_no_way_is_refused_with_the_list(asked: dict[str, str]) -> None:
    with pytest.raises(InputError) as refused:
        phases.chosen(**asked)
    assert ", ".join(phases.PHASES) in refused.value.fix


def test_tags_are_in_order() -> None:
    assert phases.tags(frozenset({"ready", "verify", "runtime"})) == "runtime,ready"


def tasks_of(file: Path) -> list[dict[str, Any]]:
    """Return a playbook's tasks, each with its tags, and those of the files that it includes by a node's role."""
    found = []
    for play in yaml.safe_load(file.read_text()):
        for task in play["tasks"]:
            found.append({"tags": play.get("tags")} | task)
            if named := INCLUDED.search(str(task.get("ansible.builtin.include_tasks", ""))):
                for name in named.groups():
                    found += yaml.safe_load((file.parent / "tasks" / f"{name}.yml").read_text())
    return found


def test_every_task_of_the_playbook_belongs_to_a_phase() -> None:
    found: set[str] = set()
    for task in tasks_of(PLAYBOOK):
        tags = task.get("tags")
        assert tags, task["name"]
        found |= {tags} if isinstance(tags, str) else set(tags)
        applied = task.get("ansible.builtin.include_role", {"apply": {"tags": tags}})
        assert applied["apply"]["tags"] == tags, f"{task['name']}: the role's own tasks would be left out"
    assert found == {"always", *phases.CONVERGE}


def test_a_file_that_is_included_is_reached_by_the_tags_of_its_tasks() -> None:
    for play in yaml.safe_load(PLAYBOOK.read_text()):
        for task in play["tasks"]:
            named = INCLUDED.search(str(task.get("ansible.builtin.include_tasks", "")))
            rows = [
                row
                for name in (named.groups() if named else ())
                for row in yaml.safe_load((PLAYBOOK.parent / "tasks" / f"{name}.yml").read_text())
            ]
            inner = {tag for row in rows for tag in ([row["tags"]] if isinstance(row["tags"], str) else row["tags"])}
            assert not rows or inner == set(task["tags"]), task["name"]
