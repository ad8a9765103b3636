"""What failed, why, and what to do: evidence brought from the nodes of a failed phase, and known causes found in it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from kubesmith import causes, execute, gather
from kubesmith.causes import Finding
from kubesmith.errors import KubesmithError
from kubesmith.job import Job

MOST_HOSTS = 10  # that are asked; a thousand nodes fail of the same
MOST_FINDINGS, MOST_ERRORS = 3, 6
MARGIN = 15.0  # seconds before the phase that still count
JOURNAL = re.compile(r"^(?:--- )?[Tt]he (?:journal of (\w+)|(\w+)'s journal) ends with:\n", re.MULTILINE)
WARNING = re.compile(r"^\s*\[WARNING [^\n]*\n?", re.MULTILINE)  # kubeadm's: it goes on
ERROR = re.compile(r"\b(error|failed|fatal|panic|cannot|refused|denied|invalid)\b|\bE\d{4} ", re.IGNORECASE)
NOISE = re.compile(  # what a healthy start says too, the last four in a container
    r"cni plugin not initialized|:6443: connect: connection refused|NetworkPluginNotReady|watchdog is not enabled|"
    r"Module overlay not found|fsverity|ApplyOOMScoreAdj|systemd-modules-load",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Digest:
    """A failure, explained.

    ``findings`` are the known causes, the one to be named first in front; without any, ``errors`` are the first lines
    that look like errors, with where they stand. ``message`` is the failed task's first line. ``log`` is the run's
    folder, ``evidence`` the packed evidence (empty if nothing could be gathered).
    """

    phase: str
    task: str
    hosts: tuple[str, ...]
    unreachable: bool
    message: str
    findings: tuple[Finding, ...]
    errors: tuple[str, ...]
    missing: dict[str, str]
    log: str
    evidence: str

    @property
    def cause(self) -> Finding | None:
        """Return the cause to be named first, None for a failure that is not known."""
        return self.findings[0] if self.findings else None


def explain(job: Job, result: execute.Result) -> Digest:
    """Gather evidence of a failed run and find its cause. Raises nothing on a cluster that is half dead."""
    failures = _first_phase(result.failures)
    hosts = tuple(dict.fromkeys(failure.host for failure in failures))
    asked = _asked(job, failures)
    found = gather.from_nodes(job, asked, full=False, age=_age(result.log)) if asked else gather.Evidence()
    cleaner = gather.redactor(job)
    texts = {
        node: {source: cleaner.clean(text) for source, text in rows.items()}
        for node, rows in _with_said(found.texts, failures).items()
    }
    findings = [
        replace(finding, cause=replace(finding.cause, fix=job.ui.typed(finding.cause.fix)))
        for finding in causes.find(texts, found.facts, hosts)
    ]
    made = Digest(
        phase=failures[0].play if failures else "",
        task=failures[0].task if failures else "",
        hosts=hosts,
        unreachable=bool(failures) and all(failure.unreachable for failure in failures),
        message=cleaner.clean(_first_line(failures[0].message)) if failures else "",
        findings=tuple(findings[:MOST_FINDINGS]),
        errors=() if findings else tuple(first_errors(texts, hosts)),
        missing=found.missing,
        log=str(result.log),
        evidence=_packed(job, found) if found.facts else "",
    )
    return made


def _first_phase(failures: Sequence[execute.Failure]) -> list[execute.Failure]:
    """Return the failures of the play that failed first: what fails later on other hosts follows from it."""
    return [failure for failure in failures if failure.play == failures[0].play]


def _asked(job: Job, failures: Sequence[execute.Failure]) -> list[str]:
    """Return the hosts that can tell something: those that failed or are named, and answer, and the control planes.

    Nobody is asked where only machines that cannot be reached failed, or only this machine.
    """
    nodes = {node.name: node.role for node in job.spec.machines()}
    dead = {failure.host for failure in failures if failure.unreachable}
    failed = {failure.host for failure in failures if failure.host in nodes} - dead
    if not failed:
        return []
    said = "\n".join(failure.message for failure in failures if not failure.unreachable)
    words = set(re.findall(r"[\w.-]+", said))
    return [name for name, role in nodes.items() if name not in dead and _tells(name, role, failed, words)][:MOST_HOSTS]


def _tells(name: str, role: str, failed: Container[str], words: Container[str]) -> bool:
    return name in failed or role == "control-plane" or name in words


def _age(log: Path) -> float:
    """Return how long ago a run began, in seconds, from the name of its folder; 0 where that cannot be told."""
    try:
        began = time.mktime(time.strptime(log.name.partition(".")[0], "%Y%m%dT%H%M%S"))
    except ValueError:
        return 0.0
    return max(0.0, time.time() - began) + MARGIN


def _with_said(texts: dict[str, dict[str, str]], failures: Iterable[execute.Failure]) -> dict[str, dict[str, str]]:
    """Return the texts with what the failed tasks said; a journal that a message quotes goes where it belongs."""
    made = {node: dict(rows) for node, rows in texts.items()}
    for failure in failures:
        rows = made.setdefault(failure.host, {})
        if failure.unreachable:
            rows["ssh"] = failure.message
            continue
        said, journals = split(failure.message)
        rows["said"] = "\n".join(part for part in (said, failure.detail) if part)
        for unit, text in journals.items():
            rows.setdefault(f"journal/{unit}.log", text)
    return made


def split(message: str) -> tuple[str, dict[str, str]]:
    """Return a failure's message without warnings and the journals that it quotes, and those by unit."""
    parts = JOURNAL.split(message)
    journals = {parts[i] or parts[i + 1]: parts[i + 2] for i in range(1, len(parts), 3)}
    return WARNING.sub("", parts[0]).strip(), journals


