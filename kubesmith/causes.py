"""Recognise known causes in what a failed phase left behind: by patterns in texts, and by facts of the nodes. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import yaml

from kubesmith import paths

FILE = paths.PACKAGE / "causes.yml"
SEEN_LENGTH = 240  # characters of the line that gave a cause away
# journald's and CRI's prefix, and klog's: 2026-11-23T15:00:00+0000 cp1 kubelet[9]: E1123 15:00:00.1 9 file.go:72]
HEADER = re.compile(r"(?:\d{4}-\S+ (?:\S+ [\w.@-]+\[\d+\]: |std(?:out|err) [FP] ))?(?:[IWEF]\d{4} \S+ +\d+ \S+\] )?")
EVERYWHERE = ("said", "kubelet", "containerd", "kernel", "etcd", "apiserver", "pods")
MEBI = 1024 * 1024
# Bytes that must be free: etcd reserves 64 MB for each file of its log.
LEAST_FREE = {"/var/lib/etcd": 80 * MEBI}
LEAST_FREE_ELSEWHERE = 32 * MEBI
CLOCK_SPREAD = 30.0  # seconds between a node's clock and this machine's, what SSH took set aside
OWN_DROPINS = ("10-kubeadm.conf",)
# Port → (cause, names of the processes that may listen there; the kernel keeps 15 characters).
PORTS = {
    6443: ("port-api", ("kube-apiserver",)),
    2379: ("port-etcd", ("etcd",)),
    2380: ("port-etcd", ("etcd",)),
    10250: ("port-kubelet", ("kubelet",)),
    10248: ("port-kubelet", ("kubelet",)),
    10257: ("port-control-plane", ("kube-controller",)),
    10259: ("port-control-plane", ("kube-scheduler",)),
}
CONTROL_PLANE_PORTS = frozenset((6443, 2379, 2380, 10257, 10259))

Texts = Mapping[str, Mapping[str, str]]  # node → source → text
Facts = Mapping[str, Mapping[str, Any]]  # node → facts of the module node_evidence


@dataclass(frozen=True)
class Cause:
    """One known cause: how and where it is recognised, what it is, why it happens, and what to do."""

    id: str
    match: str
    title: str
    why: str
    fix: str
    places: tuple[str, ...] = EVERYWHERE
    least: int = 1
    general: bool = False
    node: bool = False


@dataclass(frozen=True)
class Finding:
    """A cause that was recognised, on which node, in which evidence, by which line; lower ``rank``: more certain.

    ``at`` is where that line begins in its text, -1 for facts.
    """

    cause: Cause
    node: str
    source: str
    seen: str
    rank: int = 0
    at: int = -1

    def same_line(self, other: Finding) -> bool:
        """Tell whether both were recognised by one line of a text."""
        return self.at >= 0 and (self.node, self.source, self.at) == (other.node, other.source, other.at)


@cache
def known() -> tuple[tuple[Cause, re.Pattern[str]], ...]:
    """Return every known cause with its compiled pattern, the specific before the general."""
    rows = yaml.safe_load(FILE.read_text())
    return tuple((_cause(row), re.compile(row["match"], re.IGNORECASE | re.MULTILINE)) for row in rows)


def _cause(row: dict[str, Any]) -> Cause:
    places = tuple(row.pop("in", EVERYWHERE))
    return Cause(**row, places=places)


def find(texts: Texts, facts: Facts, failed: Collection[str]) -> list[Finding]:
    """Return the causes, the one to be named first in front.

    ``failed`` are the nodes on which the phase failed. General causes are returned only if nothing specific was found;
    each cause once, on the node and by the line that says most, and each line once, for its most specific cause.
    """
    found = [*by_facts(facts), *recognise(texts)]
    found = [finding for finding in found if not finding.cause.node or finding.node in failed]
    specific = [finding for finding in found if not finding.cause.general]
    order = [cause.id for cause, _ in known()]
    ranked = sorted(
        specific or found, key=lambda row: (row.rank, row.node not in failed, order.index(row.cause.id), row.node)
    )
    return _merged(ranked)


def _merged(ranked: Sequence[Finding]) -> list[Finding]:
    """Return one finding for each cause; what facts of the same node show of it is added to what a text says."""
    kept: dict[str, Finding] = {}
    for row in ranked:
        first = kept.get(row.cause.id)
        if first is None and not any(row.same_line(other) for other in kept.values()):
            kept[row.cause.id] = row
        elif first and first.node == row.node and row.source == "facts" and row.seen not in first.seen:
            kept[row.cause.id] = replace(first, seen=f"{first.seen}; {row.seen}")
    return list(kept.values())


def recognise(texts: Texts) -> list[Finding]:
    """Return the causes found in texts, each once per node, in the table's order."""
    found = []
    for cause, pattern in known():
        for node, sources in texts.items():
            finding = _first(cause, pattern, node, sources)
            if finding:
                found.append(finding)
    return found


def _first(cause: Cause, pattern: re.Pattern[str], node: str, sources: Mapping[str, str]) -> Finding | None:
    for source in sorted(sources, key=lambda name: EVERYWHERE.index(place(name)) if place(name) in EVERYWHERE else -1):
        if place(source) not in cause.places:
            continue
        hits = [hit.start() for hit, _ in zip(pattern.finditer(sources[source]), range(cause.least), strict=False)]
        if len(hits) == cause.least or (hits and place(source) == "said"):
            text, rank = sources[source], 1 if place(source) == "said" else 2
            return Finding(cause, node, source, line_at(text, hits[0]), rank, text.rfind("\n", 0, hits[0]) + 1)
    return None


