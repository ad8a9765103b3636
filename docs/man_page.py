"""Write the manual pages docs/man/*.1 from the command line's own parser: python docs/man_page.py [--check].

One page for the whole, one for each verb: man -l docs/man/runner.py-up.1
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["COLUMNS"] = "110"  # the pages must not depend on the terminal
os.environ["NO_COLOR"] = "1"

from argparse_manpage.manpage import Manpage

from kubesmith import __version__, cli

FOLDER = Path(__file__).parent / "man"
DATA = {
    "project_name": "kubesmith",
    "version": __version__,
    "manual_title": "kubesmith",
    "date": f"version {__version__}",  # today's date would make the pages stale tomorrow
}


def pages() -> dict[str, str]:
    """Return {file name: roff}."""
    top = cli.parser()
    verbs = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    made = {
        f"{top.prog}-{name}": page(verb, f"{top.prog}-{name}", cli.VERBS[name]) for name, verb in verbs.choices.items()
    }
    return {f"{name}.1": text for name, text in ({top.prog: page(top, top.prog, "kubeadm clusters")} | made).items()}


def page(parser: argparse.ArgumentParser, title: str, what: str) -> str:
    """Return a parser's page; its epilog, which is laid out by hand, stays as it is."""
    made = str(Manpage(parser, format="single-commands-section", _data=DATA))
    made = made.replace(f".TH {parser.prog.upper()} ", f".TH {title.upper()} ", 1)
    made = made.replace(f".SH NAME\n{parser.prog}\n", f".SH NAME\n{title} \\- {what}\n", 1)
    body, notes = made.partition("\n.SH COMMENTS\n")[::2]
    before = body.partition("\n.SH\nVERBS")[0]
    return f"{before}\n.SH NOTES\n.nf\n{_verbs(parser)}{notes.strip()}\n.fi\n"


def _verbs(parser: argparse.ArgumentParser) -> str:
    """Return the list of verbs, each with a page of its own, for the page of the whole."""
    if "VERB" not in parser.format_usage():
        return ""
    width = max(map(len, cli.VERBS))
    rows = (f"  {name:<{width}}  {text}" for name, text in cli.VERBS.items())
    return "verbs, each with a page of its own (runner.py-VERB):\n" + "\n".join(rows).replace("-", "\\-") + "\n\n"


def main() -> int:
    """Write the pages, or with --check tell whether they are current: 0 or 1."""
    wanted = pages()
    if "--check" in sys.argv[1:]:
        there = {file.name: file.read_text() for file in FOLDER.glob("*.1")}
        stale = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
        if stale:
            sys.stderr.write(f"docs/man is not what the parser says: {', '.join(stale)}; run `make man`\n")
        return bool(stale)
    FOLDER.mkdir(exist_ok=True)
    for file in FOLDER.glob("*.1"):
        file.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
