"""Write docs/cli.md from the command line's own parser: python docs/cli_reference.py [--check]."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["COLUMNS"] = "110"  # argparse wraps at the terminal's width; the page must not depend on it
os.environ["NO_COLOR"] = "1"

from kubesmith import cli

PAGE = Path(__file__).parent / "cli.md"


def page() -> str:
    """Return the reference: the whole command line, then a section for each verb."""
    top = cli.parser()
    verbs = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    parts = ["# Command line", "", "Made from the parser by `python docs/cli_reference.py`.", "", _block(top)]
    for name, verb in verbs.choices.items():
        parts += [f"## {name}", "", _block(verb)]
    return "\n".join(parts)


def _block(parser: argparse.ArgumentParser) -> str:
    return f"```text\n{parser.format_help().rstrip()}\n```\n"


def main() -> int:
    """Write the page, or with --check tell whether it is current: 0 or 1."""
    if "--check" in sys.argv[1:]:
        return int(PAGE.read_text() != page())
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
