"""Both languages say everything, and everything that is said has a text."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path

import pytest

from kubesmith.errors import InputError
from kubesmith.tour.quiz import EXERCISES, HINTS
from kubesmith.tour.texts import LANGUAGES, VARIABLE, Texts, catalog, language
from kubesmith.tour.tours import TOURS

SOURCES = sorted((Path(__file__).parents[3] / "kubesmith" / "tour").rglob("*.py"))
#: Texts that are the same in every language: names of programs and commands.
NO_HANGUL = re.compile(r"^[\x00-\x7f·→←…\u2013»✓✗]*$")


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("other", [name for name in LANGUAGES if name != "en"])
def test_the_keys_are_the_same(other: str) -> None:
    assert set(catalog("en")) == set(catalog(other))


@pytest.mark.parametrize("other", [name for name in LANGUAGES if name != "en"])
def test_the_places_are_the_same(other: str) -> None:
    english, texts = catalog("en"), catalog(other)
    assert [key for key in english if places(english[key]) != places(texts[key])] == []


def test_every_text_says_something() -> None:
    assert [(name, key) for name in LANGUAGES for key, text in catalog(name).items() if not text] == []


def test_korean_is_korean() -> None:
    """A text may be the same in both languages only where it has no words of English: commands, names, figures."""
    english, korean = catalog("en"), catalog("ko")
    same = [key for key, text in korean.items() if NO_HANGUL.match(text) and text != english[key]]
    copied = [key for key, text in korean.items() if text == english[key] and len(re.findall(r"[a-z]{2,} ", text)) > 4]
    assert [key for key in same if "hint" not in key and re.search("[a-z]{3,} [a-z]{3,} [a-z]{3,}", korean[key])] == []
    assert [key for key in copied if "hint" not in key and not key.startswith("fixes.")] == []


def test_english_is_not_korean() -> None:
    assert [
        key for key, text in catalog("en").items() if re.search("[가-힣]", text) and "this_language" not in key
    ] == []


@pytest.mark.parametrize("kind", ["say", "see", "act", "claim"])
def test_what_the_tours_say_has_a_text(kind: str) -> None:
    known = {key.rsplit(".", 1)[1] for key in catalog("en") if f".{kind}." in key}
    assert sorted(said(kind) - known) == []


def test_what_is_waited_for_has_a_text() -> None:
    known = {key.rsplit(".", 1)[1] for key in catalog("en") if key.startswith("waits.")}
    assert sorted(said("must") - known) == []


def said(kind: str) -> set[str]:
    """Return the literal first arguments of ``stage.KIND(…)`` in the tours' sources."""
    found = set()
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == kind):
                continue
            if node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                found.add(node.args[0].value)
    return found - {"scheduler_absent", "fault"}


@pytest.mark.parametrize("name", TOURS)
def test_every_tour_has_a_title_and_says_what_it_is_about(name: str) -> None:
    for code in LANGUAGES:
        assert Texts(code).has(f"tours.{name}.title")
        assert Texts(code).has(f"tours.{name}.say.about")


@pytest.mark.parametrize("name", EXERCISES)
def test_every_exercise_has_its_texts(name: str) -> None:
    for code in LANGUAGES:
        wanted = ["title", "task", "why", *(f"hint_{number + 1}" for number in range(HINTS))]
        assert all(Texts(code).has(f"exercises.{name}.{part}") for part in wanted)


@pytest.mark.parametrize(
    ("chosen", "environment", "spoken"),
    [
        (None, {}, "en"),
        (None, {"LANG": "ko_KR.UTF-8"}, "ko"),
        (None, {"LC_ALL": "C.UTF-8", "LANG": "ko_KR.UTF-8"}, "en"),
        (None, {VARIABLE: "ko"}, "ko"),
        ("en", {VARIABLE: "ko", "LANG": "ko_KR.UTF-8"}, "en"),
    ],
)
def test_the_language(
    chosen: str | None, environment: dict[str, str], spoken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (VARIABLE, "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert language(chosen) == spoken


def test_a_language_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "de")
    with pytest.raises(InputError, match="'de'"):
        language(None)
