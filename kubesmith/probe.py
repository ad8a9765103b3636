"""A probe meter: what a workload's users, and the API's, miss while something is done to a cluster.

Use::

    with probe.measure(job) as meter:  # makes a workload of two replicas behind a PodDisruptionBudget, waits for it
        ...  # upgrade, drain, power off
        part = meter.part("cp1 is off")  # a Report of the time since the last part; any number of them
    report = meter.report  # a Report of the whole time; report.lines() are for people, report.as_json() for programs

Ten times a second a new connection is made to the workload's service, from the host network of one or two nodes, and
five times a second one to the API server, at the address in the administrator's kubeconfig, from this machine.
A request that is not answered with 200 within two seconds (workload) or one (API) has failed. An Outage is a time in
which every request failed: from the first of them to the next that succeeded. Nothing of it is left behind afterwards.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import Api, ApiError

from kubesmith import kube
from kubesmith.errors import KubesmithError
from kubesmith.job import Job, ssh_argv

LABEL = "kubesmith.io/probe"
NAME = "probe"
PORT = 8080
REPLICAS = 2
API_EVERY, API_SECONDS = 0.2, 1.0
READY_SECONDS = 120
VANTAGES = 2  # nodes from which the workload is asked
AGNHOST = "/agnhost:"

#: Runs on a node: argv are address, port, seconds between requests and seconds that one may take. A row for each
#: request: [when it began on this node's own clock, "" or what went wrong]. It ends when its input does.
REQUESTS = r"""
import http.client, json, sys, threading, time
address, port, every, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
lock = threading.Lock()
def once(began):
    error = ""
    connection = http.client.HTTPConnection(address, port, timeout=seconds)
    try:
        connection.request("GET", "/hostname", headers={"Connection": "close"})
        status = connection.getresponse().status
        error = "" if status == 200 else "HTTP %d" % status
    except Exception as problem:
        error = str(problem) or type(problem).__name__
    finally:
        connection.close()
    with lock:
        print(json.dumps([began, error]), flush=True)
