"""kubesmith beside a plain shell script that does the same, on the same fresh nodes, turn and turn about, in one run.

    python -m bench.run [--rounds N] [--workers N] [--out FOLDER]

Prints a Markdown table of medians and ratios; FOLDER (./artifacts/bench) gets it too, and every single figure as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kubesmith import machines, paths

HERE = Path(__file__).resolve().parent
RUNNER = [sys.executable, str(HERE.parent / "runner.py")]
NAME = "bench"
RSS = 'awk \'$1 == "total_rss" || $1 == "anon" {print $2; exit}\''
MEMORY = f"{RSS} $(ls /sys/fs/cgroup/memory/memory.stat /sys/fs/cgroup/memory.stat 2>/dev/null)"


@dataclass
class Timing:
    """One way through, once: seconds by milestone, the load before it, and what else was counted."""

    way: str
    load: float
    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)


class Lab:
    """The machines that both ways are tried on."""

    def __init__(self, folder: Path, workers: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.inventory = folder / "cluster.yml"
        self.inventory.write_text(
            "plugin: kubesmith.cluster.spec\n"
            f"cluster: {{name: {NAME}}}\nprovider: podman\nlab: true\nworkers: {workers}\n"
        )
        self.state = paths.state(NAME)

    def runner(self, *words: str) -> list[dict[str, Any]]:
        """Run kubesmith on the lab and return its JSON events; a run that fails ends the benchmark."""
        command = [*RUNNER, *words, "--inventory", str(self.inventory), "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}")
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def renew(self) -> None:
        """Replace the machines by fresh, bare ones."""
        self.runner("destroy")
        self.runner("up", "--only", "nodes")

    def memory(self) -> float:
        """Return the memory of all processes on all nodes, in MiB, page cache apart."""
        total = 0
        for machine in machines.load(self.state):
            command = ["ssh", "-F", machine.ssh_config, machine.name, MEMORY]
            total += int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        return total / 1024**2


def floor(lab: Lab) -> Timing:
    """Let the shell script make the cluster; its milestones are its own."""
    timing = Timing("shell script", os.getloadavg()[0])
    nodes = machines.load(lab.state)
    command = [str(HERE / "floor.sh"), nodes[0].ssh_config, str(paths.bundle()), *(node.name for node in nodes)]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    rows = [line.split(" s  ") for line in output.splitlines() if " s  " in line]
    timing.seconds = {name.strip(): float(seconds) for seconds, name in rows}
    timing.counts["memory"] = lab.memory()
    return timing


def kubesmith(lab: Lab) -> Timing:
    """Let kubesmith make and verify the cluster, and run it a second time, which must change nothing."""
    timing = Timing("kubesmith", os.getloadavg()[0])
    began = time.monotonic()
    events = lab.runner("up")
    timing.seconds = {event["phase"]: event["seconds"] for event in events if event["event"] == "phase_end"}
    timing.seconds["all of it"] = time.monotonic() - began
    timing.counts = _tasks(lab, "first")
    timing.counts["memory"] = lab.memory()
    began = time.monotonic()
    lab.runner("up", "--only", "converge")
    timing.seconds["second converge"] = time.monotonic() - began
    timing.counts |= _tasks(lab, "second")
    return timing


def _tasks(lab: Lab, run: str) -> dict[str, float]:
    """Return the tasks that the last run evaluated and changed: on the control plane, and on the busiest worker."""
    tasks = json.loads((lab.state / "reports/latest/report.json").read_text())["tasks"]
    workers = [count for node, count in tasks.items() if not node.startswith("cp")]
    return {
        f"{run}: tasks on a worker": max(count["evaluated"] for count in workers),
        f"{run}: tasks on the control plane": max(c["evaluated"] for node, c in tasks.items() if node.startswith("cp")),
        f"{run}: changes": sum(count["changed"] for count in tasks.values()),
    }


def table(timings: Sequence[Timing]) -> str:
    """Return the medians as a Markdown table; ratios are to the shell script's whole time."""
    ways = {way: [t for t in timings if t.way == way] for way in dict.fromkeys(t.way for t in timings)}
    whole = median(ways["shell script"], "seconds", "pods Ready")
    rows = ["| way | milestone | median | lowest to highest | ratio |", "|---|---|---|---|---|"]
    for way, mine in ways.items():
        for name in mine[0].seconds:
            values = [timing.seconds[name] for timing in mine]
            middle = statistics.median(values)
            rows.append(
                f"| {way} | {name} | {middle:.1f} s | {min(values):.1f} to {max(values):.1f} | {middle / whole:.2f} |"
            )
        for name in mine[0].counts:
            unit = " MiB" if name == "memory" else ""
            rows.append(f"| {way} | {name} | {median(mine, 'counts', name):.0f}{unit} | | |")
    loads = ", ".join(f"{timing.way} {timing.load:.1f}" for timing in timings)
    return "\n".join([*rows, "", f"{os.cpu_count()} CPUs; load before each turn: {loads}"])


def median(timings: Sequence[Timing], kind: str, name: str) -> float:
    """Return the median of one figure over the rounds."""
    return float(statistics.median(getattr(timing, kind)[name] for timing in timings))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is tried (3)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("artifacts/bench"))
    given = parser.parse_args()
    lab = Lab(given.out.absolute(), given.workers)
    timings: list[Timing] = []
    try:
        for number in range(given.rounds):
            for way in (floor, kubesmith) if number % 2 == 0 else (kubesmith, floor):
                lab.renew()
                timings.append(way(lab))
                print(f"{timings[-1].way}: {max(timings[-1].seconds.values()):.1f} s", file=sys.stderr, flush=True)
                (given.out / "bench.json").write_text(
                    json.dumps([asdict(timing) for timing in timings], indent=1) + "\n"
                )
    finally:
        lab.runner("destroy")
    text = table(timings)
    (given.out / "bench.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
