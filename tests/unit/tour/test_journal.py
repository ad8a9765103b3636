"""The way back stands on the disk before a change is made, and can be gone twice."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kubesmith.errors import InputError, KubesmithError
from kubesmith.tour import journal
from kubesmith.tour.journal import TOUR, Journal, Undo, Ways, take_back
from kubesmith.tour.stage import removed, set_back

FIRST, SECOND = Undo(node="w1", script="systemctl start kubelet"), removed("/api/v1/namespaces/x")


@pytest.fixture
def book(tmp_path: Path) -> Journal:
    return Journal(journal.place(tmp_path), TOUR, "kubelet-stopped")


def ways(done: list[str], fails: Callable[[str], bool] = lambda _what: False) -> Ways:
    def go(what: str) -> None:
        if fails(what):
            raise KubesmithError(f"{what} failed")
        done.append(what)

    return Ways(lambda node, script: go(f"{node}: {script}"), lambda asked: go(str(asked["path"])), go)


def test_a_note_is_on_the_disk_at_once(book: Journal, tmp_path: Path) -> None:
    book.note(FIRST)
    assert [row["node"] for row in json.loads(book.file.read_text())["undo"]] == ["w1"]
    assert oct(book.file.stat().st_mode & 0o777) == "0o600"
    assert journal.find(tmp_path) == book


def test_the_newest_change_is_taken_back_first(book: Journal) -> None:
    book.note(FIRST)
    book.note(SECOND)
    done: list[str] = []
    take_back(book, ways(done), seconds=0)
    assert done == ["/api/v1/namespaces/x", "w1: systemctl start kubelet"]
    assert journal.find(book.file.parents[1]) == book
    assert book.undo == []


def test_what_was_taken_back_is_struck_out_when_the_next_fails(book: Journal, tmp_path: Path) -> None:
    book.note(FIRST, SECOND)
    with pytest.raises(KubesmithError, match="kubelet failed"):
        take_back(book, ways([], lambda what: "kubelet" in what), seconds=0)
    left = journal.find(tmp_path)
    assert left is not None
    assert left.undo == [FIRST]


def test_a_way_is_tried_again(book: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal.time, "sleep", lambda _seconds: None)
    book.note(FIRST)
    tries = iter([True, True, False])
    done: list[str] = []
    take_back(book, ways(done, lambda _what: next(tries)), seconds=60)
    assert len(done) == 1


def test_a_file_that_was_half_written_does_not_count(book: Journal, tmp_path: Path) -> None:
    book.note(FIRST)
    book.file.with_name("journal.json.new").write_text('{"half')
    left = journal.find(tmp_path)
    assert left is not None
    left.note(SECOND)
    assert len(json.loads(book.file.read_text())["undo"]) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"undo": [{"nodes": 1}]}', '{"schema": 1, "undo": []}'])
def test_a_damaged_journal(text: str, tmp_path: Path) -> None:
    file = journal.place(tmp_path)
    file.parent.mkdir(parents=True)
    file.write_text(text)
    with pytest.raises(InputError, match="damaged"):
        journal.find(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_journal_that_may_not_be_read(book: Journal, tmp_path: Path) -> None:
    book.write()
    book.file.chmod(0)
    with pytest.raises(InputError, match="Permission"):
        journal.find(tmp_path)


def test_there_is_none(tmp_path: Path) -> None:
    assert journal.find(tmp_path) is None


def test_ways_back_in_words() -> None:
    assert journal.words(FIRST) == "w1: systemctl start kubelet"
    assert journal.words(SECOND) == "DELETE /api/v1/namespaces/x"
    assert journal.words(set_back("/api/v1/nodes/w1", {"spec": {}})) == "PATCH /api/v1/nodes/w1"
    assert journal.words(Undo(machine="w1")) == "w1: start"
