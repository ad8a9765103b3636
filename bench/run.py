"""kubesmith beside a plain shell script that does the same, on fresh nodes, turn and turn about, in one run.

    python -m bench.run [--rounds N] [--workers N] [--out FOLDER] [--document]

Three ways: (a) the shell script, (b) ansible-playbook site.yml, (c) runner.py up. Prints a Markdown table of medians
and ratios; FOLDER (./artifacts/bench) gets it too, with every single figure as JSON and a plot as SVG; --document puts
all of it into docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench import document, meter, plot
from kubesmith import execute, machines, paths

HERE = Path(__file__).resolve().parent
RUNNER = [sys.executable, str(HERE.parent / "runner.py")]
PLAYBOOK = [str(Path(sys.executable).parent / "ansible-playbook"), "kubesmith.cluster.site"]
NAME = "bench"
SHELL, ANSIBLE, RUN = "(a) shell script", "(b) ansible-playbook", "(c) runner.py up"
#: Asked on a node: resident memory of all processes, bytes over its network interface, logins by SSH.
RSS = 'awk \'$1 == "total_rss" || $1 == "anon" {print $2; exit}\''
MEMORY = f"{RSS} $(ls /sys/fs/cgroup/memory/memory.stat /sys/fs/cgroup/memory.stat 2>/dev/null)"
BYTES = "cat /sys/class/net/eth0/statistics/rx_bytes /sys/class/net/eth0/statistics/tx_bytes"
LOGINS = "journalctl -q --no-pager -u ssh --grep 'Accepted publickey' | wc -l"
RECAP = re.compile(r"^(\S+)\s+: ok=(\d+)\s+changed=(\d+)\s+unreachable=\d+\s+failed=\d+\s+skipped=(\d+)")


@dataclass
class Timing:
    """One way through, once: seconds by milestone and by task, the load before it, and what else was counted."""

    way: str
    load: float
    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, float] = field(default_factory=dict)
    tasks: dict[str, float] = field(default_factory=dict)

    def count(self, name: str, value: float) -> None:
        """Note a figure."""
        self.counts[name] = round(value, 1)

    def cost(self, cost: meter.Cost) -> None:
        """Note what a command cost the controller."""
        self.count("controller: processor seconds", cost.processor)
        self.count("controller: peak memory, MiB", cost.peak_mib)
        self.count("ssh commands", cost.commands)


class Lab:
    """The machines that all ways are tried on."""

    def __init__(self, folder: Path, workers: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.inventory = folder / "cluster.yml"
        self.inventory.write_text(
            "plugin: kubesmith.cluster.spec\n"
            f"cluster: {{name: {NAME}}}\nprovider: podman\nlab: true\nworkers: {workers}\n"
        )
        self.state = paths.state(NAME)

    def command(self, *words: str) -> list[str]:
        """Return kubesmith's command line for the lab."""
        return [*RUNNER, *words, "--inventory", str(self.inventory), "--json"]

    def renew(self) -> None:
        """Replace the machines by fresh, bare ones."""
        meter.run(self.command("destroy"))
        meter.run(self.command("up", "--only", "nodes"))

    def ask(self, script: str) -> list[list[int]]:
        """Return the numbers that each node answers."""
        answers = []
        for machine in machines.load(self.state):
            command = ["ssh", "-F", machine.ssh_config, machine.name, script]
            answers.append([int(word) for word in subprocess.check_output(command, text=True).split()])
        return answers

    def total(self, script: str) -> int:
        """Return the sum of what all nodes answer."""
        return sum(number for answer in self.ask(script) for number in answer)

    def after(self, timing: Timing, sent: int, logins: int) -> None:
        """Note what a way left: bytes over all nodes' interfaces, SSH connections, memory of the nodes."""
        timing.count("SSH connections", self.total(LOGINS) - logins)
        timing.count("MB over the nodes' interfaces", (self.total(BYTES) - sent) / 1e6)
        timing.count("nodes: memory of all processes, MiB", self.total(MEMORY) / 1024**2)

    def before(self) -> tuple[int, int]:
        """Return (bytes, logins) so far; to ask opens the connections, which stay open and are used on."""
        self.ask("true")
        return self.total(BYTES), self.total(LOGINS)


