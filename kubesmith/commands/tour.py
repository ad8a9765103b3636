"""``tour``: list tours, take one or all, set an exercise and grade it, take back what was left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.text import Text

from kubesmith import report
from kubesmith.commands import quiz
from kubesmith.errors import InputError
from kubesmith.job import Job
from kubesmith.tour import frame, guard, journal, page, record, show
from kubesmith.tour.frame import Tour
from kubesmith.tour.record import Record
from kubesmith.tour.stage import Teller, wrapped
from kubesmith.tour.texts import Texts, language
from kubesmith.tour.tours import TOURS
from kubesmith.ui import Ui


def run(job: Job, action: str, name: str | None, *, pace: bool, chosen: str | None) -> int:
    """Carry out the verb; return 0, or 1 if something that was asserted is not so."""
    texts = Texts(language(chosen))
    if action == "run":
        if not name:
            raise texts.error("no_name", known=", ".join(TOURS))
        tour = TOURS[guard.chosen(name, TOURS, texts, "tour")]
        return 0 if taken(job, tour, texts, pace=pace).ok else 1
    if action == "quiz":
        return quiz.plant(job, name, texts) if name else quiz.listed(job, texts)
    if name:
        raise texts.error("no_name_wanted", action=action, name=name[:80])
    if action == "list":
        return listed(job, texts)
    if action == "all":
        return every(job, texts, pace=pace)
    return quiz.check(job, texts) if action == "check" else restore(job, texts)


def taken(job: Job, tour: Tour, texts: Texts, *, pace: bool) -> Record:
    """Take one tour, show it, and leave its report; return its record."""
    ui = job.ui
    teller = Teller(ui, texts, tour.name, pace=pace)
    frame.check_first(job, tour, texts)
    ui.event("tour_start", tour=tour.name, title=texts(f"tours.{tour.name}.title"))
    if not ui.as_json:
        ui.line(Text.assemble(("\n▌ ", "cyan"), (texts(f"tours.{tour.name}.title"), "bold")), always=True)
    made = frame.take(job, tour, teller)
    place = written(job, made, texts)
    show.outcome(made, texts, ui, str(place))
    ui.event("tour_end", report=str(place), **asdict(made) | {"ok": made.ok})
    return made


def written(job: Job, made: Record, texts: Texts) -> Path:
    """Write the record and its page into a new report folder; return the page's path."""
    folder = report.folder(job.state)
    record.write(made, folder / "tour.json")
    file = folder / "tour.html"
    file.write_text(page.render(made, texts.language), encoding="utf-8")
    for made_file in folder.iterdir():
        made_file.chmod(0o600)
    return file


def listed(job: Job, texts: Texts) -> int:
    """Show the tours."""
    if job.ui.as_json:
        rows = [
            {
                "name": tour.name,
                "group": tour.group,
                "seconds": tour.seconds,
                "title": texts(f"tours.{tour.name}.title"),
            }
            for tour in TOURS.values()
        ]
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    width = max(len(name) for name in TOURS) + 2
    for group in dict.fromkeys(tour.group for tour in TOURS.values()):
        job.ui.line(Text(texts(f"groups.{group}"), "bold"), always=True)
        for tour in (tour for tour in TOURS.values() if tour.group == group):
            lines = wrapped(texts(f"tours.{tour.name}.title"), 78 - width - 9)
            last = f"  {texts('frame.about', seconds=tour.seconds)}"
            for index, line in enumerate(lines):
                front = Text.assemble("  ", (f"{tour.name if index == 0 else '':<{width}}", "cyan"), line)
                job.ui.line(front + Text(last if index == len(lines) - 1 else "", "dim"), always=True)
    job.ui.line(Text(f"\n{texts('frame.try')}", "dim"), always=True)
    return 0


def every(job: Job, texts: Texts, *, pace: bool) -> int:
    """Take every tour that can be taken on this cluster; say which are left out, and why."""
    outcome: dict[str, str] = {}
    for tour in TOURS.values():
        if why := frame.unfit(job, tour, texts):
            outcome[tour.name] = why
            continue
        try:
            outcome[tour.name] = "ok" if taken(job, tour, texts, pace=pace).ok else "failed"
        except InputError as error:
            if not outcome:
                raise  # nothing was touched
            outcome[tour.name] = "failed"
            job.ui.line(Text(f"  {error}", "red"), always=True)
    _summary(job, outcome, texts)
    return 1 if "failed" in outcome.values() else 0


def _summary(job: Job, outcome: Mapping[str, str], texts: Texts) -> None:
    job.ui.event("tour_all", outcome=dict(outcome))
    if job.ui.as_json:
        return
    job.ui.line("", always=True)
    for name, word in outcome.items():
        mark = {"ok": ("✓ ", "green"), "failed": ("✗ ", "bold red")}.get(word, ("- ", "yellow"))
        rest = "" if word in ("ok", "failed") else f"  {word}"
        job.ui.line(Text.assemble("  ", mark, name, (rest, "dim")), always=True)


def restore(job: Job, texts: Texts) -> int:
    """Take back what a tour that was killed, or an exercise, has changed."""
    left = journal.find(job.state)
    name = left.name if left else ""
    if not left:
        job.ui.line(texts("frame.nothing_left"))
        return 0
    frame.restore(job, Teller(job.ui, texts, name))
    return 0


def restore_left(job: Job) -> None:
    """Take back what a killed tour has left, before another verb is carried out; see frame.restore_left."""
    if not journal.place(job.state).exists():
        return
    left = journal.find(job.state)
    if left is None or frame.going_on(job):
        return
    frame.restore_left(job, Teller(_beside(job.ui), Texts(language(None)), left.name))


def _beside(ui: Ui) -> Ui:
    """Return a Ui that speaks on standard error: standard output is the other verb's, and may be another program's."""
    words = Ui(as_json=ui.as_json, quiet=ui.quiet, verbosity=ui.verbosity)
    words.console, words.live = Console(stderr=True, highlight=False, markup=False, emoji=False), False
    return words
