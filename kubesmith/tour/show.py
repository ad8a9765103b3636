"""A tour's outcome on a terminal of 80 columns: the waterfall, the timeline, the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from kubesmith.tour.naming import told
from kubesmith.tour.record import Record, Step
from kubesmith.tour.stage import cells, wrapped
from kubesmith.tour.texts import Texts
from kubesmith.ui import Ui

LABEL, BAR, NUMBERS = 22, 34, 20  # columns
EIGHTHS = " ▏▎▍▌▋▊▉█"


def waterfall(steps: Sequence[Step], texts: Texts) -> list[Text]:
    """Return the lines of a waterfall: a row for each step, its bar on one scale, and its times in milliseconds."""
    if not steps:
        return []
    span = max(step.end for step in steps) or 1.0
    head = f"  {pad(texts('frame.step'), LABEL)}{pad('', BAR)}{pad_left(texts('frame.milliseconds'), NUMBERS)}"
    rows = [Text(head, "dim")]
    number = 0
    for step in steps:
        number += not step.part
        mark = f"{number} " if not step.part else "  "
        label = pad(f"{mark}{texts(f'steps.{step.key}')}", LABEL)
        times = f"{step.begin:,.1f} \N{EN DASH} {step.end:,.1f}" if step.end > step.begin else f"{step.begin:,.1f}"
        style = "cyan" if step.part else "bold cyan"
        rows.append(Text.assemble("  ", label, (bar(step, span), style), pad_left(times, NUMBERS)))
    return rows


def bar(step: Step, span: float) -> str:
    """Return a step's bar: as long as it took, at least a thin line."""
    scale = BAR / span
    begin = min(int(step.begin * scale), BAR - 1)
    length = (step.end - step.begin) * scale
    whole = int(length)
    rest = EIGHTHS[int((length - whole) * 8)] if whole < BAR - begin else ""
    drawn = ("█" * min(whole, BAR - begin) + rest).rstrip() or "▏"
    return pad(" " * begin + drawn, BAR)


def pad(text: str, width: int) -> str:
    """Return a text with blanks behind it to ``width`` columns, cut where it is longer."""
    while cells(text) > width:
        text = text[:-1]
    return text + " " * (width - cells(text))


def pad_left(text: str, width: int) -> str:
    """Return a text with blanks before it."""
    return " " * (width - cells(text)) + text


def outcome(record: Record, texts: Texts, ui: Ui, place: str) -> None:
    """Print the waterfall or table, if there is one, and the verdict."""
    if ui.as_json:
        return
    if record.steps and not ui.quiet:
        ui.console.print()
        for line in waterfall(record.steps, texts):
            ui.console.print(line)
    for row in record.rows if not ui.quiet else ():
        front = Text.assemble(
            ("  ✓ ", "green") if row["ok"] else ("  ✗ ", "bold red"), f"{row['namespace']}/", (row["pod"], "bold")
        )
        ui.console.print(front, soft_wrap=True)
        for text in wrapped(told(row, texts), 72):
            ui.console.print(Text(f"      {text}", "dim"))
    good = sum(bool(entry.ok) for entry in record.judged)
    values = {"good": good, "all": len(record.judged), "seconds": record.seconds, "name": record.tour}
    ui.console.print()
    key = "frame.passed" if record.ok else "frame.failed"
    ui.line(Text(f"  {texts(key, **values)}", "bold green" if record.ok else "bold red"), always=True)
    if place:
        ui.line(f"  {texts('frame.report')}: {place}")
