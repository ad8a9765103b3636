# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Read YAML into plain data and remember where each value stands.

The builder works on the parser's events with a stack of its own, so neither deep nesting nor aliases that multiply
(a "billion laughs" file) can exhaust Python's stack or memory: both are bounded and end as a Problem.
Scalars follow YAML 1.2's core rules except that a number with a point stays text: a version 1.30 must not become 1.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.problems import (
    MOST_PROBLEMS,
    Path,
    Problem,
    SpecError,
    shown,
)

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 40
MAX_VALUES = 200_000  # keys count too: 5,000 nodes with ten settings each are 105,000
LONG = 64  # characters of text that count as one value, so that aliases of a long text are bounded too
COLLECTION_TAGS = (None, "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
CONSTANTS = {"": None, "~": None, "null": None, "true": True, "false": False}
MERGE = "<<"
UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # YAML 1.2.2, 5.1

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Document:
    """Plain data and, for each path in it, the line and column where its key (or list item) begins."""

    data: Any
    positions: dict[Path, tuple[int, int]]
    repeated: tuple[Problem, ...] = ()  # keys given twice: an error too, but what else is wrong can be told with it

    def position(self, path: Path) -> tuple[int, int]:
        """Return the position of ``path``, or of the nearest parent that is in the file."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, (1, 1))


@dataclass
class _Open:
    """A collection whose end has not been read yet."""

    value: dict[str, Any] | list[Any]
    path: Path
    anchor: str | None
    key: str | None = None
    merged: list[dict[str, Any]] = field(default_factory=list)


class _Builder:
    """Turns parser events into data, positions and problems, without recursion."""

    def __init__(self) -> None:
        self.stack: list[_Open] = []
        self.root: Any = None
        self.positions: dict[Path, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self.repeated: list[Problem] = []
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.values = 0

    def feed(self, event: Any) -> None:
        mark = (event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, mark)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event.anchor, mark)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            if event.tag not in COLLECTION_TAGS:
                self._refuse_tag(event.tag, mark)
            self._open({} if isinstance(event, yaml.MappingStartEvent) else [], event.anchor, mark)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._close()

    def _stop(self, mark: tuple[int, int], message: str, hint: str = "") -> NoReturn:
        raise _Refused(Problem(*mark, self._path(), message, hint))

    def _path(self) -> Path:
        if not self.stack:
            return ()
        top = self.stack[-1]
        if isinstance(top.value, list):
            return (*top.path, len(top.value))
        return top.path if top.key is None else (*top.path, top.key)

    def _count(self, mark: tuple[int, int], values: int) -> None:
        self.values += values
        if self.values > MAX_VALUES:
            self._stop(mark, f"more than {MAX_VALUES} values", "a cluster file of this size is not read: split it")

    def _expects_key(self) -> bool:
        return bool(self.stack) and isinstance(self.stack[-1].value, dict) and self.stack[-1].key is None

    def _scalar(self, event: Any, mark: tuple[int, int]) -> None:
        self._count(mark, 1)
        if self._expects_key():
            self._key(event.value, mark)
            return
        value = event.value
        if event.implicit[0] and not event.style:  # the C parser says "", the Python one None
            value = resolve(event.value)
        elif event.tag not in (None, "!", "tag:yaml.org,2002:str"):
            self._refuse_tag(event.tag, mark)
        self._add(value, mark, event.anchor, text_size(value))

    def _refuse_tag(self, tag: str, mark: tuple[int, int]) -> NoReturn:
        self._stop(mark, f"the tag {shown(tag)} is not used here", "write the plain value")

    def _key(self, key: str, mark: tuple[int, int]) -> None:
        top = self.stack[-1]
        top.key = key
        if key == MERGE:
            return
        if isinstance(top.value, dict) and key in top.value and len(self.repeated) < MOST_PROBLEMS:
            first = self.positions[(*top.path, key)][0]
            self.repeated.append(
                Problem(*mark, (*top.path, key), f"is given twice, first in line {first}", "keep one of the two")
            )
        self.positions[(*top.path, key)] = mark

    def _alias(self, anchor: str | None, mark: tuple[int, int]) -> None:
        if self._expects_key():
            self._stop(mark, "an alias cannot be a key", "write the key out")
        if anchor is None or anchor not in self.anchors:
            self._stop(mark, f"the alias *{anchor} refers to nothing complete before it", f"define &{anchor} first")
        value, size = self.anchors[anchor]
        self._count(mark, size)
        self._add(value, mark, None, size)

    def _open(self, value: dict[str, Any] | list[Any], anchor: str | None, mark: tuple[int, int]) -> None:
        self._count(mark, 1)
        if self._expects_key():
            self._stop(mark, "a mapping or list cannot be a key", "write a plain word before the colon")
        if len(self.stack) >= MAX_DEPTH:
            self._stop(mark, f"nested deeper than {MAX_DEPTH} levels", "no setting is nested that deep")
        path = self._path()
        self.positions.setdefault(path, mark)
        self.stack.append(_Open(value, path, anchor))

    def _close(self) -> None:
        done = self.stack.pop()
        for source in done.merged:
            for key, value in source.items():
                if isinstance(done.value, dict):
                    done.value.setdefault(key, value)
        self._add(done.value, self.positions[done.path], done.anchor, size_of(done.value) if done.anchor else 1)

    def _add(self, value: Any, mark: tuple[int, int], anchor: str | None, size: int) -> None:
        if anchor:
            self.anchors[anchor] = (value, size)
        if not self.stack:
            self.root = value
            return
        top = self.stack[-1]
        if isinstance(top.value, list):
            self.positions.setdefault((*top.path, len(top.value)), mark)
            top.value.append(value)
        elif top.key == MERGE:
            sources = value if isinstance(value, list) else [value]
            if not all(isinstance(source, dict) for source in sources):
                self._stop(mark, "<< takes a mapping or a list of mappings", "merge an alias of a mapping")
            top.merged.extend(sources)
            top.key = None
        elif top.key is not None:
            top.value[top.key] = value
            top.key = None


class _Refused(Exception):
    """Reading cannot go on; carries the Problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def resolve(text: str) -> str | int | bool | None:
    """Return the value of a plain scalar."""
    if text.lower() in CONSTANTS:
        return CONSTANTS[text.lower()]
    return int(text) if INTEGER.fullmatch(text) else text


def text_size(value: Any) -> int:
    """Return how many values a scalar counts for: one, and one more for each LONG characters."""
    return 1 + (len(value) // LONG if isinstance(value, str) else 0)


def size_of(value: Any) -> int:
    """Count the values in plain data, without recursion; shared parts count each time, as they would be read."""
    total, waiting = 0, [value]
    while waiting:
        current = waiting.pop()
        total += text_size(current)
        if total > MAX_VALUES:
            return total
        waiting.extend(children(current))
    return total


def children(value: Any) -> Iterator[Any]:
    """Yield the values directly inside a mapping or list."""
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


def parse(text: bytes, file: str) -> Document:
    """Return the document in ``text``; raise SpecError if it is none that YAML, and we, can read.

    ``file`` is only for messages. Source of the scalar rules: YAML 1.2.2, section 10.3.
    """
    if len(text) > MAX_BYTES:
        raise SpecError(file, [Problem(0, 0, (), f"has more than {MAX_BYTES} bytes, which is the most", "split it")])
    builder = _Builder()
    try:
        documents = 0
        events: Iterator[Any] = yaml.parse(text.decode("utf-8-sig"), Loader=_Loader)
        for event in events:
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                builder._stop((event.start_mark.line + 1, 1), "a second document begins", "one file, one cluster")
            builder.feed(event)
    except _Refused as refused:
        builder.problems.append(refused.problem)
    except UnicodeDecodeError as error:
        mark = _mark(text[: error.start].decode("utf-8-sig", errors="replace"))
        message = f"is not UTF-8: {error.reason} at byte {error.start}"
        builder.problems.append(Problem(*mark, (), message, "save it as UTF-8"))
    except yaml.MarkedYAMLError as error:
        builder.problems.append(_syntax(error, text))
    except yaml.YAMLError as error:
        builder.problems.append(_unreadable(error, text))
    if builder.problems:
        raise SpecError(file, (builder.repeated + builder.problems)[:MOST_PROBLEMS])
    return Document(builder.root, builder.positions, tuple(builder.repeated))


def _mark(before: str) -> tuple[int, int]:
    """Return line and column of what stands behind ``before``."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _unreadable(error: yaml.YAMLError, text: bytes) -> Problem:
    """Return the problem of a character that YAML has no place for, a NUL for instance."""
    found = UNPRINTABLE.search(text.decode("utf-8-sig"))
    if found is None:
        return Problem(0, 0, (), f"is not YAML: {' '.join(str(error).split())}", "mend the file")
    mark = _mark(found.string[: found.start()])
    return Problem(*mark, (), f"is not YAML: the control character {ord(found[0]):#04x}", "take it out")


def _syntax(error: yaml.MarkedYAMLError, text: bytes) -> Problem:
    mark: Any = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    rows = text.decode("utf-8-sig").splitlines()[line - 1 : line] if line else []
    if rows and rows[0][column - 1 : column] == "\t":
        return Problem(line, column, (), "is not YAML: a tab, which cannot indent", "indent with spaces")
    words = " ".join(part for part in (error.context, error.problem) if part)
    return Problem(line, column, (), f"is not YAML: {words}", "check indentation, quotes and colons here")
