"""What a command costs this machine and the network: processor, memory, SSH connections and commands, bytes."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SAMPLE = 0.5  # seconds between two looks at the memory

#: Stands before ssh on PATH, writes a line, and becomes it.
SHIM = """#!/bin/sh
echo >>"$KUBESMITH_BENCH_SSH"
exec {ssh} "$@"
"""


@dataclass
class Cost:
    """Seconds of wall clock and processor, MiB at the peak (shared pages once), and how often ssh was started."""

    seconds: float = 0.0
    processor: float = 0.0
    peak_mib: float = 0.0
    commands: int = 0
    output: list[str] = field(default_factory=list)


@contextmanager
def shimmed() -> Iterator[dict[str, str]]:
    """Yield variables under which each start of ssh is counted, in the file that KUBESMITH_BENCH_SSH names."""
    with tempfile.TemporaryDirectory(prefix="kubesmith-bench-") as folder:
        shim = Path(folder) / "ssh"
        shim.write_text(SHIM.format(ssh=shutil.which("ssh")))
        shim.chmod(0o755)
        count = Path(folder) / "count"
        count.touch()
        yield {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "KUBESMITH_BENCH_SSH": str(count)}


def run(command: Sequence[str]) -> Cost:
    """Run a command and return what it cost; its standard output is kept, SystemExit if it fails."""
    cost = Cost()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    with shimmed() as variables:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | variables) as process:
            ended = threading.Event()
            watcher = threading.Thread(target=_watch, args=(process.pid, cost, ended))
            watcher.start()
            assert process.stdout is not None
            cost.output = process.stdout.read().splitlines()
            process.wait()
            ended.set()
            watcher.join()
        cost.commands = len(Path(variables["KUBESMITH_BENCH_SSH"]).read_text().splitlines())
    cost.seconds = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cost.processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n" + "\n".join(cost.output[-30:]))
    return cost


def _watch(root: int, cost: Cost, ended: threading.Event) -> None:
    while not ended.wait(SAMPLE):
        cost.peak_mib = max(cost.peak_mib, sum(_proportional(pid) for pid in _tree(root)) / 1024)


def _tree(root: int) -> set[int]:
    """Return a process and all that descend from it."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
    found = {root}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found


def _proportional(pid: int) -> int:
    """Return a process's memory in KiB, its share of what it has together with others."""
    try:
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found.group(1)) if found else 0
