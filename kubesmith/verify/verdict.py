"""What a verification found: one Check for every check on every node."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FILE = "verify.json"


@dataclass(frozen=True)
class Check:
    """One check: its number (``C2``), sentence, node (or ``cluster``) and exact target (``w1``, ``w1→w2``).

    ``outcome`` is passed, failed or skipped. A failed one says what was ``expected`` and ``seen``, and brings the last
    lines of its node's journal; a skipped one says why in ``seen``. ``seconds`` includes waiting for its facts.
    """

    check: str
    sentence: str
    node: str
    target: str
    outcome: str
    expected: str = ""
    seen: str = ""
    message: str = ""
    journal: tuple[str, ...] = ()
    seconds: float = 0.0
    test: str = ""

    @property
    def title(self) -> str:
        """Number, sentence and where: one line for people."""
        return f"{self.check} {self.sentence} [{self.target}]".strip()


@dataclass(frozen=True)
class Verdict:
    """The last round's checks by outcome; how many rounds were run, and how many passed in a row at the end.

    ``certificates`` are those that the nodes work with, whatever the checks say of them.
    """

    passed: tuple[Check, ...] = ()
    failed: tuple[Check, ...] = ()
    skipped: tuple[Check, ...] = ()
    rounds: int = 1
    passed_in_a_row: int = 0
    seconds: float = 0.0
    certificates: tuple[Mapping[str, Any], ...] = ()  # rows of kubesmith.verify.calendar

    @property
    def ok(self) -> bool:
        """Tell whether nothing failed and something passed: an empty round proves nothing."""
        return not self.failed and bool(self.passed)


def of(checks: Iterable[Check]) -> Verdict:
    """Sort the checks of one round by outcome."""
    kinds: dict[str, list[Check]] = {"passed": [], "failed": [], "skipped": []}
    for check in checks:
        kinds[check.outcome].append(check)
    return Verdict(tuple(kinds["passed"]), tuple(kinds["failed"]), tuple(kinds["skipped"]))


def check_from(row: Mapping[str, Any]) -> Check:
    """Make a Check of a row that the stream plugin wrote."""
    return Check(**{**row, "journal": tuple(row.get("journal", ()))})


def write(verdict: Verdict, folder: Path) -> Path:
    """Write ``verify.json`` (mode 0600) into ``folder`` and return its path."""
    file = folder / FILE
    file.touch(mode=0o600)
    file.write_text(json.dumps({"schema": 1, "ok": verdict.ok} | asdict(verdict), indent=1, ensure_ascii=False) + "\n")
    return file
