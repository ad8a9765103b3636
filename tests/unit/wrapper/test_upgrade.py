"""The verb upgrade before it touches anything, and that up leaves a cluster's version alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kubesmith import job as jobs
from kubesmith import running
from kubesmith.commands import plan, up, upgrade
from kubesmith.errors import InputError
from kubesmith.running import Running
from kubesmith.ui import Ui

FILE = """\
# Kept: this line.
cluster:
  name: old  # and this
  kubernetes: {version}  # the reason
provider: podman
workers: 2
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("KUBESMITH_STATE", str(tmp_path / "state"))
    file = tmp_path / "cluster.yml"

    def made(version: str = "1.36.3", runs: str = "1.36.3", **kubelets: str) -> jobs.Job:
        file.write_text(FILE.format(version=version))
        found = Running(runs, {**dict.fromkeys(("cp1", "w1", "w2"), runs), **kubelets})
        monkeypatch.setattr(running, "look", lambda _job: found)
        monkeypatch.setattr(jobs.Job, "require_machines", lambda _job: None)
        return jobs.read(str(file), Ui(quiet=True))

    return made


@dataclass
class Touched:
    """Fails the test if anything is begun."""

    def __call__(self, *_args: Any, **_more: Any) -> Any:
        raise AssertionError("something was begun")


@pytest.fixture(autouse=True)
def nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade.source, "choose", Touched())
    monkeypatch.setattr(upgrade.execute, "playbook", Touched())
    monkeypatch.setattr(up.source, "choose", Touched())


@pytest.mark.parametrize("text", ["1.35.4", "1.38", "2.0.0", "", "latest-1", "1.37.2-rc.1", "v", "1.37.2.0"])
def test_a_version_that_is_not_built_is_refused(work: Any, text: str) -> None:
    with pytest.raises(InputError, match="is not a Kubernetes version that this release builds"):
        upgrade.run(work(), text)


@pytest.mark.parametrize(("text", "meant"), [("1.37.2", "1.37.2"), ("v1.37.2", "1.37.2"), ("1.36", "1.36.3")])
def test_a_version_is_written_as_in_a_cluster_file(text: str, meant: str) -> None:
    assert upgrade.version(text) == meant


@pytest.mark.parametrize(
    ("runs", "to", "why"),
    [
        ("1.37.2", "1.36.3", "1.37.2 → 1.36.3 is a downgrade"),
        ("1.38.0", "1.37.2", "is a downgrade"),
        ("1.35.4", "1.37.2", "1.35.4 → 1.37.2 skips a minor version"),
        ("1.34.0", "1.36.3", "skips a minor version"),
    ],
)
def test_the_wrong_way_is_refused_before_anything_is_begun(work: Any, runs: str, to: str, why: str) -> None:
    for check in (False, True):
        with pytest.raises(InputError, match=why) as caught:
            upgrade.run(work(runs=runs), to, check=check, force=["pdb"])
        assert caught.value.fix


@pytest.mark.parametrize("code", ["downgrade", "skipped", "etcd", "everything", ""])
def test_only_some_things_can_be_passed_over(work: Any, code: str) -> None:
    with pytest.raises(InputError, match="is not something that can be passed over"):
        upgrade.run(work(), "1.37.2", force=[code])


@pytest.mark.parametrize("verb", [up.run, plan.run])
def test_up_and_plan_never_change_the_version_in_passing(work: Any, verb: Any) -> None:
    with pytest.raises(InputError, match="up does not change the version") as caught:
        verb(work("1.37.2", runs="1.36.3"))
    assert caught.value.fix == "python3 runner.py upgrade --to 1.37.2"
    with pytest.raises(InputError, match="up does not change the version") as caught:
        verb(work("1.36.3", runs="1.37.2"))
    assert "write `kubernetes: 1.37.2`" in caught.value.fix


def test_a_cluster_between_two_versions_is_told(work: Any) -> None:
    with pytest.raises(InputError, match=r"between two versions: .*w2 1\.36\.3") as caught:
        up.run(work("1.37.2", runs="1.37.2", w2="1.36.3"))
    assert caught.value.fix == "python3 runner.py upgrade --to 1.37.2"


def test_a_cluster_of_its_own_version_is_no_matter(work: Any) -> None:
    running.refuse_other_version(work("1.36.3", runs="1.36.3", stranger="1.35.0"))


@pytest.mark.parametrize(
    ("text", "after"),
    [
        (FILE.format(version="1.36.3"), FILE.format(version="1.37.2")),
        (FILE.format(version="v1.36.3"), FILE.format(version="1.37.2")),
        (FILE.format(version='"1.36"'), FILE.format(version='"1.37.2"')),
        ("cluster: {name: a, kubernetes: 1.36.3}  # x\n", "cluster: {name: a, kubernetes: 1.37.2}  # x\n"),
        (
            "cluster: {'kubernetes': '1.36.3', name: kubernetes}\n",
            "cluster: {'kubernetes': '1.37.2', name: kubernetes}\n",
        ),
        ("cluster: {name: a}\n", "cluster: {name: a}\n"),
    ],
)
def test_the_file_says_the_new_version_and_keeps_all_else(text: str, after: str) -> None:
    assert upgrade.with_version(text, "1.37.2") == after


def test_what_blocks_is_told_with_its_remedy_and_how_to_pass_over_it(work: Any) -> None:
    row = {"code": "pdb", "level": "block", "text": "default/web lets no pod go", "fix": "one more replica", "node": ""}
    made = {"insights": [row], "nothing": False, "way": ["1.36.3", "1.37.2"]}
    with pytest.raises(
        InputError, match=r"1 thing\(s\) speak against the upgrade \(pdb\); nothing was touched"
    ) as told:
        upgrade._told(work(), made, check=False)
    assert told.value.fix == "one more replica; or pass over it: --force pdb"
