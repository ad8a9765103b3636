"""From evidence to the eight steps of a pod: pure, so that a recording can be looked at again.

The evidence is what ``remote/flow.py`` and ``remote/runtime.py`` brought: kubectl's own log, the audit log,
etcd's watch, the API's watch, containerd's records and journals. Times are milliseconds since kubectl started.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from kubesmith.tour.record import Step

EIGHT = ("kubectl", "api", "etcd", "controllers", "scheduler", "kubelet", "cri", "pod")
PARTS = ("cni", "slice", "proxy", "dns")
Row = Mapping[str, Any]


class Gap(ValueError):
    """A step has no evidence; the text is the key of the step and what was looked for."""


def nanoseconds(text: str) -> int:
    """Return an RFC 3339 time, of any precision and zone, in nanoseconds since the epoch."""
    found = re.fullmatch(r"(.+?)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text)
    if not found:
        raise Gap(f"{text!r} is no time")
    zone = "+00:00" if found[3] == "Z" else found[3]
    whole = datetime.fromisoformat(found[1] + zone).astimezone(UTC)
    return int(whole.timestamp()) * 10**9 + int((found[2] or "0").ljust(9, "0")[:9])


@dataclass(frozen=True)
class Call:
    """One request in the audit log: who, what, when received and when answered (nanoseconds)."""

    user: str
    verb: str
    what: str
    name: str
    begin: int
    end: int
    row: Row


def calls(events: Iterable[Row]) -> list[Call]:
    """Return the audit log's requests that were answered with success, by the time when they were received."""
    found: dict[str, Call] = {}
    for row in events:
        about = row.get("objectRef", {})
        what = "/".join(filter(None, (about.get("resource"), about.get("subresource"))))
        if row.get("stage") != "ResponseComplete" or row.get("responseStatus", {}).get("code", 0) >= 400:
            continue
        begin, end = nanoseconds(row["requestReceivedTimestamp"]), nanoseconds(row["stageTimestamp"])
        user = row["user"]["username"]
        found[row["auditID"]] = Call(user, row["verb"], what, about.get("name", ""), begin, end, row)
    return sorted(found.values(), key=lambda call: call.begin)


def first(made: Sequence[Call], verbs: str, what: str, user: str = "") -> Call:
    """Return the first request of one of ``verbs`` on ``what`` whose user's name ends with ``user``; Gap if none is."""
    for call in made:
        if call.verb in verbs.split("|") and call.what == what and (not user or re.search(user, call.user)):
            return call
    raise Gap(f"the audit log has no {verbs} of {what} by {user or 'anybody'}")


@dataclass(frozen=True)
class Evidence:
    """What was brought of one pod's way. ``slack`` is by how much the worker's clock may differ, in nanoseconds."""

    told: Row
    audit: Sequence[Row]
    runtime: Row
    pod: Row
    worker: str
    control_plane: str
    slack: int = 0
    ahead: int = 0  # by which the worker's clock goes before the control plane's

    def worker_time(self, at: int) -> int:
        """Return a time of the worker's clock as the control plane's clock would have it."""
        return at - self.ahead


def steps(seen: Evidence) -> list[Step]:
    """Return the eight steps and the parts beside them, in their order; Gap where evidence is missing."""
    return Reading(seen).steps()


