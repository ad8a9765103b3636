"""A verdict for people: a table by node and group, then every failure with what it takes to understand it."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kubesmith.verify.verdict import Check, Verdict

GROUPS = {
    "A": "Machine",
    "B": "containerd",
    "C": "kubelet",
    "D": "Control plane",
    "E": "etcd",
    "F": "Keys",
    "G": "Network",
    "H": "DNS",
    "I": "Workloads",
    "J": "Access",
}
JOURNAL_SHOWN = 12  # lines; the report has all thirty


def show(verdict: Verdict, console: Console) -> None:
    """Print the verdict."""
    console.print(table(verdict))
    _skipped(verdict, console)
    told: set[str] = set()
    for check in verdict.failed:
        _failure(check, console, journal=check.node not in told)
        told.add(check.node)
    console.print(summary(verdict), soft_wrap=True)


def summary(verdict: Verdict) -> Text:
    """Return the closing line."""
    numbers = f"{len(verdict.passed)} passed, {len(verdict.failed)} failed, {len(verdict.skipped)} skipped"
    rounds = f", {verdict.passed_in_a_row} of {verdict.rounds} rounds passed in a row" if verdict.rounds > 1 else ""
    word = Text("Verified: ", "bold green") if verdict.ok else Text("Not verified: ", "bold red")
    return Text.assemble(word, f"{numbers} in {verdict.seconds:.1f} s{rounds}")


def table(verdict: Verdict) -> Table:
    """Return passed/failed/skipped by place (rows) and group (columns)."""
    checks = [*verdict.passed, *verdict.failed, *verdict.skipped]
    places = sorted({check.node for check in checks}, key=lambda place: (place == "cluster", place))
    letters = [letter for letter in GROUPS if any(check.check.startswith(letter) for check in checks)]
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    made.add_column("", no_wrap=True)
    for letter in letters:
        made.add_column(GROUPS[letter], no_wrap=True, justify="right")
    for place in places:
        cells = [_cell(check for check in checks if check.node == place and check.check.startswith(a)) for a in letters]
        made.add_row(Text(place), *cells)
    return made


def _cell(checks: Iterable[Check]) -> Text:
    """Return ``7/7`` (of those that apply), red with a failure; nothing where no check applies."""
    outcomes = [check.outcome for check in checks]
    made = [outcome for outcome in outcomes if outcome != "skipped"]
    if not outcomes:
        return Text("")
    if not made:
        return Text("skipped", "dim")
    return Text(f"{made.count('passed')}/{len(made)}", "red" if "failed" in made else "green")


def _skipped(verdict: Verdict, console: Console) -> None:
    """Print each reason to skip once, with the checks that it concerns."""
    reasons: dict[str, dict[str, None]] = {}
    for check in verdict.skipped:
        reasons.setdefault(check.seen, {})[check.check] = None
    for reason, numbers in reasons.items():
        console.print(Text(f"skipped {' '.join(numbers)}: {reason}", "dim"), soft_wrap=True)


def _failure(check: Check, console: Console, *, journal: bool) -> None:
    console.print(Text.assemble(("✗ ", "red"), (check.title, "bold")), soft_wrap=True)
    rows = {"node": check.node, "expected": check.expected, "seen": check.seen if check.expected else check.message}
    if check.expected and not check.message.startswith(("expected", "assert")):
        rows["detail"] = check.message.splitlines()[0] if check.message else ""
    for label, value in rows.items():
        if value:
            console.print(Text(f"    {label:<9} {value}"), soft_wrap=True)
    if journal and check.journal:
        console.print(Text(f"    journal of {check.node} (kubelet, containerd), last lines", "dim"))
        for line in check.journal[-JOURNAL_SHOWN:]:
            console.print(Text(f"      {line}", "dim"), no_wrap=True, overflow="ellipsis")