def measured(way: str, lab: Lab, work: Callable[[Timing], None]) -> Timing:
    """Try a way once on fresh machines."""
    lab.renew()
    timing = Timing(way, os.getloadavg()[0])
    sent, logins = lab.before()
    work(timing)
    lab.after(timing, sent, logins)
    return timing


def floor(lab: Lab) -> Timing:
    """Let the shell script make the cluster; its milestones are its own."""

    def work(timing: Timing) -> None:
        nodes = machines.load(lab.state)
        cost = meter.run(
            [str(HERE / "floor.sh"), nodes[0].ssh_config, str(paths.bundle()), *(node.name for node in nodes)]
        )
        rows = [line.split(" s  ") for line in cost.output if " s  " in line]
        timing.seconds = {name.strip(): float(seconds) for seconds, name in rows}
        timing.seconds["pods Ready"] = max(timing.seconds.values())
        timing.cost(cost)

    return measured(SHELL, lab, work)


def playbook(lab: Lab) -> Timing:
    """Let a plain ansible-playbook make the cluster, and run it a second time."""

    def work(timing: Timing) -> None:
        os.environ.update(execute.environment(lab.state))
        command = [*PLAYBOOK, "-i", str(lab.inventory)]
        first = meter.run(command)
        timing.seconds["converged"] = first.seconds
        timing.cost(first)
        _recap(timing, "first", first.output)
        second = meter.run(command)
        timing.seconds["second run"] = second.seconds
        _recap(timing, "second", second.output)

    return measured(ANSIBLE, lab, work)


def runner(lab: Lab) -> Timing:
    """Let kubesmith make and verify the cluster, and run it a second time, which must change nothing."""

    def work(timing: Timing) -> None:
        cost = meter.run(lab.command("up"))
        events = [json.loads(line) for line in cost.output if line.startswith("{")]
        timing.seconds = {event["phase"]: event["seconds"] for event in events if event["event"] == "phase_end"}
        timing.seconds["all of it, verified"] = cost.seconds
        verify = timing.seconds.get("verify", 0.0)
        timing.seconds["converged"] = cost.seconds - verify
        timing.cost(cost)
        _tasks(timing, "first", lab)
        timing.tasks = by_task(lab)
        second = meter.run(lab.command("up", "--only", "converge"))
        timing.seconds["second run"] = second.seconds
        _tasks(timing, "second", lab)

    return measured(RUN, lab, work)


def by_task(lab: Lab) -> dict[str, float]:
    """Return {task: seconds on the slowest host} of the last run."""
    file = sorted(lab.state.glob("runs/*/tasks.jsonl"))[-1]
    found: dict[str, float] = {}
    for line in file.read_text().splitlines():
        row = json.loads(line)
        name = f"{row['role']}: {row['task']}" if row["role"] else str(row["task"])
        found[name] = max(found.get(name, 0.0), float(row["seconds"] or 0))
    return found


def _recap(timing: Timing, run: str, output: Iterable[str]) -> None:
    rows = [found.groups() for line in output if (found := RECAP.match(line))]
    hosts = {host: [int(number) for number in numbers] for host, *numbers in rows if host != "localhost"}
    _counts(timing, run, {host: (ok + skipped, changed, skipped) for host, (ok, changed, skipped) in hosts.items()})


def _tasks(timing: Timing, run: str, lab: Lab) -> None:
    tasks = json.loads((lab.state / "reports/latest/report.json").read_text())["tasks"]
    hosts = {host: (n["evaluated"], n["changed"], n["skipped"]) for host, n in tasks.items() if host != "localhost"}
    _counts(timing, run, hosts)


def _counts(timing: Timing, run: str, hosts: dict[str, tuple[int, int, int]]) -> None:
    """Note the tasks that a run evaluated, on the control plane and on the busiest worker, and what it changed."""
    workers = [numbers for host, numbers in hosts.items() if not host.startswith("cp")]
    timing.count(f"{run}: tasks on a worker", max(numbers[0] for numbers in workers))
    timing.count(f"{run}: tasks on the control plane", max(n[0] for host, n in hosts.items() if host.startswith("cp")))
    timing.count(f"{run}: changes", sum(numbers[1] for numbers in hosts.values()))
    timing.count(
        f"{run}: share of skipped tasks", sum(n[2] for n in hosts.values()) / sum(n[0] for n in hosts.values())
    )


