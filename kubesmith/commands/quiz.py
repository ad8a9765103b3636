"""``tour quiz`` and ``tour check``: exercises are set and graded."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

from rich.text import Text

from kubesmith.errors import KubesmithError
from kubesmith.job import Job
from kubesmith.tour import frame, guard, journal
from kubesmith.tour.frame import Tour
from kubesmith.tour.journal import EXERCISE, Journal
from kubesmith.tour.nodes import Nodes
from kubesmith.tour.quiz import EXERCISES, HINTS, Exercise, Goal, solved, space
from kubesmith.tour.stage import Stage, Teller, wrapped
from kubesmith.tour.texts import Texts

SETTLE = 15.0  # seconds that a repair gets to take effect before it is graded as none
EVERY = 1.0


def listed(job: Job, texts: Texts) -> int:
    """Show the exercises, and which one is open."""
    left = journal.find(job.state)
    open_now = left.name if left and left.kind == EXERCISE else ""
    if job.ui.as_json:
        rows = [
            {"name": name, "title": texts(f"exercises.{name}.title"), "open": name == open_now} for name in EXERCISES
        ]
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    for name in EXERCISES:
        mark = f"  ({texts('frame.open_exercise')})" if name == open_now else ""
        title = texts(f"exercises.{name}.title")
        job.ui.line(Text.assemble("  ", (f"{name:<18}", "cyan"), title, (mark, "bold")), always=True)
    job.ui.line(Text(f"\n{texts('frame.try_quiz')}", "dim"), always=True)
    return 0


def plant(job: Job, name: str, texts: Texts) -> int:
    """Plant the fault of an exercise and set its task; return 0. InputError if it cannot be planted here."""
    exercise = EXERCISES[guard.chosen(name, EXERCISES, texts, "exercise")]
    tour = Tour(exercise.name, lambda _stage: None, EXERCISE, 0, worker=exercise.worker)
    frame.check_first(job, tour, texts)
    with job.alone(), frame.heeded():
        if left := journal.find(job.state):
            raise texts.error("exercise_open", name=left.name)
        nodes, worker = frame.check(job, tour, texts)
        book = Journal(journal.place(job.state), EXERCISE, name)
        stage = Stage(job, book, Quiet(job.ui, texts, name), nodes, worker)
        stage.namespace = f"quiz-{name}"
        _plant(stage, exercise)
    _set(job, exercise, stage, texts)
    return 0


class Quiet(Teller):
    """A Teller that tells nothing: how the fault is planted is for the learner to find out."""

    def tell(self, _entry: object) -> None:
        """Tell nothing."""


def _plant(stage: Stage, exercise: Exercise) -> None:
    """Plant the fault; take back what was done of it if that fails."""
    try:
        space(stage)
        state = exercise.plant(stage)
    except BaseException:
        frame.put_back(stage.job, stage.journal, stage.nodes, stage.teller)
        raise
    stage.journal.state = {"namespace": stage.namespace, "worker": stage.worker, **state}
    stage.journal.planted = time.time()
    stage.journal.write()


def _set(job: Job, exercise: Exercise, stage: Stage, texts: Texts) -> None:
    task = texts(f"exercises.{exercise.name}.task", namespace=stage.namespace, node=stage.worker)
    job.ui.event("quiz", exercise=exercise.name, namespace=stage.namespace, task=task)
    if job.ui.as_json:
        return
    job.ui.line(Text.assemble(("▌ ", "cyan"), (texts(f"exercises.{exercise.name}.title"), "bold")), always=True)
    for row in wrapped(task, 76):
        job.ui.line(f"  {row}", always=True)
    job.ui.line(Text(f"\n  {texts('frame.how_to_check')}", "dim"), always=True)


def check(job: Job, texts: Texts) -> int:
    """Grade the open exercise: 0 and everything is taken back if it is mended, else 1 and one more hint."""
    guard.lab(job, texts)
    guard.reachable(job, texts)
    with job.alone(), frame.heeded():
        left = journal.find(job.state)
        if left is None or left.kind != EXERCISE or not left.planted:
            raise texts.error("no_exercise")
        exercise = EXERCISES[left.name]
        nodes = Nodes(job)
        teller = Quiet(job.ui, texts, left.name)
        stage = Stage(job, left, teller, nodes, str(left.state["worker"]))
        stage.namespace = str(left.state["namespace"])
        goals = graded(stage, exercise)
        good = solved(goals)
        if not good:
            left.hints = min(HINTS, left.hints + 1)
            left.write()
        _tell(job, left, goals, texts)
        if good:
            frame.put_back(job, left, nodes, teller)
    return 0 if good else 1


def graded(stage: Stage, exercise: Exercise) -> list[Goal]:
    """Return the goals: those of the moment when all were reached, else the last ones before time was up."""
    deadline = time.monotonic() + SETTLE * stage.patience
    while True:
        try:
            goals = exercise.goals(stage, stage.journal.state)
        except (KubesmithError, KeyError) as error:
            goals = [Goal("looked", False, {"why": str(error)})]
        if solved(goals) or time.monotonic() > deadline:
            return goals
        time.sleep(EVERY)


def _tell(job: Job, left: Journal, goals: list[Goal], texts: Texts) -> None:
    good = solved(goals)
    hints = (
        []
        if good
        else [
            texts(f"exercises.{left.name}.hint_{number + 1}", node=left.state["worker"]) for number in range(left.hints)
        ]
    )
    rows = [asdict(goal) | {"text": goal_words(goal, texts)} for goal in goals]
    job.ui.event("check", exercise=left.name, solved=good, goals=rows, hints=hints)
    if job.ui.as_json:
        return
    for goal in goals:
        mark = Text("  ✓ ", "green") if goal.ok else Text("  ✗ ", "bold red")
        for index, row in enumerate(wrapped(goal_words(goal, texts), 74)):
            job.ui.line(Text.assemble(mark if index == 0 else "    ", row), always=True)
    job.ui.line("", always=True)
    if good:
        minutes = (time.time() - left.planted) / 60
        job.ui.line(Text(f"  {texts('frame.solved', name=left.name, minutes=minutes)}", "bold green"), always=True)
        for row in wrapped(texts(f"exercises.{left.name}.why"), 76):
            job.ui.line(f"  {row}", always=True)
        return
    job.ui.line(Text(f"  {texts('frame.unsolved', name=left.name)}", "bold red"), always=True)
    for number, hint in enumerate(hints):
        for index, row in enumerate(wrapped(hint, 70)):
            front = f"  {texts('frame.hint', number=number + 1)} " if index == 0 else " " * 9
            job.ui.line(f"{front}{row}", always=True)


def goal_words(goal: Goal, texts: Texts) -> str:
    """Return a goal's sentence."""
    return texts(f"goals.{goal.key}", **goal.values)
