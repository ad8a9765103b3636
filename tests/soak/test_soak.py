"""Records are written for an hour while nodes restart one after the other: what was acknowledged is there in the end.

Two kinds of records, each with its checksum: objects in the API (kept by etcd), and files that pods take in over their
service and write to their node's disk. KUBESMITH_SOAK says for how many seconds (3600). make test-soak
"""

import base64
import hashlib
import itertools
import json
import os
import re
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest
import requests
import yaml
from lifecycle.lab import made

SECONDS = float(os.environ.get("KUBESMITH_SOAK") or 3600)
NODES = ("w1", "cp1", "w2")
PAUSE = 0.05  # seconds between two records of one writer
LEAST = 2.0  # records in a second that a soak must have written on the average, or it proves nothing
IMAGE = "kubesmith.internal/agnhost:2.66.1"
UPLOADS = "/var/lib/soak"
OBJECTS = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: soak}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: taker, namespace: soak}}
spec:
  selector: {{matchLabels: {{app: taker}}}}
  template:
    metadata: {{labels: {{app: taker}}}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
        - name: taker
          image: {IMAGE}
          imagePullPolicy: Never
          args: [netexec, --http-port=8080]
          readinessProbe: {{httpGet: {{path: /healthz, port: 8080}}, periodSeconds: 2}}
          volumeMounts: [{{name: uploads, mountPath: /uploads}}]
      volumes: [{{name: uploads, hostPath: {{path: {UPLOADS}, type: DirectoryOrCreate}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: taker, namespace: soak}}
spec: {{type: NodePort, selector: {{app: taker}}, ports: [{{port: 8080, nodePort: 30808}}]}}
"""


class Writer(threading.Thread):
    """Writes numbered records until it is stopped; keeps what was acknowledged, {name: checksum}, and what was not."""

    def __init__(self, write):
        super().__init__(daemon=True)
        self.write = write
        self.acknowledged = {}
        self.refused = 0
        self.longest = 0.0  # seconds without an acknowledged record
        self.stop = threading.Event()

    def run(self):
        last = time.monotonic()
        for number in itertools.count():
            if self.stop.is_set():
                return
            text = f"{number} {os.urandom(24).hex()}"
            try:
                name = self.write(number, text)
            except (requests.RequestException, OSError, KeyError, ValueError):
                self.refused += 1
            else:
                self.acknowledged[name] = digest(text)
                self.longest = max(self.longest, time.monotonic() - last)
                last = time.monotonic()
            self.stop.wait(PAUSE)


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


class Api:
    """The API as the administrator, over a new connection where an old one broke."""

    def __init__(self, kubeconfig, folder):
        data = yaml.safe_load(Path(kubeconfig).read_text())
        cluster, user = data["clusters"][0]["cluster"], data["users"][0]["user"]
        self.server = cluster["server"]
        self.ca = self._file(folder, "ca", cluster["certificate-authority-data"])
        keys = ("client-certificate-data", "client-key-data")
        self.client = tuple(self._file(folder, key, user[key]) for key in keys)

    @staticmethod
    def _file(folder, name, text):
        path = Path(folder) / name
        path.touch(mode=0o600)
        path.write_bytes(base64.b64decode(text))
        return str(path)

    def call(self, method, path, **more):
        found = requests.request(method, self.server + path, verify=self.ca, cert=self.client, timeout=(3, 20), **more)
        found.raise_for_status()
        return found.json()

    def write(self, number, text):
        name = f"record-{number}"
        item = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"text": text}}
        self.call("POST", "/api/v1/namespaces/soak/configmaps", json=item)
        return name


def taker(addresses):
    """Return what sends a record to the pods by the service, at each node in turn."""
    turn = itertools.cycle(addresses)

    def write(_number, text):
        files = {"file": ("record", text)}
        found = requests.post(f"http://{next(turn)}:30808/upload", files=files, timeout=(2, 5))
        found.raise_for_status()
        return found.json()["output"].rpartition("/")[2]

    return write


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    for lab in made(tmp_path_factory.mktemp("soak"), "soak", workers=2):
        lab.must("up")
        yield lab


def test_nothing_that_was_acknowledged_is_lost(lab, capsys):
    file = lab.file.with_name("soak.yml")
    file.write_text(OBJECTS)
    lab.must("kubectl", "apply", "-f", str(file))
    lab.must("kubectl", "rollout", "status", "-n", "soak", "ds/taker", "--timeout=180s")
    rows = json.loads((lab.state / "machines.json").read_text())["machines"]
    with tempfile.TemporaryDirectory() as folder:
        api = Api(lab.state / "kubeconfig", folder)
        writers = {"objects": Writer(api.write), "files": Writer(taker([row["address"] for row in rows]))}
        began, restarts = time.monotonic(), 0
        for writer in writers.values():
            writer.start()
        for node in itertools.cycle(NODES):
            time.sleep(10)
            restart(lab, node)
            restarts += 1
            if time.monotonic() - began > SECONDS and restarts >= len(NODES):
                break
        time.sleep(5)
        for writer in writers.values():
            writer.stop.set()
            writer.join(60)
        seconds = time.monotonic() - began
        there = {"objects": objects(api), "files": files(lab)}
    told = []
    for kind, writer in writers.items():
        lost = [name for name in writer.acknowledged if name not in there[kind]]
        damaged = [n for n, seen in writer.acknowledged.items() if n in there[kind] and there[kind][n] != seen]
        told.append((kind, writer, lost, damaged))
    with capsys.disabled():
        print(f"\nsoak: {seconds:.0f} s, {restarts} restarts of {len(NODES)} nodes")
        for kind, writer, lost, damaged in told:
            print(
                f"  {kind}: {len(writer.acknowledged)} records acknowledged, {len(lost)} lost, {len(damaged)} damaged, "
                f"{writer.refused} not acknowledged, {writer.longest:.1f} s the longest without one"
            )
    for _kind, writer, lost, damaged in told:
        assert (lost, damaged) == ([], [])
        assert len(writer.acknowledged) > LEAST * seconds
    assert restarts >= len(NODES)
    lab.must("verify", "--wait")


def restart(lab, node):
    """Restart a node, and wait until the cluster is whole again: the next one goes only then."""
    box = f"kubesmith-{lab.name}-{node}"
    subprocess.run(["podman", "restart", "--time=30", box], check=True, capture_output=True)
    lab.must("wait-for", "ready", "--timeout", "600")
    lab.must("kubectl", "rollout", "status", "-n", "soak", "ds/taker", "--timeout=300s")


def objects(api):
    """Return {name: checksum} of all records in the API."""
    items = api.call("GET", "/api/v1/namespaces/soak/configmaps")["items"]
    return {item["metadata"]["name"]: digest((item.get("data") or {}).get("text", "")) for item in items}


def files(lab):
    """Return {name: checksum} of all records on the workers' disks."""
    said = "".join(lab.on(node, f"cd {UPLOADS} && sha256sum upload* 2>/dev/null || true") for node in ("w1", "w2"))
    return {name: seen for seen, name in re.findall(r"^([0-9a-f]{64})  (\S+)$", said, re.MULTILINE)}
