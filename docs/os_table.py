"""Print the table of docs/os.md from kubesmith/preflight/systems.yml: ``python docs/os_table.py`` writes it there."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kubesmith.preflight.systems import data

PAGE = Path(__file__).with_name("os.md")
BEGIN, END = "<!-- table: python docs/os_table.py -->\n", "<!-- end -->\n"
TRIED = {"ci": "run in CI", "hand": "run by hand", "no": "not run"}


def table() -> str:
    """Return the releases as rows of Markdown."""
    lines = ["| system | kernel | Python | tried | |", "|---|---|---|---|---|"]
    for row in data().releases:
        system = data().systems[row.id]
        lines.append(f"| {system.name} {row.version} | {row.kernel} | {row.python} | {TRIED[row.tried]} | {row.note} |")
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """Return the page with the table of today."""
    before, rest = text.partition(BEGIN)[::2]
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