def place(source: str) -> str:
    """Return where a text belongs: said, ssh, kubelet, containerd, kernel, etcd, apiserver, pods; else its own name."""
    if source.startswith("journal/"):
        return source.removeprefix("journal/").removesuffix(".log")
    if source.startswith("pods/"):
        pod = source.split("/")[1]
        return "etcd" if "_etcd-" in pod else "apiserver" if "_kube-apiserver-" in pod else "pods"
    return source


def line_at(text: str, position: int) -> str:
    """Return the line around ``position``, shortened to what lies there, without a log's time, host and source."""
    begin = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    line = text[begin : end if end >= 0 else len(text)]
    header = HEADER.match(line)
    start = header.end() if header and header.end() <= position - begin else 0
    hit = position - begin - start
    line = line[start:].strip()
    if len(line) <= SEEN_LENGTH:
        return line
    left = max(0, min(hit - SEEN_LENGTH // 3, len(line) - SEEN_LENGTH))
    cut = line[left : left + SEEN_LENGTH].strip()
    return ("…" if left else "") + cut + ("…" if left + SEEN_LENGTH < len(line) else "")


# Facts. Each rule yields (id of the cause, what was seen, rank).

Seen = tuple[str, str, int]
CERTAIN, HINT = 0, 3


def by_facts(facts: Facts) -> list[Finding]:
    """Return the causes that the nodes' facts show, whatever the logs say."""
    causes = {cause.id: cause for cause, _ in known()}
    return [
        Finding(causes[name], node, "facts", seen, rank)
        for node, row in facts.items()
        for rule in RULES
        for name, seen, rank in rule(row)
    ]


def _ports(facts: Mapping[str, Any]) -> Iterator[Seen]:
    """A port of Kubernetes has a listener, and no listener there is the one that belongs there."""
    listeners: dict[int, list[Mapping[str, Any]]] = {}
    for row in facts.get("listeners", ()):
        listeners.setdefault(row["port"], []).append(row)
    for port, (cause, own) in PORTS.items():
        rows = [row for row in listeners.get(port, ()) if row["process"]]
        if not rows or any(row["process"] in own for row in rows):
            continue
        certain = port not in CONTROL_PLANE_PORTS or facts.get("control_plane") != "absent"
        seen = f"{rows[0]['process']} (process {rows[0]['pid']}) listens on {rows[0]['address']}:{port}"
        yield cause, seen, CERTAIN if certain else HINT


def _disks(facts: Mapping[str, Any]) -> Iterator[Seen]:
    for row in facts.get("disks", ()):
        folder = row["folder"]
        if folder == "/var/lib/etcd" and facts.get("control_plane") == "absent" and facts.get("member") == "complete":
            continue  # a worker
        if row["size"] and row["available"] < LEAST_FREE.get(folder, LEAST_FREE_ELSEWHERE):
            free, size = row["available"] / MEBI, row["size"] / MEBI
            yield "disk-full", f"{folder} has {free:,.0f} MiB free of {size:,.0f} MiB", CERTAIN
        elif row["inodes"] and not row["inodes_free"]:
            yield "disk-full", f"{folder} has no inode free of {row['inodes']:,}", CERTAIN


def _units(facts: Mapping[str, Any]) -> Iterator[Seen]:
    for name, cause in (("kubelet", "kubelet-unit"), ("containerd", "containerd-unit")):
        unit = facts.get("units", {}).get(name, {})
        if unit.get("LoadState") in ("masked", "bad-setting", "error"):
            yield (
                cause,
                f"systemctl: {name}.service is {unit['LoadState']} ({unit.get('FragmentPath') or 'no file'})",
                0,
            )
    unit = facts.get("units", {}).get("kubelet", {})
    foreign = [path for path in unit.get("DropInPaths", "").split() if not path.endswith(OWN_DROPINS)]
    ends = unit.get("ActiveState") in ("activating", "failed") and unit.get("ExecMainStatus") not in ("", "0")
    if foreign and ends:
        yield "kubelet-dropin", f"{', '.join(foreign)}; it ended with status {unit['ExecMainStatus']}", HINT


def _clock(facts: Mapping[str, Any]) -> Iterator[Seen]:
    if not {"time", "asked", "answered"} <= set(facts):
        return
    ahead = facts["time"] - facts["answered"]
    behind = facts["asked"] - facts["time"]
    if max(ahead, behind) > CLOCK_SPREAD:
        word = f"{ahead:,.0f} s ahead of" if ahead > behind else f"{behind:,.0f} s behind"
        yield "clock", f"the node's clock is {word} this machine's", CERTAIN


def _certificates(facts: Mapping[str, Any]) -> Iterator[Seen]:
    now = facts.get("utc", "")
    for row in facts.get("certificates", ()):
        if now and not row["from"] <= now <= row["to"]:
            yield "clock", f"{row['path']} is valid from {row['from']} to {row['to']}; it is {now} now", CERTAIN


def _sandbox(facts: Mapping[str, Any]) -> Iterator[Seen]:
    image = facts.get("sandbox_image", {})
    if image.get("name") and image.get("present") is False and facts.get("member") != "absent":
        yield "pause-image", f"containerd is to use {image['name']}, which is not on the node", HINT


def _drivers(facts: Mapping[str, Any]) -> Iterator[Seen]:
    drivers = facts.get("drivers", {})
    if drivers.get("kubelet") and drivers.get("containerd") and drivers["kubelet"] != drivers["containerd"]:
        runc = f" (runc is {drivers['runc']})" if drivers.get("runc") else ""
        yield "cgroup-driver", f"kubelet: {drivers['kubelet']}, containerd: {drivers['containerd']}{runc}", HINT


RULES: Sequence[Callable[[Mapping[str, Any]], Iterator[Seen]]] = (
    _ports,
    _disks,
    _units,
    _clock,
    _certificates,
    _sandbox,
    _drivers,
)
