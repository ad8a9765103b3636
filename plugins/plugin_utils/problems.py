# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""One sentence for everything that is wrong with a cluster file, and where it stands."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from dataclasses import dataclass, field

Path = tuple[str | int, ...]  # what leads to a value: keys of mappings, indexes of lists
MOST_PROBLEMS = 200  # more than anybody reads; a file with as many is wrong in kind
SHOWN = 80  # characters of a wrong value that a message repeats

_quote = reprlib.Repr()  # looks at the beginning of a value only: a message about 4 MB costs no more than one about 4 B
_quote.maxstring = _quote.maxother = 2 * SHOWN


def dotted(path: Path) -> str:
    """Write a path as people do: ``nodes[2].address``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            word = part if part.isprintable() and len(part) <= SHOWN else shown(part)
            text += f".{word}" if text else word
    return text


def shown(value: object) -> str:
    """Quote a value for a message, shortened, on one line; as YAML writes it where Python has another word."""
    if value is None or isinstance(value, bool):
        return "nothing" if value is None else str(value).lower()
    text = _quote.repr(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


@dataclass(frozen=True, order=True)
class Problem:
    """What is wrong, where, and what to do. ``line`` and ``column`` count from 1; 0 means unknown."""

    line: int
    column: int
    path: Path = field(compare=False)
    message: str
    hint: str = ""

    def text(self, file: str) -> str:
        """Return the problem as one line, ``file:line:column: path: message; hint``."""
        where = f"{file}:{self.line}:{self.column}" if self.line else file
        subject = f" {dotted(self.path)}:" if self.path else ""
        return f"{where}:{subject} {self.message}" + (f"; {self.hint}" if self.hint else "")


class SpecError(Exception):
    """The cluster file is not usable; carries every problem that was found, in the file's order."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = sorted(problems)
        super().__init__("\n".join(problem.text(file) for problem in self.problems))