def table(timings: Sequence[Timing]) -> str:
    """Return the medians as Markdown; ratios are to the shell script's whole time."""
    ways = {way: [t for t in timings if t.way == way] for way in dict.fromkeys(t.way for t in timings)}
    whole = median(ways[SHELL], "seconds", "pods Ready")
    rows = ["| way | milestone | median | lowest to highest | ratio to (a) |", "|---|---|---|---|---|"]
    for way, mine in ways.items():
        for name in mine[0].seconds:
            values = [timing.seconds[name] for timing in mine]
            middle = statistics.median(values)
            rows.append(
                f"| {way} | {name} | {middle:.1f} s | {min(values):.1f} to {max(values):.1f} | {middle / whole:.2f} |"
            )
    names = list(dict.fromkeys(name for timing in timings for name in timing.counts))
    rows += ["", f"| counted (medians) | {' | '.join(ways)} |", "|---|" + "---|" * len(ways)]
    for name in names:
        cells = [f"{median(mine, 'counts', name):g}" if name in mine[0].counts else "" for mine in ways.values()]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    rows += ["", *_slowest(ways[RUN])] if RUN in ways else []
    loads = ", ".join(f"{timing.way[:3]} {timing.load:.1f}" for timing in timings)
    return "\n".join([*rows, "", f"Load of the machine before each turn: {loads}."])


def _slowest(mine: Sequence[Timing], most: int = 12) -> list[str]:
    names = {name: statistics.median(t.tasks.get(name, 0.0) for t in mine) for name in mine[0].tasks}
    top = sorted(names.items(), key=lambda row: -row[1])[:most]
    rows = ["| the longest tasks of (c), on the slowest host | median |", "|---|---|"]
    return rows + [f"| {name} | {seconds:.1f} s |" for name, seconds in top]


def picture(timings: Sequence[Timing]) -> str:
    """Return the plot: where the time of each way goes."""
    rows = []
    for way in dict.fromkeys(t.way for t in timings):
        mine = [t for t in timings if t.way == way]
        names = {name: median(mine, "seconds", name) for name in mine[0].seconds}
        if way == SHELL:
            parts, before = {}, 0.0
            for name, seconds in names.items():
                parts[f"shell: {name}"], before = max(0.0, seconds - before), max(before, seconds)
            rows.append((way, {name: seconds for name, seconds in parts.items() if seconds > 0.05}))
        elif way == ANSIBLE:
            rows.append((way, {"converged": names["converged"]}))
        else:
            left_out = ("all of it, verified", "converged", "second run")
            rows.append((way, {name: seconds for name, seconds in names.items() if name not in left_out}))
    return plot.bars("From bare nodes to a cluster, seconds (medians)", rows)


def median(timings: Sequence[Timing], kind: str, name: str) -> float:
    """Return the median of one figure over the rounds."""
    return float(statistics.median(getattr(timing, kind)[name] for timing in timings))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is tried (3)")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("artifacts/bench"))
    parser.add_argument("--document", action="store_true", help="write the result into docs/performance.md")
    given = parser.parse_args()
    lab = Lab(given.out.absolute(), given.workers)
    timings: list[Timing] = []
    ways = [floor, playbook, runner]
    try:
        for number in range(given.rounds):
            for way in ways[number % 3 :] + ways[: number % 3]:
                timings.append(way(lab))
                print(f"{timings[-1].way}: {max(timings[-1].seconds.values()):.1f} s", file=sys.stderr, flush=True)
                keep(given.out / "bench.json", [asdict(timing) for timing in timings])
    finally:
        meter.run(lab.command("destroy"))
    what = f"{given.rounds} rounds, 1 control plane and {given.workers} workers."
    text = f"{document.machine_line()} {what}\n\n{table(timings)}"
    (given.out / "bench.md").write_text(text + "\n")
    (given.out / "bench.svg").write_text(picture(timings))
    if given.document:
        document.keep("bench.json", [asdict(timing) for timing in timings])
        document.keep("bench.svg", picture(timings))
        document.put("bench", f"![where the time goes](performance/bench.svg)\n\n{text}")
    print(text)


def keep(file: Path, data: Any) -> None:
    """Write figures as they come: an interrupted run has those that it had."""
    file.write_text(json.dumps({"at": time.time(), "timings": data}, indent=1) + "\n")


if __name__ == "__main__":
    main()
