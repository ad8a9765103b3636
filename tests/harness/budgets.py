"""Budgets of a converge, held against the events of real runs: python tests/harness/budgets.py FOLDER…

A folder is that of one run, as they are below ``runs`` in a cluster's state folder, or one that has the folders of
several runs, of which those of playbooks/site.yml count. The last run is one that had nothing to do. Times are never
judged by the clock: only what share of the run the longest task takes.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

WORKER, CONTROL_PLANE = 16, 28  # tasks; a run of kubespray has 419 and 690
SKIPPED = 0.05  # of all tasks
LONGEST = 0.6  # of the whole run, for one task on one host
Row = Mapping[str, Any]


def broken(rows: Sequence[Row], planes: Sequence[str], *, second: bool) -> Iterator[str]:
    """Yield what a run's ``rows`` (tasks.jsonl) break, in words; ``second``: nothing was left to do."""
    nodes = [row for row in rows if row["host"] != "localhost"]
    if not nodes:
        yield "no task ran on any node"
        return
    for host, count in Counter(row["host"] for row in nodes).items():
        most = CONTROL_PLANE if host in planes else WORKER
        if count > most:
            yield f"{host} went through {count} tasks, the budget is {most}"
    skipped = [row["task"] for row in nodes if row["status"] == "skipped"]
    if len(skipped) > SKIPPED * len(nodes):
        yield f"{len(skipped)} of {len(nodes)} tasks were skipped, {SKIPPED:.0%} may be: {dict(Counter(skipped))}"
    changed = [f"{row['host']}: {row['task']}" for row in nodes if row["changed"]]
    if second and changed:
        yield f"the second run changed: {', '.join(changed)}"
    longest, share = _longest(nodes)
    if share > LONGEST:
        yield f"{longest} took {share:.0%} of the run, one task may take {LONGEST:.0%}"


def _longest(rows: Sequence[Row]) -> tuple[str, float]:
    """Return the longest task, and its share of the time from the first task's start to the last one's end."""
    starts = [datetime.fromisoformat(row["start"]).timestamp() for row in rows]
    ends = [start + float(row["seconds"] or 0) for start, row in zip(starts, rows, strict=True)]
    row = max(rows, key=lambda row: float(row["seconds"] or 0))
    return f"{row['host']}: {row['task']}", float(row["seconds"] or 0) / max(max(ends) - min(starts), 0.001)


def runs(folders: Sequence[str]) -> list[Path]:
    """Return the files of the runs that are named, or are in what is named, in their order."""
    found = []
    for folder in map(Path, folders):
        own = folder / "tasks.jsonl"
        found += [own] if own.exists() else sorted(folder.glob("*-site/tasks.jsonl"))
    return found


def main(folders: Sequence[str]) -> int:
    """Judge the runs; return 1 if one breaks a budget, or there are not two, of which the last had nothing to do."""
    files = runs(folders)
    if len(files) < 2:
        print(f"two runs are wanted, and there are {len(files)} in {', '.join(folders) or 'no folder'}")
        return 1
    failed = 0
    for number, file in enumerate(files, 1):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        planes = sorted({row["host"] for row in rows if row["role"] == "kubeadm_master"})
        found = list(broken(rows, planes, second=number == len(files)))
        print(f"{file.parent}: {counted(rows)}", *(f"  over budget: {text}" for text in found), sep="\n")
        failed += bool(found)
    return int(failed > 0)


def counted(rows: Sequence[Row]) -> str:
    """Return how many tasks each node went through, and how many of them were skipped and changed something."""
    hosts = list(dict.fromkeys(row["host"] for row in rows if row["host"] != "localhost"))
    return "; ".join(f"{host} {_counts([row for row in rows if row['host'] == host])}" for host in hosts)


def _counts(rows: Sequence[Row]) -> str:
    skipped = sum(row["status"] == "skipped" for row in rows)
    return f"{len(rows)} tasks, {skipped} skipped, {sum(bool(row['changed']) for row in rows)} changed"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
