"""Several controllers at simulated hosts, one of them killed in the middle: is every host done, and none twice?

    python -m bench.many [--hosts 300] [--controllers 3] [--out FOLDER] [--document]

The scheduler runs on this machine, each controller in a container of its own with nothing but this checkout, its Python
and the bundle, read-only. When a third of the hosts have joined, the controller that told of the last one is killed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench import document
from bench.simulation.hosts import RUNNER, Simulation, checked
from kubesmith import paths
from kubesmith.controllers import certificates, engines
from kubesmith.errors import InputError
from kubesmith.providers.podman.engine import host, node_flags, podman, podman_json, runtime_flags
from kubesmith.providers.podman.lab import Lab
from kubesmith.providers.podman.node_image import NodeImage

NAME, PORT = "bench-many", 8786
CHECKOUT = Path(RUNNER[1]).parent
JOIN = "join | Join the cluster"


def gateway() -> str:
    """Return this machine's own address in the lab's network."""
    network = podman_json("network", "inspect", Lab(NAME).network)[0]
    text = json.dumps(network)
    found = [value for key, value in _pairs(network) if key == "gateway"]
    if not found:
        sys.exit(f"no gateway in {text}")
    return str(found[0])


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key, inner
            yield from _pairs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _pairs(inner)


def container(number: int) -> str:
    """Return the name of a controller's container."""
    return f"kubesmith-{NAME}-controller-{number}"


@contextmanager
def mesh(count: int, tls: Path) -> Iterator[str]:
    """Yield the address of a scheduler with so many controllers, each in a container."""
    address = f"tls://{gateway()}:{PORT}"
    certificates.make(tls)
    words = ["--listen", address.removeprefix("tls://"), "--dashboard", "127.0.0.1:8787", "--tls", str(tls)]
    with (tls / "scheduler.log").open("w") as log:
        scheduler = subprocess.Popen([*RUNNER, "controllers", "scheduler", *words], stdout=log, stderr=log)
    try:
        for number in range(1, count + 1):
            _start(number, address, tls)
        _wait(address, tls, count)
        yield address
    finally:
        for number in range(1, count + 1):
            podman("rm", "--force", "--ignore", "--time=0", container(number))
        scheduler.terminate()
        scheduler.wait()


def _start(number: int, address: str, tls: Path) -> None:
    python = Path(sys.executable).resolve()
    mounts = {CHECKOUT, python.parents[1], paths.cache() / "bundle", tls, tls.parent / "simulation/bundle"}
    command = ["run", "--detach", f"--name={container(number)}", f"--network={Lab(NAME).network}"]
    command += [f"--volume={folder}:{folder}:ro" for folder in sorted(mounts)]
    command += [f"--env=KUBESMITH_CACHE={paths.cache()}", "--env=LC_ALL=C.UTF-8", "--entrypoint="]
    worker = [sys.executable, RUNNER[1], "controllers", "worker", address, "--at-once", "1", "--tls", str(tls)]
    machine = host()
    command += [flag for flag in node_flags(machine) if flag.startswith("--ulimit")]
    podman(*runtime_flags(machine), *command, NodeImage().reference, *worker)


def _wait(address: str, tls: Path, count: int, seconds: float = 180) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        with suppress(InputError):
            engine = engines.named(address, tls)
            places = engine.places("1.37.2")
            engine.close()
            if places >= count:
                return
        time.sleep(1)
    logs = "\n".join(podman("logs", "--tail=5", container(number), check=False) for number in range(1, count + 1))
    sys.exit(f"fewer than {count} controllers within {seconds:.0f} s\n{logs}")


def converge(simulation: Simulation, address: str, tls: Path, hosts: int, controllers: int) -> dict[str, Any]:
    """Run `up` over the controllers and kill one in the middle; return what was seen."""
    words = ["up", "--only", "converge", "--controllers", address, "--tls", str(tls), "--json"]
    command = [*RUNNER, *words, "--inventory", str(simulation.inventory)]
    joined: set[str] = set()
    told: Counter[str] = Counter()
    seen: dict[str, Any] = {"hosts": hosts, "controllers": controllers, "killed": "", "killed_after_joins": 0}
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "task" and event.get("controller"):
                told[event["controller"]] += 1
                if event["task"] == JOIN and event["status"] == "ok":
                    joined.add(event["host"])
                if not seen["killed"] and len(joined) > hosts / 3:
                    seen |= {"killed": event["controller"], "killed_after_joins": len(joined)}
                    _kill(event["controller"], controllers)
    seen |= {"exit_code": process.returncode, "seconds": round(time.monotonic() - began, 1)}
    report = json.loads((simulation.state / "reports/latest/report.json").read_text())
    workers = {host: row for host, row in report["tasks"].items() if host.startswith("w")}
    effects = simulation.effects()
    log = sorted(simulation.state.glob("runs/*/tasks.jsonl"))
    rows = [json.loads(line) for file in log[-2:-1] for line in file.read_text().splitlines()]
    done_by = Counter(row["controller"] for row in rows if row.get("task") == JOIN)
    return seen | {
        "hosts_in_the_report": len(workers),
        "hosts_failed": sum(bool(row["failed"]) for row in workers.values()),
        "hosts_joined_once": sum(counts["kubeadm join"] == 1 for counts in effects.values()),
        "hosts_joined_twice": sum(counts["kubeadm join"] > 1 for counts in effects.values()),
        "images_imported_twice": sum(counts["ctr import"] > 1 for counts in effects.values()),
        "hosts_finished_by": dict(done_by),
    }


def _kill(address: str, controllers: int) -> None:
    """Kill the container that has the address of a worker of Dask's."""
    for number in range(1, controllers + 1):
        rows = json.loads(podman("inspect", container(number)))
        addresses = {value for key, value in _pairs(rows) if key == "IPAddress"}
        if address.split("//")[1].rpartition(":")[0] in addresses:
            podman("kill", "--signal=KILL", container(number))
            return
    sys.exit(f"no container has the address {address}")


def main() -> None:
    """Run it; exit code 1 unless every host was done exactly once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=300)
    parser.add_argument("--controllers", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("artifacts/many"))
    parser.add_argument("--document", action="store_true", help="write the result into docs/performance.md")
    given = parser.parse_args()
    out = given.out.absolute()
    simulation = Simulation(NAME, out / "simulation")
    checked(["rm", "-rf", str(out / "tls")])
    try:
        simulation.begin()
        simulation.grow(given.hosts)
        with mesh(given.controllers, out / "tls") as address:
            seen = converge(simulation, address, out / "tls", given.hosts, given.controllers)
    finally:
        simulation.end()
    text = json.dumps(seen, indent=1)
    (out / "many.json").write_text(text + "\n")
    if given.document:
        document.keep("many.json", seen)
        document.put("many", f"{document.machine_line()}\n\n```json\n{text}\n```")
    print(text)
    counts = ("hosts_in_the_report", "hosts_joined_once")
    right = seen["exit_code"] == 0 and all(seen[name] == given.hosts for name in counts) and seen["killed"]
    sys.exit(0 if right and not seen["hosts_joined_twice"] else 1)


if __name__ == "__main__":
    main()
