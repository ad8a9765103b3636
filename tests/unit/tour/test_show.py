"""What a terminal and a page show of a record."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kubesmith.tour import page, show
from kubesmith.tour.record import Entry, Opened, Record, Step, read, write
from kubesmith.tour.stage import cells, wrapped
from kubesmith.tour.texts import LANGUAGES, Texts

STEPS = [
    Step("kubectl", 0, 88.2, "cp1"),
    Step("api", 92.1, 101.7, "cp1"),
    Step("etcd", 99.3, 99.3, "cp1", revision=700),
    Step("controllers", 110.2, 151.8, "cp1", revision=701),
    Step("pod", 61022.8, 61850.3, "w1", revision=705),
    Step("cni", 690, 702.3, "w1", part=True),
]


def record() -> Record:
    made = Record("kubelet-stopped", "lab", started=1000.0, zero=1000.0, seconds=70)
    made.entries = [
        Entry("say", "about", 1000.0),
        Entry("act", "stop", 1000.0, {"node": "w1", "unit": "kubelet"}),
        Entry("see", "unknown", 1052.0, {"node": "w1"}, "node", 39, 55, True),
        Entry("see", "taint", 1090.0, {"node": "w1"}, "node", 39, 55, False),
        Entry("claim", "containers_run", 1060.0, {"count": 2, "node": "w1"}, ok=True),
        Entry("claim", "placed", 1060.0, {"pod": "<b>web</b>", "node": "w1"}, ok=False),
    ]
    made.steps = list(STEPS)
    made.opened = [Opened("api", "request", "create <script>", '{"a": "</pre><script>alert(1)</script>"}')]
    return made


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_waterfall_is_80_columns_wide_at_most(language: str) -> None:
    rows = show.waterfall(STEPS, Texts(language))
    assert len(rows) == len(STEPS) + 1
    assert max(row.cell_len for row in rows) <= 80


def test_bars_stand_where_the_times_are() -> None:
    assert show.bar(Step("a", 0, 50), 100).rstrip() == "█" * (show.BAR // 2)
    assert show.bar(Step("a", 50, 100), 100) == " " * (show.BAR // 2) + "█" * (show.BAR // 2)
    assert show.bar(Step("a", 100, 100), 100) == " " * (show.BAR - 1) + "▏"
    assert len({len(show.bar(step, 61850.3)) for step in STEPS}) == 1


@pytest.mark.parametrize(
    "text", ["파드가 배포되는 흐름을 보여 주는 문장입니다 " * 4, "word " * 40, "x" * 300, "한" * 100]
)
def test_lines_are_wrapped_by_columns(text: str) -> None:
    rows = wrapped(text, 40)
    assert max(cells(row) for row in rows) <= 40
    assert "".join(rows).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_needs_nothing_else(language: str) -> None:
    html = page.render(record(), language)
    assert not re.search(r"(src|href)=\"(?!#)", html)
    assert "http" not in html.replace("http-equiv", "")
    assert html.startswith("<!doctype html>")
    assert f'<html lang="{language}">' in html


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_speaks_both_languages_and_shows_one(language: str) -> None:
    html = page.render(record(), language)
    other = next(name for name in LANGUAGES if name != language)
    assert re.search(rf'<main lang="{language}" id="{language}">', html)
    assert re.search(rf'<main lang="{other}" id="{other}" hidden>', html)
    assert all(Texts(name)("tours.kubelet-stopped.title") in html for name in LANGUAGES)


def test_ids_of_the_page_are_unique() -> None:
    ids = re.findall(r' id="([^"]+)"', page.render(record(), "en"))
    assert len(ids) == len(set(ids))


def test_evidence_cannot_become_markup() -> None:
    html = page.render(record(), "en")
    assert "<script>alert" not in html
    assert "<b>web</b>" not in html


def test_words_within_words_are_in_the_pages_language() -> None:
    made = Record("pod-flow", "lab")
    values = {"before": "@steps.api", "after": "@steps.scheduler", "first": 1.0, "second": 2.0}
    made.entries = [Entry("claim", "order_time", 0.0, values, ok=True)]
    html = page.render(made, "ko")
    assert "API 서버(1.0ms)가 스케줄러(2.0ms)보다" in html
    assert "API server (1.0 ms) came before scheduler (2.0 ms)" in html


def test_the_timeline_shows_what_was_in_time_and_what_was_not() -> None:
    html = page.render(record(), "en")
    assert html.count('class="ok"') == len(LANGUAGES)
    assert html.count('class="late"') == len(LANGUAGES)


def test_what_came_at_another_time_than_documented_is_no_success() -> None:
    made = record()
    made.entries = [entry for entry in made.entries if entry.ok is not False]
    assert made.ok
    made.entries.append(Entry("see", "unknown", 1010.0, {"node": "w1"}, "node", 39, 55, False))
    assert not made.ok
    assert [entry.ok for entry in made.judged].count(False) == 1


def test_a_record_in_which_nothing_was_asserted_is_no_success() -> None:
    assert not Record("naming", "lab").ok


def test_a_scale_has_round_numbers() -> None:
    assert [label for _, label in page.ticks([Step("a", 0, 1900)])] == ["0", "500", "1,000", "1,500"]
    assert page.ticks([]) == [(float(page.LEFT), "0"), (float(page.WIDTH - page.RIGHT), "1")]


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "tour.json"
    write(record(), file)
    assert read(file) == record()
    assert not read(file).ok
