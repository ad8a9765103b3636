"""What one round knows: facts of every node, the API's objects, and the proofs; gathered at once, waited for late."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from kubesmith import paths
from kubesmith.verify import background
from kubesmith.verify.nodes import Node, Unreachable

PODS_READY = 60.0  # seconds for the probe's pods to be Ready on nodes whose kubelet runs
LOOKUPS = 200  # in all; each node does its share
STALE = 600.0  # seconds after which a probe of another machine's killed run is a leftover


def server_image(bundle: Path) -> str:
    """Return the reference of the test server's image in the bundle at ``bundle``."""
    components = json.loads((bundle / "bundle.json").read_text())["components"]
    references = [str(image["ref"]) for component in components for image in component["images"]]
    return next(reference for reference in references if "/agnhost:" in reference)


class Missing(Exception):
    """Something that a check builds on is not there; the check is skipped with this reason."""


class Facts(Mapping[str, Any]):
    """What a node answered; asking for a fact that could not be gathered raises with the reason."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self._answers = answers

    def __getitem__(self, name: str) -> Any:
        value = self._answers[name]
        if isinstance(value, dict) and set(value) == {"error"}:
            raise AssertionError(f"{name}: {value['error']}")
        return value

    def __iter__(self) -> Any:
        return iter(self._answers)

    def __len__(self) -> int:
        return len(self._answers)


class Cluster:
    """All nodes of the inventory and what is known of them; started by ``begin``, waited for on use."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.namespace = f"kubesmith-verify-{secrets.token_hex(3)}"
        self.word = secrets.token_hex(8)
        self.host_port = 20000 + secrets.randbelow(10000)
        self._facts: dict[str, Future[dict[str, Any]]] = {}
        self._offsets: dict[str, tuple[float, float]] = {}
        self._probe: Future[dict[str, Any]] | None = None
        self._others: Future[dict[str, Any]] | None = None
        self._objects: Future[dict[str, Any]] | None = None
        self._paths: dict[str, Future[dict[str, Any]]] = {}
        self._workload: Future[dict[str, Any]] | None = None
        self._later: dict[str, Future[dict[str, Any]]] = {}

    # --- gathering

    def begin(self, proofs: Collection[str]) -> None:
        """Start gathering what the selected checks will ask for; ``proofs`` are of probe, paths and workload."""
        for node in self.nodes.values():
            node.prepare()
        if proofs and self.control_planes:
            self._others = background.start(self._create_probe)
        for node in self.nodes.values():
            self._facts[node.name] = background.start(self._gather, node)
        self._objects = background.start(self._gather_objects)
        if proofs and self.control_planes:
            self._probe = background.start(self._await_probe)
        if "workload" in proofs:
            self._workload = background.start(self._gather_workload)
        if "paths" in proofs:
            self._paths = {name: background.start(self._gather_paths, name) for name in self.nodes}
        if "later" in proofs:
            self._later = {name: background.start(self._gather_later, name) for name in self.nodes}

    def _gather(self, node: Node) -> dict[str, Any]:
        question = {
            "address": node.address,
            "control_plane": node.is_control_plane,
            "endpoint": self.endpoint,
        }
        sent = time.time()
        answer = node.ask("facts", question)
        first, last = answer["clock"]
        self._offsets[node.name] = (last - time.time(), first - sent)
        return answer

    def _gather_objects(self) -> dict[str, Any]:
        return self.api.ask("cluster", {"nodes": self.healthy})

    def _create_probe(self) -> dict[str, Any]:
        question = {
            "step": "start",
            "namespace": self.namespace,
            "holder": f"{socket.gethostname()}/{os.getpid()}",
            "word": self.word,
            "host_port": self.host_port,
            **self._images,
        }
        return self._ask_one_of(self.control_planes, "probe", question)

    @staticmethod
    def _ask_one_of(nodes: Sequence[Node], script: str, question: dict[str, Any]) -> dict[str, Any]:
        """Ask the first of ``nodes`` that answers; raises Unreachable with the last one's reason if none does."""
        for node in nodes[:-1]:
            with contextlib.suppress(Unreachable):
                return node.ask(script, question)
        return nodes[-1].ask(script, question)

    def _await_probe(self) -> dict[str, Any]:
        assert self._others is not None
        self._others.result()
        question = {
            "step": "wait",
            "namespace": self.namespace,
            "nodes": self.healthy,
            "workers": self.healthy_workers,
            "seconds": PODS_READY * self.api.patience,
            **self._images,
        }
        return self.api.ask("probe", question, seconds=PODS_READY + 30)

    @property
    def _images(self) -> dict[str, str]:
        """The test server's image: as the inventory names it, and as the bundle on this machine does, "" for neither.

        The second is for nodes that see no bundle: those of other hands, and machines that are sent what they lack.
        """
        variables = self.control_planes[0].variables
        bundle = paths.bundle(str(variables.get("kubesmith_kubernetes", "")))
        sent = server_image(bundle) if (bundle / "bundle.json").exists() else ""
        return {"image": str(variables.get("kubesmith_verify_image", "")), "sent": sent}

    def _gather_paths(self, name: str) -> dict[str, Any]:
        probe = self.probe
        pods = {node: pod for node, pod in probe["pods"].items() if pod["ready"]}
        if name not in pods:
            raise Missing(f"the probe pod of {name} is not Ready")
        services = probe["services"]
        question = {
            "node": name,
            "pods": pods,
            "nodes": {node: self.nodes[node].address for node in pods},
            "cluster_ip": services["probe"]["clusterIP"],
            "node_port": services["probe"]["ports"][0]["nodePort"],
            "local_ip": services["local"]["clusterIP"],
            "host_port": self.host_port,
            "api_ip": self.api_service_address,
            "ports": self._ports(name, pods),
            "lookups": max(1, LOOKUPS // len(pods)),
        }
        return self.nodes[name].ask("paths", question, seconds=120)

    def _ports(self, name: str, reachable: Iterable[str]) -> list[tuple[str, int]]:
        """Return the TCP ports that this node must reach on others: API and etcd of control planes, every kubelet."""
        me, ports = self.nodes[name], []
        for other in (self.nodes[node] for node in reachable):
            ports += [(other.name, 6443)] if other.is_control_plane else []
            ports += [(other.name, 10250)] if me.is_control_plane else []
            ports += [(other.name, 2379), (other.name, 2380)] if me.is_control_plane and other.is_control_plane else []
        return ports

    def _gather_workload(self) -> dict[str, Any]:
        pods = {node: pod for node, pod in self.probe["pods"].items() if pod["ready"]}
        if self.api.name not in pods:
            raise Missing(f"the probe pod of {self.api.name} is not Ready")
        question = {
            "namespace": self.namespace,
            "word": self.word,
            "pods": {node: pod["name"] for node, pod in pods.items()},
            "probes": {node: pod["ip"] for node, pod in pods.items()},
            "probe_uid": pods[self.api.name]["uid"],
            "last": list(pods)[-1],
        }
        return self.api.ask("workload", question, seconds=150)

    def _gather_later(self, name: str) -> dict[str, Any]:
        """Look at the node again once the proofs are done: what has been restarted in between?"""
        for future in [*self._paths.values(), *([self._workload] if self._workload else [])]:
            future.exception()
        return self.nodes[name].ask("later", {"pods": name == self.api.name})

    def end(self) -> None:
        """Remove the probe and what killed runs have left of theirs. Never raises: the verdict stands already."""
        if self._others is None:
            return
        try:
            others = self._others.result(timeout=60)["others"]
        except Exception:  # start failed or hangs: remove what it may have made
            others = []
        doomed = [self.namespace, *(other["name"] for other in others if is_leftover(other))]
        with contextlib.suppress(Unreachable, RuntimeError):
            self._ask_one_of(self.control_planes, "probe", {"step": "finish", "namespaces": doomed})

    # --- what the checks ask

    @property
    def control_planes(self) -> list[Node]:
        """The nodes that the inventory makes control planes."""
        return [node for node in self.nodes.values() if node.is_control_plane]

    @property
    def vip(self) -> str:
        """The address that the control planes share; "" where they share none that we keep."""
        return str(self.control_planes[0].variables.get("kubeadm_master_vip", "")) if self.control_planes else ""

    @property
    def endpoint(self) -> str:
        """Where nodes reach the API server if that is not the only control plane itself: host and port, or nothing."""
        variables = self.control_planes[0].variables if self.control_planes else {}
        shared = f"{self.vip}:{variables.get('kubeadm_master_vip_port', 8443)}" if self.vip else ""
        return str(variables.get("kubeadm_master_endpoint", shared))

    def silence(self, name: str) -> str:
        """Return why the node tells nothing of itself: SSH fails, or our script does; nothing if it does tell."""
        error = self._facts[name].exception()
        if error is None:
            return ""
        how = f"reached by SSH at {self.nodes[name].ssh_host}" if isinstance(error, Unreachable) else "asked"
        return f"node {name} cannot be {how}: {error}"

    def facts(self, name: str) -> Facts:
        """Return the node's facts; raise Missing if it does not answer."""
        if reason := self.silence(name):
            raise Missing(reason)
        return Facts(self._facts[name].result())

    @cached_property
    def reachable(self) -> list[Node]:
        """The nodes that answer; raises Missing if there is none."""
        found = [node for node in self.nodes.values() if not self.silence(node.name)]
        if not found:
            raise Missing("no node can be reached")
        return found

    @cached_property
    def api(self) -> Node:
        """The first control plane that answers; raises Missing if there is none."""
        for node in self.control_planes:
            if not self.silence(node.name):
                return node
        raise Missing("no control plane can be reached")

    @cached_property
    def healthy(self) -> list[str]:
        """The names of the nodes that answer and whose kubelet is healthy: those that proofs are asked of."""
        return [name for name in self.nodes if not self.silence(name) and self._kubelet_runs(name)]

    @property
    def healthy_workers(self) -> list[str]:
        """The workers among the healthy nodes."""
        return [name for name in self.healthy if self.nodes[name].is_worker]

    def require_kubelet(self, name: str) -> None:
        """Raise Missing unless the node's kubelet is healthy: the checks of the node itself fail for it."""
        self.facts(name)
        if name not in self.healthy:
            raise Missing(f"the kubelet of {name} is not healthy")

    @property
    def certificates(self) -> dict[str, dict[str, str]]:
        """The certificates of each node that has answered by now: {node: {file: PEM}}."""
        done = {name: future for name, future in self._facts.items() if future.done() and not future.exception()}
        found = {name: future.result().get("certificates", {}) for name, future in done.items()}
        return {name: rows for name, rows in found.items() if set(rows) != {"error"}}

    def configz(self, name: str) -> dict[str, Any]:
        """Return the configuration that the node's kubelet runs with."""
        self.require_kubelet(name)
        running: dict[str, Any] = self.objects[f"configz {name}"]
        return running

    def _kubelet_runs(self, name: str) -> bool:
        try:
            return bool(self.facts(name)["kubelet_healthz"] == "ok")
        except AssertionError:
            return False

    @property
    def objects(self) -> Facts:
        """What the API server knows (remote/cluster.py)."""
        assert self._objects is not None
        if reason := self.api_error:
            raise Missing(f"the API server did not answer ({reason})")
        return Facts(self._objects.result())

    @property
    def api_error(self) -> str:
        """Why the API server could not be asked, or nothing; raises Missing if no control plane answers."""
        assert self.api
        assert self._objects is not None
        failed = self._objects.exception()
        return str(failed) if failed else str(self._objects.result()["objects"].get("error", ""))

    @property
    def api_service_address(self) -> str:
        """The ClusterIP of the service ``kubernetes``."""
        return str(self.service("default", "kubernetes")["spec"]["clusterIP"])

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return the objects of a kind, those of probes apart: they come and go with each round."""
        every: list[dict[str, Any]] = self.objects["objects"].get(kind, [])
        return [item for item in every if not item["metadata"].get("namespace", "").startswith("kubesmith-verify-")]

    def service(self, namespace: str, name: str) -> dict[str, Any]:
        """Return one service."""
        return self._one("Service", namespace, name)

    def daemon_set(self, name: str, namespace: str = "kube-system") -> dict[str, Any]:
        """Return one daemon set."""
        return self._one("DaemonSet", namespace, name)

    def _one(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        wanted = (namespace, name)
        found = [o for o in self.of_kind(kind) if (o["metadata"]["namespace"], o["metadata"]["name"]) == wanted]
        assert found, f"there is no {kind} {namespace}/{name}"
        return found[0]

    def api_node(self, name: str) -> dict[str, Any]:
        """Return the Node object."""
        found = [item for item in self.of_kind("Node") if item["metadata"]["name"] == name]
        assert found, f"the cluster has no node {name}"
        return found[0]

    @property
    def probe(self) -> dict[str, Any]:
        """The probe's pods by node, and its services."""
        if self._probe is None:
            raise Missing("no proof was asked for")
        assert self.api
        if error := self._probe.exception():
            raise Missing(f"the probe could not be deployed ({error})")
        return self._probe.result()

    @property
    def probe_error(self) -> str:
        """Why the probe could not be deployed, or nothing; raises Missing if no control plane answers."""
        assert self.api
        return str(self._probe.exception() or "") if self._probe else ""

    def paths(self, name: str) -> dict[str, Facts]:
        """Return the network proofs that the node made, by group."""
        self.require_kubelet(name)
        return {group: Facts(answers) for group, answers in self._paths[name].result().items()}

    def workload(self) -> Facts:
        """Return the proofs made with kubectl."""
        if self._workload is None:
            raise Missing("no proof was asked for")
        assert self.probe
        return Facts(self._workload.result())

    def later(self, name: str) -> Facts:
        """Return what the node answered after the proofs; raises Missing if it does not answer at all."""
        self.facts(name)
        return Facts(self._later[name].result())

    @property
    def clock_offsets(self) -> dict[str, tuple[float, float]]:
        """By how many seconds each answering node's clock is ahead of ours: at least, at most (the way takes time)."""
        return {node.name: self._offsets[node.name] for node in self.reachable}


def is_leftover(other: dict[str, str]) -> bool:
    """Tell whether a probe's namespace belongs to a run that is no more."""
    machine, _, process = other["holder"].partition("/")
    if machine == socket.gethostname() and process.isdigit() and not _alive(int(process)):
        return True
    created = datetime.fromisoformat(other["created"].replace("Z", "+00:00"))
    return (datetime.now(UTC) - created).total_seconds() > STALE


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
