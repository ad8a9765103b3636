"""Reading YAML: values, positions, and everything that a file may do to its reader."""

from __future__ import annotations

import pytest
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import load
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.problems import MOST_PROBLEMS, SpecError


def parse(text: str | bytes) -> load.Document:
    return load.parse(text.encode() if isinstance(text, str) else text, "f.yml")


def refused(text: str | bytes) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse(text)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-7", -7),
        ("0", 0),
        ("007", "007"),  # YAML 1.1 would make it octal, a phone number or a key
        ("1.30", "1.30"),  # a version, never 1.3
        ("1e3", "1e3"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("9" * 18, 10**18 - 1),
        ("9" * 5000, "9" * 5000),  # Python refuses to convert as many digits
        ("٣", "٣"),  # a digit, but not one of ours
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("no", "no"),  # Norway
        ("~", None),
        ("null", None),
        ("", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("!!str 1", "1"),
        ("2026-11-23", "2026-11-23"),
        ("|\n  a\n  b", "a\nb\n"),
        ("12:30:45", "12:30:45"),  # YAML 1.1 would make it 45045
    ],
)
def test_plain_scalars_follow_yaml_1_2_and_keep_versions(text: str, value: object) -> None:
    assert parse(f"key: {text}\n").data == {"key": value}


def test_positions_are_those_of_keys_and_items() -> None:
    document = parse("a:\n  - x\n  - {b: 1}\nc:\n  d: 2\n")
    assert document.position(("a",)) == (1, 1)
    assert document.position(("a", 0)) == (2, 5)
    assert document.position(("a", 1, "b")) == (3, 6)
    assert document.position(("c", "d")) == (5, 3)


def test_the_position_of_what_is_absent_is_its_nearest_parent() -> None:
    document = parse("a: 1\nc:\n  d: 2\n")
    assert document.position(("c", "e", 4)) == (2, 1)
    assert document.position(("z",)) == (1, 1)


def test_anchors_and_merges() -> None:
    text = "base: &b {x: 1, y: 2}\nmore: &m {z: 3, y: 9}\none: {<<: *b, y: 5}\ntwo: {<<: [*b, *m]}\nsame: *b\n"
    data = parse(text).data
    assert data["one"] == {"x": 1, "y": 5}
    assert data["two"] == {"x": 1, "y": 2, "z": 3}
    assert data["same"] == data["base"]


def test_a_byte_order_mark_is_not_part_of_the_first_key() -> None:
    assert parse(b"\xef\xbb\xbfa: 1\n").data == {"a": 1}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("---\na: 1\n---\nb: 1\n", "f.yml:3:1: a second document begins; one file, one cluster"),
        (
            "a: !!binary aGk=\n",
            "f.yml:1:4: a: the tag 'tag:yaml.org,2002:binary' is not used here; write the plain value",
        ),
        ("a: !vault |\n  x\n", "f.yml:1:4: a: the tag '!vault' is not used here; write the plain value"),
        ("a: !!set {b}\n", "f.yml:1:4: a: the tag 'tag:yaml.org,2002:set' is not used here; write the plain value"),
        (
            "!!python/object/apply:os.system [id]\n",
            "f.yml:1:1: the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not used here; "
            "write the plain value",
        ),
        ("a: *b\n", "f.yml:1:4: a: the alias *b refers to nothing complete before it; define &b first"),
        ("a: &a {<<: *a}\n", "f.yml:1:12: a.<<: the alias *a refers to nothing complete before it; define &a first"),
        ("a: &a [*a]\n", "f.yml:1:8: a[0]: the alias *a refers to nothing complete before it; define &a first"),
        ("a: &a b\n*a : 1\n", "f.yml:2:1: an alias cannot be a key; write the key out"),
        ("? [a]\n: b\n", "f.yml:1:3: a mapping or list cannot be a key; write a plain word before the colon"),
        ("<<: 3\n", "f.yml:1:5: <<: << takes a mapping or a list of mappings; merge an alias of a mapping"),
        ("\tb: 1\n", "f.yml:1:1: is not YAML: a tab, which cannot indent; indent with spaces"),
        ("a:\n  b: \x00\n", "f.yml:2:6: is not YAML: the control character 0x00; take it out"),
        (
            "a: [1, 2\nb: 3\n",
            "f.yml:2:2: is not YAML: while parsing a flow sequence did not find expected ',' or ']'; "
            "check indentation, quotes and colons here",
        ),
        (b"a: \xff\n", "f.yml:1:4: is not UTF-8: invalid start byte at byte 3; save it as UTF-8"),
        (b"a\x00: \n", None),
        ('"\\ud800": 1\n', None),
        ("a" * load.MAX_BYTES + "b", "f.yml: has more than 4194304 bytes, which is the most; split it"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(text: str | bytes, sentence: str | None) -> None:
    lines = refused(text)
    assert len(lines) == 1
    assert sentence is None or lines == [sentence]


def test_every_double_key_is_told_at_once() -> None:
    assert [problem.text("f.yml") for problem in parse("a: 1\na: 2\nb: {c: 1, c: 2}\n").repeated] == [
        "f.yml:2:1: a: is given twice, first in line 1; keep one of the two",
        "f.yml:3:11: b.c: is given twice, first in line 3; keep one of the two",
    ]


def test_a_double_key_before_the_end_of_what_can_be_read() -> None:
    assert [line.split(":")[1] for line in refused("a: 1\na: 2\nb: [\n")] == ["2", "4"]


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_ends_at_once(opening: str) -> None:
    (line,) = refused(opening * 100_000)
    assert len(line) < 1000


def test_a_file_of_double_keys_is_cut_short() -> None:
    assert len(parse("a:\n" * 90_000).repeated) == MOST_PROBLEMS


def laughs(levels: int, template: str, seed: str) -> str:
    rows = [f"a0: &a0 {seed}"]
    rows += [f"a{n}: &a{n} {template.format(', '.join([f'*a{n - 1}'] * 9))}" for n in range(1, levels)]
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        laughs(12, "[{}]", "[x, x, x]"),
        laughs(40, "[{}]", "[]"),
        "a: [&a " + "x" * 100_000 + ", *a" * 10_000 + "]\n",  # few values, a gigabyte of text
        "a: [" + "1," * 300_000 + "]\n",
        "".join(f"k{n}: {n}\n" for n in range(250_000)),
    ],
)
def test_more_values_than_a_cluster_can_need_are_refused(text: str) -> None:
    (line,) = refused(text)
    assert f"more than {load.MAX_VALUES} values; a cluster file of this size is not read: split it" in line
