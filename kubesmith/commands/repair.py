"""``repair``: find sick nodes, and go from a restart to a reboot to a new join, looking after each step."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from rich.text import Text

from kubesmith import execute, kube, parts, report
from kubesmith.backups import make
from kubesmith.commands.preflight import known_ca
from kubesmith.errors import InputError, KubesmithError
from kubesmith.job import Job
from kubesmith.parts import Part
from kubesmith.providers.podman.provider import PodmanProvider
from kubesmith.repair import PATIENCE, REBOOT, REJOIN, RESTART, Sick, Tried, allowed, sick, steps, too_many, well

MODULE = "kubesmith.cluster.node_repair"
KINDS = "nodes,pods,deployments"
INTERVAL = 2.0
DRAIN = 45  # seconds in which the pods of a sick node may leave in order


def run(job: Job, *, check: bool = False) -> int:
    """Carry out the verb; return 0 if all nodes are well, or are so in the end, else 1.

    Without a yes, by ``--yes`` or on a terminal, nothing is done but shown.
    """
    job.require_machines()
    with job.alone():
        found = look(job)
        refused = too_many(found, len(job.spec.machines()))
        show(job, found, refused)
        tried: list[Tried] = []
        if found and not refused and not check and _confirmed(job):
            tried, refused = _repair(job, found)
    left = [row.node for row in found if not any(step.ok for step in tried if step.node == row.node)]
    if job.ui.as_json:
        rows = {
            "cluster": job.spec.cluster.name,
            "ok": not left and not refused,
            "sick": [asdict(row) for row in found],
            "allowed": allowed(len(job.spec.machines())),
            "refused": refused,
            "steps": [asdict(step) for step in tried],
        }
        print(json.dumps(rows))
    elif tried:
        text = f"still sick: {', '.join(left)}" if left else f"{len(found)} node(s) are well again"
        job.ui.line(Text(text, "red" if left else "green"), always=True)
    return 1 if left or refused else 0


def _confirmed(job: Job) -> bool:
    if job.assume_yes:
        return True
    if not sys.stdin.isatty() or job.ui.as_json:
        job.ui.line("nothing was done: say --yes to do it", always=True)
        return False
    return input("Do this? [y/N] ").strip().lower() in ("y", "yes")


# --- looking


def look(job: Job, nodes: Sequence[str] = ()) -> list[Sick]:
    """Ask the nodes (all of them, by default) and the API server; return the sick ones."""
    machines = job.spec.machines()
    wanted = [node for node in machines if not nodes or node.name in nodes]
    seen: dict[str, Sequence[str]] = {}

    def collect(result: execute.TaskResult) -> None:
        if result.action == MODULE:
            seen[result.host] = result.answer["reasons"]

    outcome = _play(job, nodes, "look", collect)
    failures = {row.host: row.message.splitlines()[-1] if row.message else row.task for row in outcome.failures}
    known = known_parts(job)
    planes = [node.name for node in wanted if node.role == "control-plane"]
    workers = [node.name for node in wanted if node.role != "control-plane"]
    return sick(planes, workers, seen, {name: text for name, text in failures.items() if name not in seen}, known)


def known_parts(job: Job) -> list[Part]:
    """Return what the API server knows of each node's parts, nothing where it does not answer."""
    machines = job.spec.machines()
    planes = [node.name for node in machines if node.role == "control-plane"]
    workers = [node.name for node in machines if node.role != "control-plane"]
    try:
        items = kube.get(job.kubeconfig, [KINDS, "--all-namespaces"])["items"]
    except (KubesmithError, subprocess.TimeoutExpired):
        return []
    return parts.parts(items, planes, workers, parts.now())


def _play(
    job: Job, nodes: Sequence[str], step: str, collect: Callable[[execute.TaskResult], None] | None = None
) -> execute.Result:
    """Take one step of the playbook on these nodes."""
    return execute.playbook(
        "kubesmith.cluster.repair",
        inventory=job.inventory,
        state=job.state,
        ui=job.ui,
        limit=",".join(nodes),
        variables={"repair_step": step, "reset_authority": known_ca(job.kubeconfig)},
        kept_in="repairs",
        collect=collect,
    )


def show(job: Job, found: Sequence[Sick], refused: str) -> None:
    """Print what is sick and what would be done."""
    if job.ui.as_json:
        return
    if not found:
        job.ui.line(Text(f"all {len(job.spec.machines())} nodes are well", "green"), always=True)
    for row in found:
        job.ui.line(Text.assemble((row.node, "bold"), f": {'; '.join(row.reasons)}"), always=True)
        for step, why in () if refused else planned(job, row, found):
            job.ui.line(Text(f"  {step}{f': not taken, {why}' if why else ''}", "dim" if why else ""), always=True)
    if refused:
        job.ui.line(Text(refused, "red"), always=True)


