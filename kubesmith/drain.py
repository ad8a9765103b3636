"""Nodes emptied of their pods as kubectl does it: PodDisruptionBudgets are respected, DaemonSets are left alone."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubesmith import kube
from kubesmith.errors import KubesmithError

TIMEOUT = 300  # seconds
LOOK_EVERY = 5.0  # seconds, at the node itself while its pods leave


def nodes(kubeconfig: Path) -> dict[str, bool]:
    """Return {node: Ready} of the cluster; KubesmithError where the API does not answer."""
    return {item["metadata"]["name"]: ready(item) for item in kube.get(kubeconfig, ["nodes"])["items"]}


def ready(node: dict[str, Any]) -> bool:
    """Tell whether a node is Ready; one that does not report is not."""
    conditions = {row["type"]: row["status"] for row in node["status"].get("conditions", ())}
    return conditions.get("Ready") == "True"


def drain(
    kubeconfig: Path, node: str, *, timeout: float = TIMEOUT, force: bool = False, tell: Callable[[str], None] = print
) -> bool:
    """Cordon ``node`` and evict its pods; return whether they have gone.

    They have not where the node fell silent meanwhile, as one does that lost its power a moment ago and is still called
    Ready: nothing on it can end, and nobody waits for that. ``force`` also deletes pods that no controller makes anew.
    ``tell`` gets each line that kubectl says. Raises KubesmithError with the reason if a pod is still there after
    ``timeout`` seconds; the node stays cordoned then.
    """
    command = [kube.binary(), "drain", node, "--ignore-daemonsets", "--delete-emptydir-data"]
    command += [f"--timeout={timeout:.0f}s", *(["--force"] if force else [])]
    lines: list[str] = []
    silent, over = threading.Event(), threading.Event()
    with subprocess.Popen(
        command,
        env=kube.environment(kubeconfig),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        watch = threading.Thread(target=_end_if_silent, args=(process, kubeconfig, node, silent, over), daemon=True)
        watch.start()
        try:
            for line in process.stdout or ():
                if line.strip():
                    lines.append(line.strip())
                    tell(line.strip())
        except BaseException:
            process.terminate()
            raise
        finally:
            over.set()
    if silent.is_set():
        return False
    if process.returncode:
        raise KubesmithError(f"{node} cannot be drained: {reason(lines)}", fix=remedy(lines))
    return True


def _end_if_silent(
    process: subprocess.Popen[str], kubeconfig: Path, node: str, silent: threading.Event, over: threading.Event
) -> None:
    """End a drain whose node is not Ready any more; what the API server does not answer says nothing of the node."""
    while not over.wait(LOOK_EVERY):
        try:
            found = nodes(kubeconfig)
        except KubesmithError:
            continue
        if not found.get(node, True) and not over.is_set():
            silent.set()
            process.terminate()
            return


def uncordon(kubeconfig: Path, node: str) -> None:
    """Let pods come to ``node`` again."""
    command = [kube.binary(), "uncordon", node, f"--request-timeout={kube.TIMEOUT}s"]
    done = subprocess.run(command, env=kube.environment(kubeconfig), capture_output=True, text=True, check=False)
    if done.returncode:
        raise KubesmithError(f"{node} stays cordoned: {kube.last_line(done.stderr)}", fix=f"kubectl uncordon {node}")


def reason(lines: list[str]) -> str:
    """Return why a drain failed, out of what kubectl said: the disruption budget that stood in the way, if one did."""
    budgets = [line for line in lines if "disruption budget" in line]
    pods = [line for line in lines if "cannot delete" in line or line.startswith("error")]
    return (budgets or pods or lines or ["kubectl said nothing"])[-1].removeprefix("error: ")


def remedy(lines: list[str]) -> str:
    """Return what to do about a drain that failed."""
    text = "\n".join(lines)
    if "disruption budget" in text:
        return "raise the workload's replicas or its budget, or wait longer: --timeout SECONDS"
    if "declare no controller" in text:
        return "--force deletes pods that nobody makes anew"
    return "look at the pods that are left, then run the same command again"