class Reading:
    """The evidence, read once."""

    def __init__(self, seen: Evidence) -> None:
        self.seen = seen
        self.calls = calls(seen.audit)
        self.zero = int(seen.told["kubectl"]["begin"])
        self.name = str(seen.pod["metadata"]["name"])
        self.watch: Sequence[Row] = seen.told["watch"]
        self.etcd: Sequence[Row] = seen.told["etcd"]

    def steps(self) -> list[Step]:
        """Return all of them."""
        return [
            *(self._kubectl(), self._api(), self._etcd(), self._controllers(), self._scheduler()),
            *(self._kubelet(), self._cri(), self._pod(), self._cni(), self._slice(), self._proxy(), self._dns()),
        ]

    def _step(self, key: str, begin: int, end: int, **more: Any) -> Step:
        node = more.pop("node", self.seen.control_plane)
        first, last = (round((at - self.zero) / 1e6, 3) for at in (begin, max(begin, end)))
        return Step(key, first, last, node=node, part=key in PARTS, **more)

    def key(self, resource: str, name: str = "") -> Row:
        """Return the first write of etcd under a resource's keys."""
        for row in self.etcd:
            if row["key"].startswith(f"/registry/{resource}/") and row["key"].endswith(name) and not row["deleted"]:
                return row
        raise Gap(f"etcd's watch has no key of {resource}")

    def revision(self, kind: str, holds: Any) -> Row:
        """Return the first revision of an object of which ``holds`` is true."""
        for row in self.watch:
            if row["kind"] == kind and row["type"] != "DELETED" and holds(row["object"]):
                return row
        raise Gap(f"the API's watch has no such {kind}")

    def _kubectl(self) -> Step:
        told = self.seen.told["kubectl"]
        sent = next((row["at"] for row in told["log"] if "POST" in row["text"]), None)
        if sent is None:
            raise Gap("kubectl's log has no POST")
        return self._step("kubectl", self.zero, sent, source="kubectl", values={"command": told["command"]})

    def _api(self) -> Step:
        call = first(self.calls, "create", "deployments")
        values = {"user": call.user, "code": call.row["responseStatus"]["code"]}
        return self._step("api", call.begin, call.end, source="audit", values=values)

    def _etcd(self) -> Step:
        row = self.key("deployments")
        # The API server answers only after etcd has: what our watch hears later was there by then.
        at = min(int(row["at"]), first(self.calls, "create", "deployments").end)
        values = {"key": row["key"], "bytes": row["bytes"]}
        return self._step("etcd", at, at, source="etcd", revision=row["revision"], values=values)

    def _controllers(self) -> Step:
        made = first(self.calls, "create", "replicasets", "deployment-controller|kube-controller-manager")
        pod = first(self.calls, "create", "pods", "replicaset-controller|kube-controller-manager")
        values = {"replicaset": self.key("replicasets")["key"].rsplit("/", 1)[1], "pod": self.name}
        row = self.key("replicasets")
        return self._step("controllers", made.begin, pod.end, source="audit", revision=row["revision"], values=values)

    def _scheduler(self) -> Step:
        call = first(self.calls, "create", "pods/binding", "kube-scheduler")
        row = self.revision("Pod", lambda pod: pod["spec"].get("nodeName"))
        node = row["object"]["spec"]["nodeName"]
        return self._step(
            "scheduler", call.begin, call.end, source="audit", revision=row["revision"], values={"node": node}
        )

    def kubelet_signs(self) -> list[tuple[int, str]]:
        """Return when the kubelet did something for the pod, and where that is told: its own log, requests of its."""
        binding = first(self.calls, "create", "pods/binding")
        worker = self.seen.worker
        signs = [
            (self.seen.worker_time(row["at"] * 1000), "kubelet")
            for row in self._logged()
            if row["unit"].startswith("kubelet")
        ]
        signs += [
            (call.begin, "audit")
            for call in self.calls
            if call.user == f"system:node:{worker}" and call.begin > binding.begin
        ]
        return sorted(signs)

    def _kubelet(self) -> Step:
        signs = self.kubelet_signs()
        if not signs:
            raise Gap("neither the audit log nor the kubelet's own tells of the kubelet")
        (begin, source), cri = signs[0], self.sandbox_asked()
        return self._step("kubelet", begin, max(begin, cri), node=self.seen.worker, source=source)

    def _logged(self) -> Sequence[Row]:
        """Return the journals' lines; none where they cannot be read, which others than they tell of as well."""
        rows = self.seen.runtime["journal"]
        return rows if isinstance(rows, list) else []

    def _cri_rows(self, *said: str) -> list[tuple[int, str]]:
        """Return containerd's own lines with one of these words in them, with the time that they themselves give."""
        rows = []
        for row in self._logged():
            stamp = re.search(r'time="([^"]+)"', row["text"])
            if row["unit"].startswith("containerd") and stamp and any(word in row["text"] for word in said):
                rows.append((self.seen.worker_time(nanoseconds(stamp[1])), row["text"]))
        return sorted(rows)

    def sandbox_asked(self) -> int:
        """Return when the kubelet asked containerd for the sandbox; when it was made, where the log does not say."""
        asked = self._cri_rows("RunPodSandbox for")
        return asked[0][0] if asked else self._created("sandbox")

    def _created(self, kind: str) -> int:
        return self.seen.worker_time(nanoseconds(self._row_of(kind)["created"]))

    def _row_of(self, kind: str) -> Row:
        """Return containerd's record of the pod's sandbox or container."""
        for row in _rows(self.seen.runtime, "containers"):
            if row["kind"] == kind:
                return row
        raise Gap(f"containerd has no {kind} of the pod")

    def started(self) -> int:
        """Return when the pod's container was started, by the CRI's own record."""
        for row in _rows(self.seen.runtime, "containers"):
            if row["kind"] == "container" and (at := _deep(row["cri"], "StartedAt")):
                return self.seen.worker_time(int(at))
        told = [row for row in self._cri_rows("StartContainer for") if "returns successfully" in row[1]]
        if told:
            return told[0][0]
        raise Gap("the CRI has no start of the pod's container")

    def _cri(self) -> Step:
        begin = self.sandbox_asked()
        values = {kind: self._row_of(kind)["id"][:13] for kind in ("sandbox", "container")}
        return self._step("cri", begin, self.started(), node=self.seen.worker, source="containerd", values=values)

    def _pod(self) -> Step:
        row = self.revision("Pod", _is_ready)
        values = {"pod": self.name, "ip": row["object"]["status"].get("podIP", "")}
        ready = [
            call
            for call in self.calls
            if call.what == "pods/status" and call.user.startswith("system:node:") and call.begin <= row["at"]
        ]
        if not ready:
            raise Gap("the audit log has no pods/status by the kubelet")
        return self._step(
            *("pod", self.started(), min(row["at"], ready[-1].end)),
            node=self.seen.worker,
            source="audit",
            revision=row["revision"],
            values=values,
        )

    def _cni(self) -> Step:
        ip = self.seen.pod["status"].get("podIP", "")
        try:
            call = first(self.calls, "patch|update", "pods/status", "calico|cni")
        except Gap:  # another CNI, or one that writes nothing to the API: the address is first seen in the pod
            at = self.revision("Pod", lambda pod: ip and pod["status"].get("podIP") == ip)["at"]
            return self._step("cni", at, at, node=self.seen.worker, source="pod", values={"ip": ip})
        return self._step("cni", call.begin, call.end, node=self.seen.worker, source="audit", values={"ip": ip})

    def _slice(self) -> Step:
        row = self.revision("EndpointSlice", _serves)
        made = [call for call in self.calls if call.what == "endpointslices" and call.begin <= row["at"]]
        begin = made[-1].begin if made else row["at"]
        values = {"slice": row["object"]["metadata"]["name"]}
        return self._step("slice", begin, row["at"], source="audit", revision=row["revision"], values=values)

    def _proxy(self) -> Step:
        told = self.seen.told["http"]
        if not told["answer"]:
            raise Gap("the service never answered")
        values = {"url": told["url"], "answer": str(told["answer"]).strip()}
        return self._step("proxy", told["at"], told["at"], source="question", values=values)

    def _dns(self) -> Step:
        told = self.seen.told["dns"]
        if not told["answer"]:
            raise Gap("the DNS never knew the name")
        values = {"name": told["name"], "answer": ", ".join(told["answer"])}
        return self._step("dns", told["at"], told["at"], source="question", values=values)