def run():
    due = time.monotonic()
    while True:
        threading.Thread(target=once, args=(time.monotonic(),), daemon=True).start()
        due = max(due + every, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
print(json.dumps([time.monotonic(), "start"]), flush=True)
threading.Thread(target=run, daemon=True).start()
sys.stdin.read()
"""


@dataclass(frozen=True)
class Outage:
    """A time in which every request failed: when it began, in seconds since the meter started, how long, and why."""

    began: float
    seconds: float
    reason: str


@dataclass(frozen=True)
class Report:
    """What was seen in a part of the time, ``seconds`` long. ``lost`` are nodes that did not ask to its end."""

    name: str
    seconds: float
    requests: int
    failed: int
    outages: tuple[Outage, ...]
    api_requests: int
    api_failed: int
    api_gaps: tuple[Outage, ...]
    lost: tuple[str, ...] = ()

    @property
    def api_gap(self) -> float:
        """Return the longest time without an answer of the API server, in seconds."""
        return max((gap.seconds for gap in self.api_gaps), default=0.0)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self) | {"api_gap": self.api_gap}

    def lines(self) -> list[str]:
        """Return it in words, a line for the workload and one for the API."""
        down = f", {sum(o.seconds for o in self.outages):.1f} s without an answer" if self.outages else ""
        gaps = " + ".join(f"{gap.seconds:.1f}" for gap in self.api_gaps) or "0"
        rows = [
            f"workload: {self.failed} of {self.requests} requests failed{down}",
            f"API: {gaps} s without an answer ({self.api_failed} of {self.api_requests} requests failed)",
        ]
        return rows + ([f"not asked to the end from: {', '.join(self.lost)}"] if self.lost else [])


@dataclass
class Samples:
    """Requests of one asker: when each began, in seconds since the meter started, and what went wrong."""

    rows: list[tuple[float, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, began: float, error: str) -> None:
        """Note one request."""
        with self.lock:
            self.rows.append((began, error))

    def between(self, first: float, last: float) -> list[tuple[float, str]]:
        """Return those that began in a time, in order."""
        with self.lock:
            return sorted(row for row in self.rows if first <= row[0] < last)


def outages(rows: Sequence[tuple[float, str]]) -> list[Outage]:
    """Return the outages in ``rows``, which are in order; one that had not ended lasts to the last request."""
    found = []
    began: tuple[float, str] | None = None
    for at, error in rows:
        if error and began is None:
            began = at, error
        elif not error and began is not None:
            found.append(Outage(round(began[0], 2), round(at - began[0], 2), began[1]))
            began = None
    if began is not None:
        found.append(Outage(round(began[0], 2), round(rows[-1][0] - began[0], 2), began[1]))
    return found


def report(name: str, first: float, last: float, workload: Mapping[str, Samples], api: Samples) -> Report:
    """Return what was seen between two times; ``workload`` has the samples of each node that asked."""
    parts = {node: samples.between(first, last) for node, samples in workload.items()}
    rows = [row for part in parts.values() for row in part]
    asked = api.between(first, last)
    return Report(
        name=name,
        seconds=round(last - first, 1),
        requests=len(rows),
        failed=sum(bool(error) for _at, error in rows),
        outages=tuple(sorted((o for part in parts.values() for o in outages(part)), key=lambda o: o.began)),
        api_requests=len(asked),
        api_failed=sum(bool(error) for _at, error in asked),
        api_gaps=tuple(outages(asked)),
        lost=tuple(node for node, part in parts.items() if not part or part[-1][0] < last - 5),
    )


class Meter:
    """Asks until it is stopped. ``vantages`` are ssh command lines by node, ``address`` is the service's."""

    def __init__(self, kubeconfig: Path, vantages: Mapping[str, Sequence[str]], address: str) -> None:
        self._began = time.monotonic()
        self._api = Samples()
        self._workload = {node: Samples() for node in vantages}
        self._stop = threading.Event()
        self._last = 0.0
        self.report: Report | None = None
        words = shlex.join(["python3", "-uc", REQUESTS, address, "80", "0.1", "2"])
        self._processes = [_started([*argv, words]) for argv in vantages.values()]
        self._threads = [threading.Thread(target=self._ask_api, args=(kubeconfig,), daemon=True)]
        self._threads += [
            threading.Thread(target=self._read, args=(process, samples), daemon=True)
            for process, samples in zip(self._processes, self._workload.values(), strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _read(self, process: subprocess.Popen[str], samples: Samples) -> None:
        """Take a node's rows; its clock is only compared with itself."""
        assert process.stdout
        offset: float | None = None
        for line in process.stdout:
            with contextlib.suppress(ValueError):
                at, error = json.loads(line)
                if offset is None:
                    offset = self._now() - at
                else:
                    samples.add(at + offset, error)

    def _ask_api(self, kubeconfig: Path) -> None:
        api: Api | None = None
        due = time.monotonic()
        while not self._stop.is_set():
            began, error = self._now(), ""
            try:
                api = api or Api(str(kubeconfig), timeout=API_SECONDS)
                api.get("/readyz")
            except ApiError as problem:
                error = str(problem)
            if api:
                api.close()
            self._api.add(began, error)
            due = max(due + API_EVERY, time.monotonic())
            self._stop.wait(due - time.monotonic())

    def part(self, name: str) -> Report:
        """Return what was seen since the last part, or since the beginning."""
        first, self._last = self._last, self._now()
        return report(name, first, self._last, self._workload, self._api)

    def asking(self, seconds: float = 20) -> bool:
        """Wait until every node has asked once, or ``seconds`` are over; tell whether they have."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            if all(samples.rows for samples in self._workload.values()) and self._api.rows:
                return True
            time.sleep(0.1)
        return False

    def stop(self) -> None:
        """End the asking; ``report`` is there afterwards."""
        self._stop.set()
        for process in self._processes:
            assert process.stdin
            with contextlib.suppress(OSError):
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        for thread in self._threads:
            thread.join(5)
        self.report = report("all", 0.0, self._now(), self._workload, self._api)


def _started(command: Sequence[str]) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    # A session of its own: ^C is the measured command's, and the report is wanted afterwards.
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )


def objects(namespace: str, image: str, *, budget: bool = True) -> list[dict[str, Any]]:
    """Return the workload: what a user would have who minds being interrupted, with a disruption budget or without."""
    labels = {"app": NAME}
    selector = {"matchLabels": labels}
    server = {
        "name": "server",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["netexec", f"--http-port={PORT}"],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 1},
        # A pod is told to end and taken out of its service at the same time: it serves until all nodes have noticed.
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": selector,
    }
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "topologySpreadConstraints": [spread],
        "containers": [server],
    }
    strategy = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    deployment = {"replicas": REPLICAS, "selector": selector, "strategy": strategy}
    template = {"metadata": {"labels": labels}, "spec": pod}
    least = {"minAvailable": 1, "selector": selector}
    enforce = {LABEL: "true", "pod-security.kubernetes.io/enforce": "restricted"}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": enforce}},
        _inside("apps/v1", "Deployment", namespace, deployment | {"template": template}),
        *([_inside("policy/v1", "PodDisruptionBudget", namespace, least)] if budget else []),
        _inside("v1", "Service", namespace, {"selector": labels, "ports": [{"port": 80, "targetPort": PORT}]}),
    ]


def _inside(version: str, kind: str, namespace: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": NAME, "namespace": namespace}, "spec": dict(spec)}


def _image(folder: Path) -> str:
    """Return the test server's image in the cluster's bundle; KubesmithError if there is none."""
    try:
        components = json.loads((folder / "bundle.json").read_text())["components"]
        return next(str(i["ref"]) for c in components for i in c.get("images", ()) if AGNHOST in i["ref"])
    except (OSError, ValueError, LookupError, StopIteration) as error:
        raise KubesmithError(
            f"the bundle at {folder} has no image agnhost, of which the probe is made",
            fix="python3 runner.py bundle build",
        ) from error


def _kubectl(kubeconfig: Path, *arguments: str, text: str = "", seconds: int = 60) -> str:
    command = [kube.binary(), *arguments, f"--request-timeout={seconds}s"]
    done = subprocess.run(
        command, env=kube.environment(kubeconfig), input=text, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise KubesmithError(f"the probe: kubectl {arguments[0]}: {kube.last_line(done.stderr)}", fix="see: status")
    return done.stdout


def _remove(kubeconfig: Path) -> None:
    """Remove every probe: one run at a time works on a cluster, so that another one's is left over."""
    _kubectl(kubeconfig, "delete", "namespace", f"--selector={LABEL}", "--ignore-not-found", "--wait=false")


def vantages(job: Job, nodes: Sequence[str] = ()) -> dict[str, list[str]]:
    """Return the ssh command lines of the nodes to ask from: ``nodes``, or the first workers that exist."""
    hosts = job.hosts()
    workers = [node.name for node in job.spec.machines() if node.role == "worker"]
    chosen = list(nodes) or (workers or list(hosts))[:VANTAGES]
    options = ["-o", "BatchMode=yes", "-o", "ControlPath=none", "-o", "ServerAliveInterval=5"]
    found = {}
    for name in chosen:
        first, *rest = ssh_argv(hosts[name])
        found[name] = [first, *options, *rest]  # the first of two equal options counts
    return found


@contextlib.contextmanager
def measure(
    job: Job, *, nodes: Sequence[str] = (), ready_seconds: int = READY_SECONDS, budget: bool = True, image: str = ""
) -> Iterator[Meter]:
    """Measure while the body runs. ``nodes`` are those to ask from, by default one or two workers. Without ``budget``
    nothing keeps both replicas from being evicted, as has to be where there is one node for them. ``image`` is the test
    server's, by default the one in the cluster's bundle.

    Raises KubesmithError if the workload does not become ready within ``ready_seconds``, before the body runs. What
    the body raises goes through; the probe is removed in any case, and by the next one if the API is gone by then.
    """
    kubeconfig = job.kubeconfig
    namespace = f"kubesmith-probe-{secrets.token_hex(3)}"
    _remove(kubeconfig)
    text = json.dumps(
        {"apiVersion": "v1", "kind": "List", "items": objects(namespace, image or _image(job.bundle), budget=budget)}
    )
    meter: Meter | None = None
    try:
        _kubectl(kubeconfig, "apply", "--server-side", "-f", "-", text=text)
        place = ("--namespace", namespace)
        _kubectl(
            kubeconfig, "rollout", "status", *place, f"deployment/{NAME}", f"--timeout={ready_seconds}s", seconds=0
        )
        address = _kubectl(kubeconfig, "get", "service", *place, NAME, "-o", "jsonpath={.spec.clusterIP}").strip()
        meter = Meter(kubeconfig, vantages(job, nodes), address)
        if not meter.asking():
            raise KubesmithError(
                f"the probe asks nothing from {', '.join(vantages(job, nodes))}",
                fix="check that SSH gets in, and that python3 is there",
            )
        yield meter
    finally:
        if meter:
            meter.stop()
        with contextlib.suppress(KubesmithError):
            _remove(kubeconfig)
