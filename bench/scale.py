"""How the controller's work grows with the hosts: simulated workers beside a real control plane.

    python -m bench.scale [--hosts 10,100,300,1000] [--out FOLDER] [--document]

For each number of hosts, from fresh ones: converge, the same again, and one worker more. Time, processor seconds and
peak memory of the controller, ssh commands, as a table, as JSON and as curves. What is simulated: docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import document, meter, plot
from bench.simulation.hosts import RUNNER, Simulation, ansible_environment

NAME = "bench-scale"
STEPS = ("converge", "second run", "one worker more")
ANSIBLE = Path(sys.executable).parent / "ansible-playbook"


def measure(simulation: Simulation, hosts: int) -> list[dict[str, Any]]:
    """Return a row for each step with ``hosts`` fresh simulated workers."""
    simulation.fresh(hosts)
    up = [*RUNNER, "up", "--only", "converge", "--json", "--inventory", str(simulation.inventory)]
    rows = [_row(simulation, hosts, STEPS[0], up), _row(simulation, hosts, STEPS[1], up)]
    simulation.grow(hosts + 1)
    limit = f"localhost,kube_control_plane,w{hosts + 1}"
    os.environ.update(ansible_environment())
    one = [str(ANSIBLE), "kubesmith.cluster.site", "-i", str(simulation.inventory), "--limit", limit]
    rows.append(_row(simulation, hosts, STEPS[2], one))
    effects = simulation.effects()
    twice = sorted(host for host, counts in effects.items() if counts["kubeadm join"] != 1)
    if twice or len(effects) != hosts + 1:
        sys.exit(f"{len(effects)} hosts had effects, of them not joined exactly once: {twice[:10]}")
    return rows


def _row(simulation: Simulation, hosts: int, step: str, command: Sequence[str]) -> dict[str, Any]:
    load, before = os.getloadavg()[0], simulation.processor_seconds()
    cost = meter.run(command)
    row = {
        "hosts": hosts,
        "step": step,
        "seconds": round(cost.seconds, 1),
        "controller_processor_seconds": round(cost.processor, 1),
        "hosts_processor_seconds": round(simulation.processor_seconds() - before, 1),
        "controller_peak_mib": round(cost.peak_mib),
        "ssh_commands": cost.commands,
        "load_before": round(load, 1),
    } | _tasks(cost.output)
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


def _tasks(output: Sequence[str]) -> dict[str, Any]:
    """Return what the run's own events say of its tasks; nothing of a plain ansible-playbook."""
    rows = [json.loads(line) for line in output if line.startswith('{"event": "task"')]
    changed = sum(bool(row["changed"]) for row in rows)
    return {"tasks": len(rows), "changed": changed} if rows else {}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the figures as Markdown."""
    out = ["| hosts | step | time | controller's processor, per host | peak memory | ssh commands | tasks | changed |"]
    out.append("|---|---|---|---|---|---|---|---|")
    for row in rows:
        each = row["controller_processor_seconds"] / (row["hosts"] if row["step"] != STEPS[2] else 1)
        cells = [row["hosts"], row["step"], f"{row['seconds']} s"]
        cells += [f"{row['controller_processor_seconds']} s, {each:.2f} s", f"{row['controller_peak_mib']} MiB"]
        cells += [row["ssh_commands"], row.get("tasks", ""), row.get("changed", "")]
        out.append(f"| {' | '.join(map(str, cells))} |")
    loads = ", ".join(str(row["load_before"]) for row in rows)
    return "\n".join([*out, "", f"Load of the machine before each step: {loads}."])


def picture(rows: Sequence[dict[str, Any]]) -> str:
    """Return the curves."""
    panels = [
        plot.Panel(title, {step: {row["hosts"]: row[key] for row in rows if row["step"] == step} for step in STEPS})
        for title, key in (
            ("seconds", "seconds"),
            ("controller: processor seconds", "controller_processor_seconds"),
            ("controller: peak memory, MiB", "controller_peak_mib"),
        )
    ]
    return plot.panels("Simulated hosts, both axes logarithmic; dotted: in proportion", "hosts", panels)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", default="10,100,300,1000", help="numbers of workers (10,100,300,1000)")
    parser.add_argument("--out", type=Path, default=Path("artifacts/scale"))
    parser.add_argument("--document", action="store_true", help="write the result into docs/performance.md")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    simulation = Simulation(NAME, given.out.absolute() / "simulation")
    try:
        simulation.begin()
        for hosts in (int(word) for word in given.hosts.split(",")):
            rows += measure(simulation, hosts)
            (given.out / "scale.json").write_text(json.dumps({"at": time.time(), "rows": rows}, indent=1) + "\n")
    finally:
        simulation.end()
    text = f"{document.machine_line()}\n\n{table(rows)}"
    (given.out / "scale.md").write_text(text + "\n")
    (given.out / "scale.svg").write_text(picture(rows))
    if given.document:
        document.keep("scale.json", rows)
        document.keep("scale.svg", picture(rows))
        document.put("scale", f"![curves](performance/scale.svg)\n\n{text}")
    print(text)


if __name__ == "__main__":
    main()
