"""On a control plane: a Deployment is made with kubectl while the API's and etcd's watch and the service are followed.

``main`` with the step ``record`` answers with everything that was seen, times in nanoseconds since the epoch by this
node's clock; with the step ``audit`` with the lines of this node's audit log that name a namespace.
"""

from __future__ import annotations

import base64
import calendar
import hashlib
import http.client
import json
import os
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kubesmith.verify.remote.common import ADMIN, Api, until

AUDIT = Path("/var/log/kubernetes/audit/audit.log")
PKI = "/etc/kubernetes/pki/etcd"
ETCDCTL = (
    *("etcdctl", "--endpoints=https://127.0.0.1:2379", f"--cacert={PKI}/ca.crt"),
    *(f"--cert={PKI}/healthcheck-client.crt", f"--key={PKI}/healthcheck-client.key"),
)
WATCHED = {
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "Pod": "/api/v1/namespaces/{}/pods",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
    "Event": "/apis/events.k8s.io/v1/namespaces/{}/events",
}
POLL = 0.02  # seconds between two questions to DNS and to the service
REPORTED = 8192  # characters of kubectl's own log
SHOWN = 600  # bytes of a value of etcd


class Follower:
    """Reads lines in a thread, each with the time when it came."""

    def __init__(self, read_line: Callable[[], Any]) -> None:
        self.lines: list[tuple[int, str]] = []
        self.read_line = read_line
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                line = self.read_line()
            except (OSError, ValueError, AttributeError):  # closed, at the end
                return
            if not line:
                return
            self.lines.append((time.time_ns(), line if isinstance(line, str) else line.decode(errors="replace")))


def revision() -> int:
    """Return etcd's revision now."""
    said = subprocess.run([*ETCDCTL, "endpoint", "status", "-w", "json"], capture_output=True, text=True, check=True)
    return int(json.loads(said.stdout)[0]["Status"]["header"]["revision"])


def follow_etcd(start: int) -> tuple[Follower, Any]:
    """Watch every key of the cluster from the revision ``start`` on."""
    command = [*ETCDCTL, "watch", "/registry/", "--prefix", f"--rev={start}", "-w", "json"]
    watch = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert watch.stdout
    return Follower(watch.stdout.readline), watch


def follow_api(path: str) -> Follower:
    """Watch the objects at an API path; the stream ends with this process."""
    api = Api()
    version = api.get(path)["metadata"]["resourceVersion"]
    connection = api.local.connection
    connection.request("GET", f"{path}?watch=1&resourceVersion={version}", headers={"Accept": "application/json"})
    connection.sock.settimeout(None)  # a watch may be silent for long
    return Follower(connection.getresponse().readline)


def etcd_rows(lines: list[tuple[int, str]], namespace: str) -> list[dict[str, Any]]:
    """Return what etcd wrote under keys of the namespace: key, revision, version, size, the value's readable part."""
    rows = []
    for at, line in lines:
        for event in json.loads(line).get("Events") or ():
            pair = event["kv"]
            key = base64.b64decode(pair["key"]).decode(errors="replace")
            if f"/{namespace}/" not in key or "/secrets/" in key:
                continue
            value = base64.b64decode(pair.get("value", ""))
            rows.append(
                {
                    "at": at,
                    "key": key,
                    "revision": pair["mod_revision"],
                    "created": pair["create_revision"],
                    "version": pair.get("version", 0),
                    "deleted": event.get("type") in (1, "DELETE"),
                    "bytes": len(value),
                    "sha256": hashlib.sha256(value).hexdigest(),
                    "text": re.sub(rb"[^\x20-\x7e]+", b" ", value[:SHOWN]).decode(),
                }
            )
    return rows


def watch_rows(lines: list[tuple[int, str]], kind: str) -> list[dict[str, Any]]:
    """Return what the API's watch told: the object at each of its revisions."""
    rows = []
    for at, line in lines:
        event = json.loads(line)
        if event["type"] in ("ADDED", "MODIFIED", "DELETED"):
            event["object"]["metadata"].pop("managedFields", None)
            version = int(event["object"]["metadata"]["resourceVersion"])
            rows.append({"at": at, "kind": kind, "type": event["type"], "revision": version, "object": event["object"]})
    return rows


