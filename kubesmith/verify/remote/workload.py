"""Proofs of what a user does with a cluster, made with kubectl on a control plane, in the probe's namespace."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubesmith.verify.remote.common import ADMIN, DIRECT, kubectl, objects, together, until
from kubesmith.verify.remote.paths import HTTP, network_of, process_of
from kubesmith.verify.remote.probe import describe

SECONDS = 20.0
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 (a path)
DENY_ALL = {"podSelector": {"matchLabels": {"app": "app"}}, "policyTypes": ["Ingress"]}
ALLOW_PROBE = {**DENY_ALL, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "probe"}}}]}]}


class Namespace:
    """The probe's namespace, as kubectl sees it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def kubectl(self, *arguments: str, text: str = "") -> str:
        """Run kubectl in this namespace."""
        return kubectl("-n", self.name, *arguments, text=text)

    def app_pods(self) -> list[dict[str, Any]]:
        """Return the deployment's living pods, described."""
        pods = objects("pods", "-n", self.name, "-l", "app=app")
        return [describe(pod) for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def app_settled(self, without: str = "") -> list[dict[str, Any]]:
        """Return the deployment's pods once all are Ready, and ``without`` is not among them; else an empty list."""
        wanted = json.loads(self.kubectl("get", "deployment", "app", "-o", "json"))["spec"]["replicas"]

        def settled() -> list[dict[str, Any]]:
            pods = self.app_pods()
            right = len(pods) == wanted and all(pod["ready"] and pod["uid"] != without for pod in pods)
            return pods if right else []

        answer: list[dict[str, Any]] = until(settled, SECONDS, 0.4)
        return answer


# --- on each node: logs, exec, files, port-forward


def logs(space: Namespace, pod: str) -> bool:
    return "Started HTTP server" in space.kubectl("logs", pod)


def files(space: Namespace, pod: str) -> dict[str, str]:
    """Return what the pod reads from its ConfigMap and Secret, and whether a token is projected into it."""
    script = f"cat /probe/config/word; echo; cat /probe/secret/word; echo; test -s {TOKEN} && echo token"
    lines = [*space.kubectl("exec", pod, "--", "sh", "-c", script).splitlines(), "", "", ""]
    return {"config_map": lines[0], "secret": lines[1], "token": lines[2]}


def copy(space: Namespace, pod: str, word: str) -> str:
    """Copy a file into the pod and out again; return what came back."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in").write_text(word)
        space.kubectl("cp", f"{folder}/in", f"{pod}:/tmp/word")
        space.kubectl("cp", f"{pod}:/tmp/word", f"{folder}/out")
        return Path(folder, "out").read_text()


def port_forward(space: Namespace, pod: str) -> str:
    """Reach the pod's server through ``kubectl port-forward``; return its answer."""
    command = ["kubectl", "--kubeconfig", ADMIN, "-n", space.name, "port-forward", pod, f":{HTTP}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as tunnel:
        try:
            line = tunnel.stdout.readline() if tunnel.stdout else ""
            port = re.search(r"127\.0\.0\.1:(\d+)", line)
            if not port:
                return line.strip()
            opener = urllib.request.build_opener(DIRECT)
            with opener.open(f"http://127.0.0.1:{port[1]}/hostname", timeout=5) as answer:
                return str(answer.read().decode())
        finally:
            tunnel.terminate()


# --- once


def spread(space: Namespace) -> dict[str, Any]:
    """Return on which nodes the deployment's pods run, and how long it took."""
    pods = space.app_settled()
    return {"nodes": sorted(pod["node"] for pod in pods), "states": [pod["state"] for pod in space.app_pods()]}


def policy(space: Namespace, probe_uid: str) -> dict[str, str]:
    """Connect from this node's probe pod to the app: without a policy, with one that blocks, with one that allows."""
    targets = space.app_settled()
    process = process_of(probe_uid)

    def reach() -> str:
        with network_of(process):
            try:
                with socket.create_connection((targets[0]["ip"], HTTP), 1):
                    return "open"
            except socket.timeout:
                return "blocked"
            except OSError as error:
                return str(error)

    def becomes(wanted: str) -> str:
        until(lambda: reach() == wanted, SECONDS)
        return reach()

    answer = {"before": becomes("open")}
    _apply_policy(space, "deny", DENY_ALL)
    answer["denied"] = becomes("blocked")
    _apply_policy(space, "allow", ALLOW_PROBE)
    answer["allowed"] = becomes("open")
    space.kubectl("delete", "networkpolicies", "deny", "allow", "--wait=false")
    return answer


def _apply_policy(space: Namespace, name: str, spec: dict[str, Any]) -> None:
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec}
    space.kubectl("apply", "-f", "-", text=json.dumps(policy))


def replacement(space: Namespace) -> dict[str, Any]:
    """Kill one pod of the deployment; return which one, and the Ready pods once it is replaced."""
    killed = space.app_settled()[0]
    space.kubectl("delete", "pod", killed["name"], "--wait=false")
    after = space.app_settled(without=killed["uid"])
    return {"killed": killed["name"], "after": [pod["name"] for pod in after]}


def rollout(space: Namespace) -> dict[str, Any]:
    """Roll out an image that does not exist, and undo it; return the image before, in between and after."""
    before = _image(space)
    space.kubectl("set", "image", "deployment/app", f"server={before}-absent")
    between = until(lambda: _status(space).get("unavailableReplicas") and _image(space), SECONDS)
    serving = _status(space).get("readyReplicas", 0)
    space.kubectl("rollout", "undo", "deployment/app")
    space.kubectl("rollout", "status", "deployment/app", f"--timeout={int(SECONDS)}s")
    return {"before": before, "between": between, "serving_in_between": serving, "after": _image(space)}


def _status(space: Namespace) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(space.kubectl("get", "deployment", "app", "-o", "json"))["status"]
    return status


def _image(space: Namespace) -> str:
    return space.kubectl("get", "deployment", "app", "-o", "jsonpath={.spec.template.spec.containers[0].image}")


def job(space: Namespace) -> str:
    """Wait for the job to end; return ``Complete``, or how far it came."""

    def ended() -> str:
        status = json.loads(space.kubectl("get", "job", "job", "-o", "json"))["status"]
        done = [
            c["type"]
            for c in status.get("conditions", [])
            if c["status"] == "True" and c["type"] in ("Complete", "Failed")
        ]
        return done[0] if done else ""

    return str(until(ended, SECONDS, 0.5)) or "still running"


def main(question: dict[str, Any]) -> dict[str, Any]:
    """Answer with every proof; those that change the deployment come one after the other."""
    space = Namespace(question["namespace"])
    answers: dict[str, Any] = {}

    def in_turn() -> None:
        steps: dict[str, Callable[[], Any]] = {
            "spread": lambda: spread(space),
            "policy": lambda: policy(space, question["probe_uid"]),
            "replacement": lambda: replacement(space),
            "rollout": lambda: rollout(space),
        }
        for name, step in steps.items():
            begin = time.monotonic()
            answers.update(together({name: step}))
            answers[f"{name}_seconds"] = round(time.monotonic() - begin, 1)

    tasks: dict[str, Callable[[], Any]] = {"in turn": in_turn, "job": lambda: job(space)}
    for node, pod in question["pods"].items():
        tasks[f"logs {node}"] = lambda pod=pod: logs(space, pod)
        tasks[f"files {node}"] = lambda pod=pod: files(space, pod)
        tasks[f"copy {node}"] = lambda pod=pod: copy(space, pod, question["word"])
        tasks[f"port_forward {node}"] = lambda pod=pod: port_forward(space, pod)
    answers.update(together(tasks))
    return answers
