"""Proofs of what a user does with a cluster, made on a control plane in the probe's namespace."""

from __future__ import annotations

import re
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from kubesmith.verify.remote.common import ADMIN, DIRECT, Api, connects, kubectl, together, until
from kubesmith.verify.remote.paths import HTTP, eventually, network_of, process_of
from kubesmith.verify.remote.probe import describe

SECONDS = 45.0  # for what takes one or two where nothing is wrong
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 (a path)
DENY_ALL = {"podSelector": {"matchLabels": {"app": "app"}}, "policyTypes": ["Ingress"]}
ALLOW_PROBE = {**DENY_ALL, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "probe"}}}]}]}


class Namespace:
    """The probe's namespace, by the API and by kubectl."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.api = Api()
        self.core = f"/api/v1/namespaces/{name}"
        self.app = f"/apis/apps/v1/namespaces/{name}/deployments/app"
        self.policies = f"/apis/networking.k8s.io/v1/namespaces/{name}/networkpolicies"

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl in this namespace."""
        return kubectl("-n", self.name, *arguments)

    def app_pods(self) -> list[dict[str, Any]]:
        """Return the deployment's living pods, described."""
        pods = self.api.items(f"{self.core}/pods?labelSelector=app%3Dapp")
        return [describe(pod) for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def app_settled(self, without: str = "") -> list[dict[str, Any]]:
        """Return the deployment's pods once all are Ready, and ``without`` is not among them; else an empty list."""
        wanted = self.api.get(self.app)["spec"]["replicas"]

        def settled() -> list[dict[str, Any]]:
            pods = self.app_pods()
            right = len(pods) == wanted and all(pod["ready"] and pod["uid"] != without for pod in pods)
            return pods if right else []

        answer: list[dict[str, Any]] = until(settled, SECONDS)
        return answer


# --- through the kubelets: logs and exec on each node, files and ports on one


def logs(space: Namespace, pod: str) -> bool:
    """Tell whether the pod's log can be read."""
    return "Started HTTP server" in space.api.raw("GET", f"{space.core}/pods/{pod}/log")


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
    """Return on which nodes the deployment's pods run once all are Ready, and in which state they are."""
    pods = space.app_settled()
    return {"nodes": sorted(pod["node"] for pod in pods), "states": [pod["state"] for pod in space.app_pods()]}


def policy(space: Namespace, process: int, probes: dict[str, str]) -> dict[str, str]:
    """Connect from this node's probe pod to the app: without a policy, with one that blocks, with one that allows.

    ``process`` is one of the probe pod's, ``probes`` the addresses of all probe pods by node.
    """
    target = space.app_settled()[0]

    def reach() -> str:
        with network_of(process):
            found = connects(target["ip"], HTTP, 1)
            # No policy is about the other pod on that node: if it does not answer either, the way there is broken.
            other = connects(probes[target["node"]], HTTP, 1)
        return found if found == "open" else "blocked" if other == "open" else f"unreachable: {other}"

    answer = {"before": eventually(reach, {"open"}, SECONDS)}
    _apply_policy(space, "deny", DENY_ALL)
    answer["denied"] = eventually(reach, {"blocked"}, SECONDS)
    _apply_policy(space, "allow", ALLOW_PROBE)
    answer["allowed"] = eventually(reach, {"open"}, SECONDS)
    for name in ("deny", "allow"):
        space.api.delete(f"{space.policies}/{name}")
    return answer


def _apply_policy(space: Namespace, name: str, spec: dict[str, Any]) -> None:
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec}
    space.api.create(space.policies, policy)


def replacement(space: Namespace) -> dict[str, Any]:
    """Kill one pod of the deployment; return which one, and the Ready pods once it is replaced."""
    killed = space.app_settled()[0]
    space.api.delete(f"{space.core}/pods/{killed['name']}")
    after = space.app_settled(without=killed["uid"])
    return {"killed": killed["name"], "after": [pod["name"] for pod in after]}


def rollout(space: Namespace) -> dict[str, Any]:
    """Roll out an image for nodes that do not exist, and undo it; return the image before, in between and after."""
    before = _image(space)
    template = {
        "containers": [{"name": "server", "image": f"{before}-absent"}],
        "nodeSelector": {"kubesmith.io/no": ""},
    }
    space.api.patch(space.app, {"spec": {"template": {"spec": template}}})
    between = until(lambda: _status(space).get("unavailableReplicas") and _image(space), SECONDS)
    serving = _status(space).get("readyReplicas", 0)
    space.kubectl("rollout", "undo", "deployment/app")
    space.app_settled()
    return {"before": before, "between": between, "serving_in_between": serving, "after": _image(space)}


def _status(space: Namespace) -> dict[str, Any]:
    status: dict[str, Any] = space.api.get(space.app)["status"]
    return status


def _image(space: Namespace) -> str:
    return str(space.api.get(space.app)["spec"]["template"]["spec"]["containers"][0]["image"])


def job(space: Namespace) -> str:
    """Wait for the job to end; return ``Complete``, or how far it came."""

    def ended() -> str:
        status = space.api.get(f"/apis/batch/v1/namespaces/{space.name}/jobs/job")["status"]
        kinds = [c["type"] for c in status.get("conditions", []) if c["status"] == "True"]
        return next((kind for kind in kinds if kind in ("Complete", "Failed")), "")

    return str(until(ended, SECONDS)) or "still running"


def main(question: dict[str, Any]) -> dict[str, Any]:
    """Answer with every proof; those that change the deployment come one after the other."""
    space = Namespace(question["namespace"])
    answers: dict[str, Any] = {}

    def in_turn() -> None:
        answers.update(together({"spread": lambda: spread(space)}))
        steps = {
            "policy": lambda: policy(space, process_of(question["probe_uid"]), question["probes"]),
            "replacement": lambda: replacement(space),
            "rollout": lambda: rollout(space),
        }
        for name, step in steps.items():
            ready = answers["spread"].get("nodes")
            answers.update(
                together({name: step}) if ready else {name: {"error": "the deployment's pods are not Ready"}}
            )

    tasks: dict[str, Callable[[], Any]] = {"in turn": in_turn, "job": lambda: job(space)}
    last = question["pods"][question["last"]]
    tasks["copy"] = lambda: copy(space, last, question["word"])
    tasks["port_forward"] = lambda: port_forward(space, last)
    for node, pod in question["pods"].items():
        tasks[f"logs {node}"] = partial(logs, space, pod)
        tasks[f"files {node}"] = partial(files, space, pod)
    answers.update(together(tasks))
    return answers