def kubectl_create(manifest: dict[str, Any]) -> dict[str, Any]:
    """Create an object with kubectl and return what kubectl says of it, with its own log of requests."""
    command = ["kubectl", "--kubeconfig", ADMIN, "create", "-f", "-", "-v=9"]
    begin = time.time_ns()
    done = subprocess.run(
        command,
        input=json.dumps(manifest),
        env={**os.environ, "TZ": "UTC"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"kubectl create: {done.stderr.strip().splitlines()[-1]}")
    said = {"command": " ".join(command[:1] + command[3:]), "begin": begin, "end": time.time_ns()}
    return {**said, "output": done.stdout.strip(), "log": klog(done.stderr, begin)}


def klog(text: str, begin: int) -> list[dict[str, Any]]:
    """Return the entries of a klog log from the POST on: time in nanoseconds, and text (which may have many lines)."""
    year = time.gmtime(begin // 10**9).tm_year
    entries: list[dict[str, Any]] = []
    for line in text.splitlines():
        found = re.match(r"[IWE](\d\d)(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{6}) +\d+ [^ ]+\] ?(.*)", line)
        if found:
            month, day, hour, minute, second = (int(found[index]) for index in range(1, 6))
            whole = calendar.timegm((year, month, day, hour, minute, second, 0, 0, 0))
            entries.append({"at": whole * 10**9 + int(found[6]) * 1000, "text": found[7]})
        elif entries:
            entries[-1]["text"] += f"\n{line}"
    first = next((i for i, entry in enumerate(entries) if "POST" in entry["text"]), len(entries))
    kept = entries[max(0, first - 1) :]
    for entry in kept:
        entry["text"] = entry["text"][:REPORTED]
    return kept


def fetch(url: str, timeout: float) -> tuple[int, str]:
    """Return status and body of a GET over plain HTTP; 0 and the reason if none came.

    It is asked many times a second: nothing is prepared for TLS, which would take longer than all the rest.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port or 80, timeout=timeout)
    try:
        connection.request("GET", parts.path or "/")
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error) or type(error).__name__
    finally:
        connection.close()


def lookup(server: str, name: str, timeout: float = 1.0) -> list[str]:
    """Ask a DNS server for the IPv4 addresses of a name; none for a name that it does not know."""
    query = struct.pack(">HHHHHH", os.getpid() & 0xFFFF, 0x0100, 1, 0, 0, 0)
    query += b"".join(bytes([len(part)]) + part.encode() for part in name.rstrip(".").split(".")) + b"\0\0\1\0\1"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(timeout)
        try:
            asker.sendto(query, (server, 53))
            answer = asker.recv(4096)
        except OSError:
            return []
    count, at, found = struct.unpack(">H", answer[6:8])[0], len(query), []
    for _ in range(count):
        while answer[at] and answer[at] < 192:
            at += answer[at] + 1
        at += 1 if not answer[at] else 2
        kind, _class, _ttl, size = struct.unpack(">HHIH", answer[at : at + 10])
        if kind == 1:
            found.append(socket.inet_ntoa(answer[at + 10 : at + 14]))
        at += 10 + size
    return found


def record(question: dict[str, Any]) -> dict[str, Any]:
    """Follow everything, create the Deployment, and go on until its pod serves under the service's name."""
    namespace, service = question["namespace"], question["service"]
    api = Api()
    dns = api.get("/api/v1/namespaces/kube-system/services/kube-dns")["spec"]["clusterIP"]
    streams = {kind: follow_api(path.format(namespace)) for kind, path in WATCHED.items()}
    etcd, watch = follow_etcd(revision() + 1)
    name = f"{service['headless']}.{namespace}.svc.{question['domain']}"
    answers: dict[str, Any] = {"dns": None, "http": None}

    def ask(kind: str, question: Callable[[], Any]) -> None:
        answer = until(question, question_seconds, POLL)
        answers[kind] = {"at": time.time_ns(), "answer": answer} if answer else None

    question_seconds = float(question["seconds"])
    url = f"http://{service['address']}/hostname"

    def page() -> str:
        status, body = fetch(url, 1)
        return body if status == 200 else ""

    askers = [
        threading.Thread(target=ask, args=("dns", lambda: lookup(dns, name)), daemon=True),
        threading.Thread(target=ask, args=("http", page), daemon=True),
    ]
    for asker in askers:
        asker.start()
    begun = time.time()
    told = kubectl_create(question["manifest"])
    for asker in askers:
        asker.join(question_seconds)
    until(lambda: available(streams["Deployment"]), 20, 0.1)
    time.sleep(0.5)  # what etcd told the API server it tells its own watch as well, a moment apart
    watch.terminate()
    rows = [row for kind, stream in streams.items() for row in watch_rows(stream.lines, kind)]
    return {
        "kubectl": told,
        "watch": sorted(rows, key=lambda row: int(row["at"])),
        "etcd": etcd_rows(etcd.lines, namespace),
        "dns": {"server": dns, "name": name, **(answers["dns"] or {"at": 0, "answer": []})},
        "http": {"url": url, **(answers["http"] or {"at": 0, "answer": ""})},
        "clock": [begun, time.time()],
    }


def available(stream: Follower) -> bool:
    """Tell whether the watch has told of a Deployment that is available."""
    return any(
        condition["type"] == "Available" and condition["status"] == "True"
        for row in watch_rows(stream.lines, "Deployment")
        for condition in row["object"].get("status", {}).get("conditions", ())
    )


def audit(question: dict[str, Any]) -> dict[str, Any]:
    """Return the audit log's events that name the namespace, from the newest two files; ``there`` tells of the log."""
    files = sorted(AUDIT.parent.glob("audit*.log"), key=lambda file: file.stat().st_mtime)[-2:]
    events = []
    for file in files:
        with file.open(errors="replace") as lines:
            events += [json.loads(line) for line in lines if question["word"] in line and line.endswith("\n")]
    return {"there": AUDIT.exists(), "events": events, "clock": [time.time(), time.time()]}


def main(question: dict[str, Any]) -> dict[str, Any]:
    """Do the step that the question names."""
    return {"record": record, "audit": audit}[question["step"]](question)
