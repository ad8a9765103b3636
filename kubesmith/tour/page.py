"""A tour as one HTML page that needs nothing else: in both languages, light and dark, on paper, and by keyboard."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from kubesmith.tour.naming import told as name_words
from kubesmith.tour.record import Entry, Opened, Record, Step
from kubesmith.tour.stage import documented, words
from kubesmith.tour.texts import LANGUAGES, Texts

ROW, TOP, LEFT, RIGHT = 30, 34, 190, 135  # of the waterfall, in SVG units
WIDTH = 1000
TICKS = 6


def render(record: Record, language: str) -> str:
    """Return the page; ``language`` is shown first, the other one by a button."""
    environment = Environment(loader=PackageLoader("kubesmith"), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    order = [language, *(other for other in LANGUAGES if other != language)]
    return environment.get_template("tour.html.j2").render(
        record=record,
        views=[View(record, Texts(name)) for name in order],
        when=time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(record.started)),
    )


@dataclass(frozen=True)
class View:
    """A record in one language, as the template wants it."""

    record: Record
    texts: Texts

    @property
    def language(self) -> str:
        """The language's code."""
        return self.texts.language

    def text(self, key: str, /, **values: Any) -> str:
        """Return a text of the message files."""
        return self.texts(key, **values)

    def words(self, entry: Entry) -> str:
        """Return the words of an entry."""
        return words(self.texts, self.record.tour, entry)

    @property
    def title(self) -> str:
        """The tour's title."""
        return self.texts(f"tours.{self.record.tour}.title")

    def documented(self, entry: Entry) -> str:
        """Return when the documentation wants it."""
        return documented(self.texts, entry, self.record.zero)

    def offset(self, entry: Entry) -> str:
        """Return how long after the timeline's zero something was seen."""
        return f"{entry.at - self.record.zero:+.1f} s" if self.record.zero and entry.kind == "see" else ""

    @property
    def timed(self) -> list[Entry]:
        """What was seen, that the documentation has a time for."""
        return [entry for entry in self.record.entries if entry.low is not None]

    @property
    def opened(self) -> Mapping[str, Sequence[Opened]]:
        """What can be opened, by step."""
        found: dict[str, list[Opened]] = {}
        for row in self.record.opened:
            found.setdefault(row.step, []).append(row)
        return {step.key: found.pop(step.key) for step in self.record.steps if step.key in found} | found

    def name(self, row: Mapping[str, Any]) -> str:
        """Return why a pod is called so."""
        return name_words(row, self.texts)

    def step_title(self, key: str) -> str:
        """Return the name of a step."""
        return self.texts(f"steps.{key}")

    @property
    def bars(self) -> list[Bar]:
        """The bars of the waterfall."""
        return bars(self.record.steps, self.texts)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Where the waterfall's scale has a line, and what stands there."""
        return ticks(self.record.steps)

    @property
    def height(self) -> int:
        """The waterfall's height."""
        return TOP + ROW * len(self.record.steps) + 12

    @property
    def timeline(self) -> list[Moment]:
        """The moments of a timeline that the documentation has times for."""
        return moments(self)


@dataclass(frozen=True)
class Bar:
    """A step's bar in SVG units: its label, times in words, and whether it is a part beside the eight steps."""

    key: str
    label: str
    times: str
    x: float
    y: float
    width: float
    part: bool


@dataclass(frozen=True)
class Moment:
    """A moment of a timeline: where the documentation wants it (a span) and where it was seen, in SVG units."""

    label: str
    low: float
    high: float
    seen: float
    y: float
    ok: bool
    words: str


def bars(steps: Sequence[Step], texts: Texts) -> list[Bar]:
    """Return the bars of a waterfall, each a step below the one before."""
    span = max((step.end for step in steps), default=1.0) or 1.0
    scale = (WIDTH - LEFT - RIGHT) / span
    rows, number = [], 0
    for index, step in enumerate(steps):
        number += not step.part
        label = texts(f"steps.{step.key}") if step.part else f"{number} {texts(f'steps.{step.key}')}"
        times = f"{step.begin:,.1f} \N{EN DASH} {step.end:,.1f}" if step.end > step.begin else f"{step.begin:,.1f}"
        width = max(3.0, (step.end - step.begin) * scale)
        x = min(LEFT + step.begin * scale, WIDTH - RIGHT - 3.0)
        rows.append(Bar(step.key, label, times, round(x, 1), TOP + ROW * index, round(width, 1), step.part))
    return rows


def ticks(steps: Sequence[Step]) -> list[tuple[float, str]]:
    """Return positions and labels of a scale in round numbers of milliseconds."""
    span = max((step.end for step in steps), default=1.0) or 1.0
    size = next(
        unit * factor
        for unit in (1, 10, 100, 1000, 10000, 100000)
        for factor in (1, 2, 5)
        if span / (unit * factor) <= TICKS or unit * factor == 500000
    )
    scale = (WIDTH - LEFT - RIGHT) / span
    return [(round(LEFT + at * scale, 1), f"{at:,}") for at in range(0, int(span) + 1, size)]


def moments(view: View) -> list[Moment]:
    """Return the timeline's moments."""
    timed = view.timed
    zero = view.record.zero
    latest = max((max(entry.high or 0.0, entry.at - zero) for entry in timed), default=1.0)
    scale = (WIDTH - 40) / max(latest, 1.0)
    rows = []
    for index, entry in enumerate(timed):
        seen = entry.at - zero
        said = documented(view.texts, entry, zero)
        label = f"{seen:.1f} s · {view.words(entry)}"
        low, high = (entry.low or 0.0) * scale, (entry.high or 0.0) * scale
        place = (round(20 + low, 1), round(20 + high, 1), round(20 + max(seen, 0.0) * scale, 1), 24 + 54 * index)
        rows.append(Moment(label, *place, bool(entry.ok), said))
    return rows
