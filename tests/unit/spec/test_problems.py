"""How a problem reads."""

from __future__ import annotations

import pytest
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.problems import (
    SHOWN,
    Problem,
    SpecError,
    dotted,
    shown,
)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("cluster", "name"), "cluster.name"),
        (("nodes", 2, "address"), "nodes[2].address"),
        ((0, "a"), "[0].a"),
        (("nodes", 0, "labels", "example.org/tier"), "nodes[0].labels.example.org/tier"),
        (("a\nb",), "'a\\nb'"),
        (("\x1b[31m",), "'\\x1b[31m'"),
    ],
)
def test_paths_read_as_people_write_them(path: tuple[str | int, ...], text: str) -> None:
    assert dotted(path) == text


@pytest.mark.parametrize("value", ["x" * 10**6, ["y" * 10**6] * 100, {"k" * 10**6: "v"}, list(range(10**5))])
def test_a_huge_value_is_shown_shortened_on_one_line(value: object) -> None:
    text = shown(value)
    assert len(text) <= SHOWN
    assert "\n" not in text
    assert text.endswith("…") or "..." in text


@pytest.mark.parametrize(("value", "text"), [(None, "nothing"), (True, "true"), (1, "1"), ("a\nb", "'a\\nb'")])
def test_values_are_shown_as_the_file_has_them(value: object, text: str) -> None:
    assert shown(value) == text


def test_problems_come_in_the_order_of_the_file() -> None:
    error = SpecError("f", [Problem(9, 1, ("b",), "second"), Problem(2, 5, ("a",), "first", "do this")])
    assert str(error) == "f:2:5: a: first; do this\nf:9:1: b: second"


def test_a_problem_without_a_line_names_the_file() -> None:
    assert Problem(0, 0, (), "is too long").text("f") == "f: is too long"
