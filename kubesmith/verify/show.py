"""A verdict for people: a table by node and group, then every failure with what it takes to understand it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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
JOURNAL_SHOWN, JOURNAL_WIDTH = 12, 240  # lines and characters; the report has all of both


def show(verdict: Verdict, console: Console) -> None:
    """Print the verdict: the table, why checks were skipped, and each failure; alike failures are told once."""
    console.print(table(verdict))
    _skipped(verdict, console)
    alike: dict[tuple[str, ...], list[Check]] = {}
    for check in verdict.failed:
        alike.setdefault((check.check, check.sentence, check.expected, check.seen), []).append(check)
    told: set[str] = set()
    for checks in alike.values():
        _failure(checks, console)
        for check in checks:
            _journal(check, console, told)
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


def _failure(checks: Sequence[Check], console: Console) -> None:
    """Print failures that have number, sentence, expected and seen in common."""
    first = checks[0]
    title = f"{first.check} {first.sentence} [{', '.join(check.target for check in checks)}]"
    title = title.strip()
    console.print(Text.assemble(("✗ ", "red"), (title, "bold")), soft_wrap=True)
    rows = {"node": ", ".join(dict.fromkeys(check.node for check in checks)), "expected": first.expected}
    rows["seen"] = first.seen if first.expected else first.message
    if first.expected and not first.message.startswith(("expected", "assert")):
        rows["detail"] = first.message.partition("\n")[0]
    for label, value in rows.items():
        if value:
            console.print(Text(f"    {label:<9} {value}"), soft_wrap=True)


def _journal(check: Check, console: Console, told: set[str]) -> None:
    """Print the end of the node's journal, once."""
    if check.node in told or not check.journal:
        return
    told.add(check.node)
    console.print(Text(f"    journal of {check.node} (kubelet, containerd), last lines:", "dim"))
    for line in check.journal[-JOURNAL_SHOWN:]:
        console.print(Text(f"      {line[:JOURNAL_WIDTH]}", "dim"), soft_wrap=True)
