"""What is written down of snapshots."""

from pathlib import Path

import pytest

from kubesmith.errors import InputError
from kubesmith.providers.base import Wanted
from kubesmith.providers.snapshots import Records, Snapshot

CLEAN = Snapshot("clean", "2026-11-24T00:00:00Z", {"cp1": "control-plane"}, {"cp1": "10.1.2.3"}, 7)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path)


def test_a_snapshot_is_found_again_and_forgotten(records: Records) -> None:
    later = Snapshot("later", "2026-11-24T00:00:01Z", CLEAN.roles, CLEAN.addresses)
    for snapshot in (later, CLEAN):
        records.write(snapshot)
    assert [snapshot.name for snapshot in records.all()] == ["clean", "later"]
    assert records.find("clean") == CLEAN
    records.forget("clean")
    with pytest.raises(InputError) as error:
        records.find("clean")
    assert "later" in error.value.fix


@pytest.mark.parametrize("name", ["", "Clean", "a b", "../x", "-a", "a-", "x" * 33, "saving", "restoring", "käse"])
def test_a_name_that_is_none_is_refused(records: Records, name: str) -> None:
    with pytest.raises(InputError) as error:
        records.check_new(name)
    assert error.value.exit_code == 2


def test_a_taken_name_is_refused(records: Records) -> None:
    records.write(CLEAN)
    with pytest.raises(InputError, match="already"):
        records.check_new("clean")


def test_nothing_is_saved_or_deleted_while_a_restore_is_unfinished(records: Records) -> None:
    records.write(CLEAN)
    records.begin_restoring("clean")
    with pytest.raises(InputError, match="interrupted"):
        records.check_new("other")
    with pytest.raises(InputError, match="interrupted"):
        records.check_idle(CLEAN)
    records.restored()
    records.check_new("other")
    records.check_idle(CLEAN)


def test_what_was_being_saved_is_no_snapshot(records: Records) -> None:
    records.begin_saving("half", ["w1"])
    assert records.all() == []
    assert records.saving() == ("half", ["w1"])
    records.saved()
    assert records.saving() == ("", [])


def test_other_nodes_than_those_of_the_snapshot_are_refused(records: Records) -> None:
    records.check_same(CLEAN, [Wanted("cp1", "control-plane")])
    with pytest.raises(InputError, match="w1"):
        records.check_same(CLEAN, [Wanted("cp1", "control-plane"), Wanted("w1", "worker")])
    with pytest.raises(InputError, match="worker"):
        records.check_same(CLEAN, [Wanted("cp1", "worker")])


def test_the_kubeconfig_of_the_snapshot_comes_back_and_stays_private(records: Records) -> None:
    kubeconfig = records.state / "kubeconfig"
    kubeconfig.write_text("then")
    records.write(CLEAN)
    kubeconfig.write_text("now")
    records.bring_back_kubeconfig("clean")
    assert kubeconfig.read_text() == "then"
    assert kubeconfig.stat().st_mode & 0o777 == 0o600
    assert {file.stat().st_mode & 0o777 for file in records.folder.iterdir()} == {0o600}
