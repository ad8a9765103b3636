"""What a tour leaves, as data without words: what was done, seen and found true, and what can be opened."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Values = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """One thing of a tour, in the order in which it came.

    ``kind`` is ``say`` (explanation), ``act`` (a change to the cluster), ``see`` (evidence) or ``claim`` (asserted).
    ``key`` names its text in the message files, ``values`` fill it (``@`` and a key: that text). ``at`` is seconds
    since the epoch, of ``see`` the time that the evidence itself gives. ``low`` and ``high`` bound, in seconds after
    the tour's zero, when the documentation wants it seen; ``source`` names where the evidence is from. ``ok`` is the
    verdict of a claim, and of something seen whether it was seen when it should be.
    """

    kind: str
    key: str
    at: float
    values: Values = field(default_factory=dict)
    source: str = ""
    low: float | None = None
    high: float | None = None
    ok: bool | None = None


@dataclass(frozen=True)
class Step:
    """A bar of the waterfall: from ``begin`` to ``end`` in milliseconds; ``revision`` is the one etcd gave it, or 0."""

    key: str
    begin: float
    end: float
    node: str = ""
    source: str = ""
    revision: int = 0
    values: Values = field(default_factory=dict)
    part: bool = False  # of the way, but none of the eight steps


@dataclass(frozen=True)
class Opened:
    """Something that a step wrote, as it was found: ``step`` is the key of the step, ``title`` a key of ``open.``."""

    step: str
    title: str
    name: str
    body: str


@dataclass
class Record:
    """One tour that was taken. ``zero`` is the time from which its timeline counts, in seconds since the epoch."""

    tour: str
    cluster: str
    started: float = field(default_factory=time.time)
    zero: float = 0.0
    seconds: float = 0.0
    entries: list[Entry] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    opened: list[Opened] = field(default_factory=list)
    rows: list[Values] = field(default_factory=list)  # of a table, such as the names of all pods

    @property
    def claims(self) -> list[Entry]:
        """What was asserted."""
        return [entry for entry in self.entries if entry.kind == "claim"]

    @property
    def judged(self) -> list[Entry]:
        """What was asserted, and what was seen that the documentation has a time for."""
        return [entry for entry in self.entries if entry.ok is not None]

    @property
    def ok(self) -> bool:
        """Tell whether all of that is as it should be, and something was asserted."""
        return bool(self.claims) and all(entry.ok for entry in self.judged)


def write(record: Record, file: Path) -> None:
    """Write a record as JSON."""
    file.write_text(json.dumps(asdict(record) | {"ok": record.ok}, indent=1, ensure_ascii=False) + "\n")


def read(file: Path) -> Record:
    """Return the record that ``write`` wrote."""
    data = json.loads(file.read_text())
    data.pop("ok")
    parts = {"entries": Entry, "steps": Step, "opened": Opened}
    return Record(**data | {name: [kind(**row) for row in data[name]] for name, kind in parts.items()})


def write_whole(file: Path, text: str) -> None:
    """Write a file, mode 0600, whole or not at all, and on the disk before this returns."""
    partial = file.with_name(f"{file.name}.new")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as output:
        output.write(text)
        output.flush()
        os.fsync(output.fileno())
    partial.replace(file)
