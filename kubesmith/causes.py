"""Recognise known causes in what a failed phase left behind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import yaml

from kubesmith import paths

FILE = paths.PACKAGE / "causes.yml"
SEEN_LENGTH = 200  # characters of the line that gave a cause away


@dataclass(frozen=True)
class Cause:
    """One known cause: how it is recognised, what it is, why it happens, and what to do."""

    id: str
    match: str
    title: str
    why: str
    fix: str


@dataclass(frozen=True)
class Finding:
    """A cause that was recognised, on which node, in which evidence, by which line."""

    cause: Cause
    node: str
    source: str
    seen: str


@cache
def known() -> tuple[tuple[Cause, re.Pattern[str]], ...]:
    """Return every known cause with its compiled pattern, the specific before the general."""
    rows = yaml.safe_load(FILE.read_text())
    return tuple((Cause(**row), re.compile(row["match"], re.IGNORECASE)) for row in rows)


def recognise(evidence: Mapping[str, Mapping[str, str]]) -> list[Finding]:
    """Return the causes found in ``evidence`` (node → source → text), each once per node, in the table's order."""
    found = []
    for cause, pattern in known():
        for node, sources in evidence.items():
            finding = _first(cause, pattern, node, sources)
            if finding:
                found.append(finding)
    return found


def _first(cause: Cause, pattern: re.Pattern[str], node: str, sources: Mapping[str, str]) -> Finding | None:
    for source, text in sources.items():
        hit = pattern.search(text)
        if hit:
            return Finding(cause, node, source, _line(text, hit.start()))
    return None


def _line(text: str, position: int) -> str:
    """Return the line around ``position``, shortened."""
    begin = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    line = text[begin : end if end >= 0 else len(text)].strip()
    return line if len(line) <= SEEN_LENGTH else line[: SEEN_LENGTH - 1] + "…"
