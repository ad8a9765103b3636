"""``status``, ``down``, ``destroy``, ``ssh`` and ``kubectl``: the machines and the way to them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from kubesmith import kube, report
from kubesmith.errors import InputError, KubesmithError
from kubesmith.job import Job, ssh_argv

COLOURS = {"running": "green", "listed": "default", "stopped": "yellow", "absent": "red"}


def status(job: Job) -> int:
    """Show machines, nodes and pods that do not run; return 0 if all is as it should be, else 1."""
    machines = job.provider().status()
    nodes: list[report.NodeRow] = []
    sick: list[str] = []
    trouble = ""
    try:
        nodes = report.nodes(job.kubeconfig)
        sick = _sick_pods(job)
    except KubesmithError as error:
        trouble = str(error) if job.kubeconfig.exists() else f"{error}; {error.fix}"
    good = not trouble and not sick and all(machine.state in ("running", "listed") for machine in machines)
    good = good and bool(nodes) and all(node.ready == "Ready" for node in nodes)
    if job.ui.as_json:
        rows = {
            "cluster": job.spec.cluster.name,
            "ok": good,
            "machines": [asdict(machine) for machine in machines],
            "nodes": [asdict(node) for node in nodes],
            "pods_not_running": sick,
            "trouble": trouble,
        }
        print(json.dumps(rows))
        return 0 if good else 1
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("Machine", "State", "Detail"):
        table.add_column(title)
    for machine in machines:
        table.add_row(machine.name, Text(machine.state, COLOURS.get(machine.state, "red")), machine.detail)
    job.ui.console.print(table)
    if nodes:
        job.ui.console.print()
        job.ui.console.print(report.node_table(nodes))
    for pod in sick:
        job.ui.console.print(Text(f"not running: {pod}", "red"))
    if trouble:
        job.ui.console.print(Text(trouble, "yellow"), soft_wrap=True)
    return 0 if good else 1


def _sick_pods(job: Job) -> list[str]:
    pods = kube.get(job.kubeconfig, ["pods", "--all-namespaces"])["items"]
    return [
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']} {pod['status'].get('phase', 'Unknown')}"
        for pod in pods
        if pod["status"].get("phase") not in ("Running", "Succeeded")
    ]


def down(job: Job) -> int:
    """Stop the machines; ``up`` starts them again with their data."""
    with job.alone(), job.ui.phase("down", "Stop machines") as progress:
        job.provider().stop(progress)
    return 0


def destroy(job: Job) -> int:
    """Remove the machines and everything else of this cluster. Asks on a terminal unless it is a lab or --yes."""
    if not (job.assume_yes or job.spec.lab) and sys.stdin.isatty():
        answer = input(f"Destroy cluster {job.spec.cluster.name} and all its data? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            raise InputError("not destroyed: not confirmed", fix="answer y, or give --yes")
    with job.alone(), job.ui.phase("destroy", "Destroy machines") as progress:
        job.provider().destroy(progress)
    return 0


def ssh(job: Job, arguments: Sequence[str]) -> int:
    """Replace this process by ssh to a node; further words are a command to run there."""
    hosts = job.hosts()
    if not arguments or arguments[0] not in hosts:
        seen = arguments[0] if arguments else "nothing"
        raise InputError(f"{seen!r} is not a node of {job.spec.cluster.name}", fix=f"nodes: {', '.join(hosts)}")
    variables = hosts[arguments[0]]
    if str(variables["ansible_host"]).endswith(".not-made.invalid"):
        raise InputError(f"the machine of {arguments[0]} has not been made", fix="python3 runner.py up")
    argv = [*ssh_argv(variables), *arguments[1:]]
    os.execvp(argv[0], argv)  # noqa: S606 - the user's own command, no shell between


def kubectl(job: Job, arguments: Sequence[str]) -> int:
    """Replace this process by kubectl with the cluster's kubeconfig."""
    binary = kube.binary()
    os.execve(binary, [binary, *arguments], kube.environment(job.kubeconfig))  # noqa: S606 - as above