def first_errors(texts: causes.Texts, hosts: Sequence[str]) -> list[str]:
    """Return the first lines that look like errors on the failed hosts, with node and place; no usual noise."""
    found: list[str] = []
    for node in hosts:
        for source in ("said", "ssh", "journal/kubelet.log", "journal/containerd.log"):
            lines = texts.get(node, {}).get(source, "").splitlines()
            bad = [line.strip() for line in lines if ERROR.search(line) and not NOISE.search(line)]
            bad = bad or ([lines[0].strip()] if lines and source in ("said", "ssh") else [])
            found += [f"{node}, {causes.place(source)}: {line[:400]}" for line in list(dict.fromkeys(bad))[:2]]
    return found[:MOST_ERRORS]


def _packed(job: Job, found: gather.Evidence) -> str:
    try:
        return str(gather.pack(job, found, kind="failure"))
    except KubesmithError as error:
        found.missing["evidence"] = str(error)
        return ""


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def show(digest: Digest, console: Console) -> None:
    """Print a digest on one screen: what failed, why, what to do, and where to read more."""
    hosts = ", ".join(digest.hosts[:5]) + (f" and {len(digest.hosts) - 5} more" if len(digest.hosts) > 5 else "")
    _row(console, "Failed", Text.assemble((hosts, "bold red"), f": {_what(digest)}"))
    if digest.cause:
        _cause(console, digest.cause)
        for other in digest.findings[1:]:
            _row(console, "Also", Text(f"{other.node}: {other.cause.title}: {other.seen}", "dim"))
    else:
        _unknown(console, digest)
    for node, why in list(digest.missing.items())[:5]:
        _row(console, "Missing", Text(f"{node}: {why}", "yellow"))
    _row(console, "Log", Text(digest.log))
    if digest.evidence:
        _row(console, "Evidence", Text(digest.evidence))


def _what(digest: Digest) -> str:
    if digest.unreachable:
        return f"cannot be reached (phase: {digest.phase})"
    return f"{digest.task or 'the run'} (phase: {digest.phase})"


def _cause(console: Console, finding: Finding) -> None:
    cause = finding.cause
    _row(console, "Why", Text.assemble((cause.title + ". ", "bold"), cause.why))
    _row(console, "", Text(f"{finding.node}, {causes.place(finding.source)}: {finding.seen}", "dim"))
    _row(console, "What to do", Text(cause.fix[:1].upper() + cause.fix[1:] + "."))


def _unknown(console: Console, digest: Digest) -> None:
    _row(console, "Why", Text("Not a cause that kubesmith knows. The first errors were:", "bold"))
    for line in digest.errors or (digest.message,):
        _row(console, "", Text(line))
    _row(console, "What to do", Text("Read them and the evidence below; the same command goes on from here."))


def _row(console: Console, label: str, text: Text) -> None:
    console.print(Text.assemble((f"{label:<12}", "bold"), text), soft_wrap=True)


def as_json(digest: Digest) -> dict[str, Any]:
    """Return a digest as plain data, for --json and the report."""
    data: dict[str, Any] = json.loads(json.dumps(asdict(digest), default=str))
    return data | {"cause": digest.cause.cause.id if digest.cause else None}
