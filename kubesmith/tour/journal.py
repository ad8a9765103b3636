"""What a tour has changed and how each change is taken back, on the disk before the change is made.

A tour that was killed leaves the file; whoever comes next takes the changes back, the newest first. Every way back may
be gone twice: it says what shall be, not what to do to it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kubesmith import paths
from kubesmith.errors import InputError, KubesmithError
from kubesmith.tour.record import write_whole

FILE = "journal.json"
EXERCISE, TOUR = "exercise", "tour"


@dataclass(frozen=True)
class Undo:
    """The way back of one change: a shell script on a node, a request to the API server, or a machine to be started.

    ``request`` has ``method``, ``path`` and, for a PATCH, ``body`` and ``type``.
    """

    node: str = ""
    script: str = ""
    request: Mapping[str, Any] = field(default_factory=dict)
    machine: str = ""


@dataclass
class Journal:
    """The journal of one tour or exercise.

    ``planted`` is when an exercise's fault was wholly in place (seconds since the epoch), from when on it is the
    learner's to mend; ``hints`` is how many hints he has had, ``state`` what the exercise remembers of the cluster.
    """

    file: Path
    kind: str
    name: str
    started: float = field(default_factory=time.time)
    planted: float = 0.0
    hints: int = 0
    undo: list[Undo] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)

    def note(self, *ways: Undo) -> None:
        """Write down the way back of a change that is about to be made."""
        self.undo += ways
        self.write()

    def drop(self, *ways: Undo) -> None:
        """Strike out ways back that are no longer to be gone: what they lead to is not wanted any more."""
        self.undo = [way for way in self.undo if way not in ways]
        self.write()

    def write(self) -> None:
        """Write the file."""
        paths.make_private(self.file.parent)
        data = asdict(self)
        del data["file"]
        write_whole(self.file, json.dumps({"schema": 1, **data}, indent=1) + "\n")

    def remove(self) -> None:
        """Remove the file: everything was taken back."""
        self.file.unlink(missing_ok=True)


def place(state: Path) -> Path:
    """Return where the journal of a cluster with this state folder is."""
    return state / "tour" / FILE


def find(state: Path) -> Journal | None:
    """Return the journal that was left, None where there is none; InputError for a file that is not one."""
    file = place(state)
    try:
        data = json.loads(file.read_text())
        ways = [Undo(**way) for way in data.pop("undo")]
        del data["schema"]
        return Journal(file, **data, undo=ways)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}", fix="mend its permissions") from error
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{file} is damaged: {error}", fix=f"see with `status` that the cluster is well, then remove {file}"
        ) from error


@dataclass(frozen=True)
class Ways:
    """How ways back are gone: on a node, at the API server, with a machine."""

    script: Callable[[str, str], object]
    request: Callable[[Mapping[str, Any]], object]
    machine: Callable[[str], object]

    def go(self, way: Undo) -> None:
        """Go one way back."""
        if way.machine:
            self.machine(way.machine)
        if way.node:
            self.script(way.node, way.script)
        if way.request:
            self.request(way.request)


def take_back(
    journal: Journal, ways: Ways, *, seconds: float, told: Callable[[Undo], object] = lambda _way: None
) -> None:
    """Go every way back, the newest first, each tried again until it is gone or ``seconds`` are over.

    An API server that was away may need a while; so may a machine that was off. Each way that was gone is struck out.
    Raises the last KubesmithError of a way that could not be gone: the journal stays for the next command.
    """
    deadline = time.monotonic() + seconds
    for way in reversed(journal.undo.copy()):
        told(way)
        _until_gone(ways, way, deadline)
        journal.drop(way)


def _until_gone(ways: Ways, way: Undo, deadline: float) -> None:
    while True:
        try:
            return ways.go(way)
        except KubesmithError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def words(way: Undo) -> str:
    """Return a way back for people: what is run, asked for or started."""
    if way.machine:
        return f"{way.machine}: start"
    if way.node:
        return f"{way.node}: {' '.join(way.script.split())}"
    return f"{way.request['method']} {way.request['path']}"
