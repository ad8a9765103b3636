"""Write the table of known causes into troubleshooting.md, from causes.yml: ``python docs/causes_table.py``."""

from __future__ import annotations

from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
CAUSES = HERE.parent / "kubesmith" / "causes.yml"
PAGE = HERE / "troubleshooting.md"
BEGIN, END = "<!-- causes: written by docs/causes_table.py -->\n", "<!-- end of causes -->\n"


def page(text: str) -> str:
    """Return the page with its table made anew."""
    head, _begin, rest = text.partition(BEGIN)
    return head + BEGIN + table() + END + rest.partition(END)[2]


def table() -> str:
    """Return the causes as a Markdown table, in the order in which they are named."""
    rows = yaml.safe_load(CAUSES.read_text())
    lines = ["| cause | why | what to do |", "|---|---|---|"]
    lines += [f"| {cell(row['title'])} | {cell(row['why'])} | {cell(row['fix'])} |" for row in rows]
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """Return a text that may stand in a cell."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