def planned(job: Job, row: Sick, found: Sequence[Sick]) -> list[tuple[str, str]]:
    """Return the steps for a sick node, each with why it is not taken."""
    planes = [node.name for node in job.spec.machines() if node.role == "control-plane"]
    ill = {other.node for other in found if other.node != row.node}
    return steps(
        row,
        planes=len(planes),
        well_planes=sum(name not in ill and name != row.node for name in planes),
        adopted=job.spec.adopted == "keep",
        provider=job.spec.provider,
    )


# --- doing


def _repair(job: Job, found: Sequence[Sick]) -> tuple[list[Tried], str]:
    """Deal with one node after the other; return what was tried, and why the rest was left."""
    tried: list[Tried] = []
    for number, name in enumerate([row.node for row in found]):
        if number:
            found = look(job)  # what was done to the last one may have made others sick
            if refused := too_many(found, len(job.spec.machines())):
                return tried, refused
        row = next((row for row in found if row.node == name), None)
        if row is None:
            continue
        for step, why in planned(job, row, found):
            if why:
                job.ui.line(f"{row.node}: {step} is not taken: {why}")
                continue
            done = _take(job, row, step)
            tried.append(done)
            job.ui.event("step", **asdict(done))
            text = f"well after {done.seconds:.0f} s" if done.ok else f"no help: {'; '.join(done.reasons)}"
            job.ui.line(f"{row.node}: {step}: {text}")
            if done.ok:
                break
    return tried, ""


def _take(job: Job, row: Sick, step: str) -> Tried:
    """Take one step, and look until the node is well or the time for it is over."""
    began = time.monotonic()
    reasons: list[str] = []
    try:
        {RESTART: _restart, REBOOT: _reboot, REJOIN: _rejoin}[step](job, row)
        reasons = _observe(job, row.node, PATIENCE[step])
    except (KubesmithError, InputError) as error:
        reasons = [str(error)]
    return Tried(row.node, step, not reasons, round(time.monotonic() - began, 1), reasons)


def _observe(job: Job, node: str, seconds: float) -> list[str]:
    """Wait until a node is well by the API server and by itself; return what is wrong when the time is over."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if well(node, known_parts(job)):
            left = look(job, [node])
            if not left:
                return []
        time.sleep(INTERVAL)
    left = look(job, [node])
    return list(left[0].reasons) if left else ["the API server does not find it well"]


def _restart(job: Job, row: Sick) -> None:
    outcome = _play(job, [row.node], "restart")
    if not outcome.ok:
        raise KubesmithError(outcome.failures[0].message if outcome.failures else "the restart failed")
    # The network plug-in's pod writes the CNI configuration and its programs when it starts.
    if any("network plug-in" in text or text.startswith("CNI:") for text in row.reasons):
        selector = ["--selector=k8s-app=calico-node", f"--field-selector=spec.nodeName={row.node}"]
        _kubectl(job, "delete", "pods", "--namespace=kube-system", *selector, "--wait=false")


def _reboot(job: Job, row: Sick) -> None:
    provider = job.provider()
    if isinstance(provider, PodmanProvider):
        with job.ui.phase("reboot", f"Reboot {row.node}") as progress:
            provider.reboot(row.node, progress)
        return
    if not row.reached:
        with job.ui.phase("nodes", "Nodes") as progress:
            provider.create(progress)
        return
    outcome = _play(job, [row.node], "reboot")
    if not outcome.ok:
        raise KubesmithError(outcome.failures[0].message if outcome.failures else "the reboot failed")


def _rejoin(job: Job, row: Sick) -> None:
    """Take the cluster off the node and have ``site`` join it anew; its pods are asked to leave before."""
    make.before(job, f"joining {row.node} anew", vital=False)
    _kubectl(job, "cordon", row.node)
    options = ["--ignore-daemonsets", "--delete-emptydir-data", "--force", f"--timeout={DRAIN}s"]
    _kubectl(job, "drain", row.node, *options)
    outcome = _play(job, [row.node], "leave")
    if not outcome.ok:
        raise KubesmithError(outcome.failures[0].message if outcome.failures else "it could not be reset")
    _kubectl(job, "delete", "node", row.node, "--ignore-not-found")
    planes = [node.name for node in job.spec.machines() if node.role == "control-plane"]
    outcome = execute.playbook(
        "kubesmith.cluster.site",
        inventory=job.inventory,
        state=job.state,
        ui=job.ui,
        limit=",".join(["localhost", *planes, row.node]),
    )
    if not outcome.ok:
        report.failed(outcome, job.ui)
        raise KubesmithError("it could not be joined anew")


def _kubectl(job: Job, *words: str) -> None:
    """Run kubectl; what it fails at (no API server, pods that do not leave a dead node) shows in what is seen next."""
    command = [kube.binary(), *words, "--request-timeout=20s"] if words[0] != "drain" else [kube.binary(), *words]
    subprocess.run(
        command, env=kube.environment(job.kubeconfig), capture_output=True, text=True, check=False, timeout=DRAIN + 30
    )
