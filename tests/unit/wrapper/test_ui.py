"""What a person sees, and what a program reads."""

from __future__ import annotations

import json

import pytest

from kubesmith.errors import KubesmithError
from kubesmith.ui import Ui


def rows(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_without_a_terminal_there_are_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    ui = Ui()
    with ui.phase("nodes", "Nodes") as progress:
        progress.total(1)
        progress.start("cp1", "starting")
        progress.update("cp1", "waiting for ssh")
        progress.done("cp1", "ready", changed=True)
        progress.summary = "1 made"
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert lines[0] == "» Nodes"
    assert lines[1].endswith("cp1: starting")
    assert lines[2].endswith("cp1: ready")  # updates only with --verbose
    assert lines[3].startswith("✓ Nodes")
    assert lines[3].endswith("1 made")
    assert "\x1b" not in said


def test_verbose_shows_updates_once(capsys: pytest.CaptureFixture[str]) -> None:
    with Ui(verbosity=1).phase("p", "P") as progress:
        progress.update("a", "same")
        progress.update("a", "same")
    assert capsys.readouterr().out.count("same") == 1


def test_quiet_says_nothing_of_what_went_well(capsys: pytest.CaptureFixture[str]) -> None:
    with Ui(quiet=True).phase("p", "P") as progress:
        progress.done("a", "ready", changed=False)
    assert capsys.readouterr().out == ""


def test_json_is_one_object_a_line_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    ui = Ui(as_json=True)
    with ui.phase("nodes", "Nodes") as progress:
        progress.start("w1", "starting [bold]\n")
        progress.done("w1", "ready", changed=True)
    said = rows(capsys.readouterr().out)
    assert [row["event"] for row in said] == ["phase_start", "item_start", "item_done", "phase_end"]
    assert said[1]["text"] == "starting [bold]\n"
    assert said[2]["changed"] is True
    assert said[3]["ok"] is True


def test_a_phase_that_fails_is_kept_with_its_time_and_shown_as_failed(capsys: pytest.CaptureFixture[str]) -> None:
    ui = Ui()
    with pytest.raises(KubesmithError), ui.phase("p", "Broken"):
        raise KubesmithError("no")
    assert [(time.name, time.ok) for time in ui.times] == [("p", False)]
    assert "✗ Broken" in capsys.readouterr().out


def test_times_of_phases_follow_each_other() -> None:
    ui = Ui(quiet=True)
    for name in ("a", "b"):
        with ui.phase(name, name):
            pass
    first, second = ui.times
    assert 0 <= first.start <= second.start
    assert second.start >= first.start + first.seconds


def test_words_of_others_are_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """A node's or a file's text may hold square brackets."""
    with Ui().phase("p", "P") as progress:
        progress.done("a", "installed [/red] [1/3]", changed=False)
    assert "installed [/red] [1/3]" in capsys.readouterr().out