def _rows(answers: Row, part: str) -> Sequence[Row]:
    """Return a part of what a node answered; Gap, with its reason, for one that could not be had."""
    rows = answers[part]
    if isinstance(rows, dict) and set(rows) == {"error"}:
        raise Gap(f"{part}: {rows['error']}")
    return rows  # type: ignore[no-any-return]


def _deep(data: Any, key: str) -> Any:
    """Return the first value of a key at any depth."""
    if isinstance(data, Mapping):
        if key in data:
            return data[key]
        return next(filter(None, (_deep(value, key) for value in data.values())), None)
    return None


def _is_ready(pod: Row) -> bool:
    return any(row["type"] == "Ready" and row["status"] == "True" for row in pod["status"].get("conditions", ()))


def _serves(item: Row) -> bool:
    return any(end.get("conditions", {}).get("ready") for end in item.get("endpoints") or ())


@dataclass(frozen=True)
class Order:
    """Whether a step came before the next one: by etcd's revisions where both have one, else by times (ms)."""

    before: str
    after: str
    ok: bool
    by: str
    values: tuple[float, float]


def order(made: Sequence[Step], slack_ms: float = 0.0) -> list[Order]:
    """Return, for each pair of steps that follow each other, whether they do by the evidence.

    ``slack_ms`` is by how much clocks of two nodes may differ: only there is a time that much earlier let pass.
    """
    by_key = {step.key: step for step in made}
    pairs = [*pairwise(EIGHT)]
    pairs += [("kubelet", "cni"), ("pod", "slice"), ("slice", "proxy"), ("slice", "dns")]
    if by_key["cni"].source == "audit":  # while the sandbox is made, and not when the kubelet tells of it
        pairs.append(("cni", "pod"))
    return [_pair(by_key[a], by_key[b], slack_ms) for a, b in pairs]


def _pair(a: Step, b: Step, slack_ms: float) -> Order:
    if a.revision and b.revision:
        return Order(a.key, b.key, a.revision < b.revision, "revision", (a.revision, b.revision))
    slack = slack_ms if a.node != b.node else 0.0
    first = a.end if a.key == "kubectl" else a.begin  # its first sign is its start, its work is the request
    return Order(a.key, b.key, first <= b.begin + slack, "time", (first, b.begin))
