"""What a person (or a program) sees while work goes on: phases, items, and their times."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from kubesmith import manual

PLAIN_WIDTH = 160  # columns of a table where the output is no terminal
ACTIVE_SHOWN = 12  # lines of running items on a terminal


@dataclass(frozen=True)
class PhaseTime:
    """One finished phase: when it began (seconds since the run's start), how long it took, and its outcome."""

    name: str
    start: float
    seconds: float
    ok: bool


@dataclass
class _Shown:
    items: dict[str, str] = field(default_factory=dict)
    finished: int = 0
    changed: int = 0
    total: int = 0


class Ui:
    """Shows phases as a live view on a terminal, as plain lines elsewhere, or as JSON lines with ``as_json``."""

    def __init__(
        self, *, as_json: bool = False, quiet: bool = False, verbosity: int = 0, inventory: str = "lab"
    ) -> None:
        self.as_json = as_json
        self.inventory = inventory
        self.quiet = quiet
        self.verbosity = verbosity
        # With --json, standard output carries events and results only; words for people go to standard error.
        self.console = Console(stderr=as_json, highlight=False, markup=False, emoji=False)
        if not self.console.is_terminal and "COLUMNS" not in os.environ:
            self.console.width = PLAIN_WIDTH
        self.live = self.console.is_terminal and not as_json and not quiet and os.environ.get("TERM") != "dumb"
        self.one_line = threading.Lock()  # nodes are made by threads, and a text stream mixes their lines
        self.begun = time.monotonic()
        self.times: list[PhaseTime] = []

    def typed(self, text: str) -> str:
        """Return a text whose commands can be typed as they stand: they name this run's inventory."""
        return manual.typed(text, self.inventory)

    def event(self, kind: str, **values: Any) -> None:
        """Write one JSON line, if JSON was asked for."""
        if self.as_json:
            row = {"event": kind, "at": round(time.monotonic() - self.begun, 3), **values}
            with self.one_line:
                print(json.dumps(row), file=sys.stdout, flush=True)

    def line(self, text: str | Text, *, always: bool = False) -> None:
        """Write one line for people."""
        if always or not (self.quiet or self.as_json):
            self.console.print(text, soft_wrap=True)

    @contextmanager
    def phase(self, name: str, title: str) -> Iterator[PhaseProgress]:
        """Show a phase while the body runs; its time is kept whatever happens."""
        progress = PhaseProgress(self, name, title)
        self.event("phase_start", phase=name)
        ok = False
        try:
            with progress.showing():
                yield progress
            ok = not progress.failed
        finally:
            seconds = time.monotonic() - progress.begun
            self.times.append(PhaseTime(name, progress.begun - self.begun, seconds, ok))
            self.event("phase_end", phase=name, seconds=round(seconds, 3), ok=ok)
            mark = Text("✓ ", "green") if ok else Text("✗ ", "red")
            self.line(Text.assemble(mark, f"{title:<34}", (f"{seconds:7.1f} s", "bold"), f"  {progress.outcome()}"))


class PhaseProgress:
    """The Progress of one phase; safe to call from several threads."""

    def __init__(self, ui: Ui, name: str, title: str) -> None:
        self.ui = ui
        self.name = name
        self.title = title
        self.begun = time.monotonic()
        self.summary = ""
        self.failed = False  # set by who carries on nevertheless
        self._lock = threading.Lock()
        self._shown = _Shown()
        self._spinner = Spinner("dots")

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Draw the live view, where there is one, while the body runs."""
        if not self.ui.live:
            self.ui.line(f"» {self.title}")
            yield
            return
        with Live(console=self.ui.console, get_renderable=self._draw, refresh_per_second=8, transient=True):
            yield

    def total(self, items: int) -> None:
        """Tell how many items this phase will finish."""
        self._shown.total = items

    def start(self, item: str, text: str) -> None:
        """Tell that work on ``item`` begins."""
        self._set(item, text, "item_start")

    def update(self, item: str, text: str) -> None:
        """Tell what is being done to ``item`` now."""
        self._set(item, text, "item_update")

    def done(self, item: str, text: str, *, changed: bool) -> None:
        """Tell that ``item`` is finished."""
        with self._lock:
            self._shown.items.pop(item, None)
            self._shown.finished += 1
            self._shown.changed += changed
        self.ui.event("item_done", phase=self.name, item=item, text=text, changed=changed)
        if not self.ui.live:
            self._plain(item, text)

    def outcome(self) -> str:
        """Return a few words for the phase's closing line."""
        return self.summary

    def _set(self, item: str, text: str, kind: str) -> None:
        with self._lock:
            known = self._shown.items.get(item)
            self._shown.items[item] = text
        if known == text:
            return
        self.ui.event(kind, phase=self.name, item=item, text=text)
        if not self.ui.live and (kind == "item_start" or self.ui.verbosity):
            self._plain(item, text)

    def _plain(self, item: str, text: str) -> None:
        self.ui.line(f"  {time.monotonic() - self.ui.begun:7.1f} s  {item}: {text}")

    def _draw(self) -> Group:
        with self._lock:
            items = list(self._shown.items.items())[:ACTIVE_SHOWN]
            count = f" {self._shown.finished}/{self._shown.total}" if self._shown.total else ""
        seconds = time.monotonic() - self.begun
        self._spinner.update(text=Text(f"{self.title}{count}  {seconds:.0f} s", "bold"))
        width = max((len(item) for item, _ in items), default=0)
        rows = [Text(f"    {item:<{width}}  {text}", "dim", no_wrap=True, overflow="ellipsis") for item, text in items]
        return Group(self._spinner, *rows)
