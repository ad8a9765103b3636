"""`upgrade`: the wrong way refused, a broken image rolled back, a kill in the middle of a drain, and to the end."""

import base64
import hashlib
import http.server
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time

import pytest

from kubesmith import job, paths, probe
from kubesmith.bundle import verify
from kubesmith.bundle.model import canonical, digest_of
from kubesmith.bundle.sbom import serial_number
from kubesmith.ui import Ui
from lifecycle.lab import ROOT, made

OLD, NEW = "1.36.3", "1.37.2"
PLANES, WORKERS = int(os.environ.get("KUBESMITH_PLANES", "1")), 2
KINDS = (
    *("configmaps", "secrets", "services", "serviceaccounts", "persistentvolumeclaims", "namespaces"),
    *("deployments", "daemonsets", "poddisruptionbudgets", "roles", "rolebindings", "clusterroles"),
    *("clusterrolebindings", "customresourcedefinitions", "ippools.crd.projectcalico.org"),
)
# A pod that takes its time to end: a drain has a middle in which it can be killed.
WORKLOAD = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: default}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 40
      topologySpreadConstraints:
      - maxSkew: 1
        topologyKey: kubernetes.io/hostname
        whenUnsatisfiable: ScheduleAnyway
        labelSelector: {{matchLabels: {{app: web}}}}
      containers:
      - name: web
        image: {image}
        args: [netexec, --http-port=8080]
        lifecycle: {{preStop: {{sleep: {{seconds: 12}}}}}}
        readinessProbe: {{httpGet: {{path: /healthz, port: 8080}}, periodSeconds: 1}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: web, namespace: default}}
spec: {{minAvailable: {least}, selector: {{matchLabels: {{app: web}}}}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: kept, namespace: default}}
data: {{word: "{word}"}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    for lab in made(
        tmp_path_factory.mktemp("upgrade"), "lifecycle-upgrade", OLD, control_planes=PLANES, workers=WORKERS
    ):
        lab.must("up", "--only", "converge")
        apply(lab, 1)
        yield lab


def kubectl(lab, *words, text=None):
    command = [str(paths.bundle(OLD) / "bin/kubectl"), "--kubeconfig", str(lab.state / "kubeconfig"), *words]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def apply(lab, least):
    rows = json.loads((paths.bundle(OLD) / "bundle.json").read_text())["components"]
    image = next(image["ref"] for row in rows for image in row["images"] if "/agnhost:" in image["ref"])
    kubectl(lab, "apply", "-f", "-", text=WORKLOAD.format(image=image, least=least, word="kept " * 50))
    kubectl(lab, "rollout", "status", "deployment/web", "--timeout=180s")


def nodes(lab):
    rows = json.loads(kubectl(lab, "get", "nodes", "-o", "json"))["items"]
    return {row["metadata"]["name"]: row for row in rows}


def versions(lab):
    return {name: row["status"]["nodeInfo"]["kubeletVersion"].removeprefix("v") for name, row in nodes(lab).items()}


def cordoned(lab):
    return [name for name, row in nodes(lab).items() if row["spec"].get("unschedulable")]


def contents(lab):
    """Return {object: identity and content} of what must be there after a rollback as it was before."""
    rows = json.loads(kubectl(lab, "get", ",".join(KINDS), "-A", "-o", "json"))["items"]
    found = {}
    for row in rows:
        meta = row["metadata"]
        if "kubesmith-probe" in f"{meta.get('namespace')} {meta['name']}" or meta["name"].startswith("bootstrap-token"):
            continue
        body = {key: value for key, value in row.items() if key not in ("metadata", "status")}
        name = f"{row['kind']} {meta.get('namespace', '')}/{meta['name']}"
        found[name] = f"{meta['uid']} {hashlib.sha256(canonical(body)).hexdigest()}"
    return found


def machine(lab, node):
    """Return what an upgrade would change on a node: programs, static pods, configuration."""
    script = (
        "sha256sum /usr/local/bin/* /usr/local/sbin/* /etc/kubernetes/manifests/* /var/lib/kubelet/*.yaml "
        "/var/lib/kubelet/kubeadm-flags.env /etc/containerd/config.toml 2>/dev/null; ls /var/lib/kubesmith"
    )
    return lab.on(node, script)


def control_planes():
    return [f"cp{i + 1}" for i in range(PLANES)]


def test_up_does_not_upgrade(lab):
    text = lab.file.read_text()
    lab.file.write_text(text.replace(OLD, NEW))
    try:
        for verb in ("up", "plan"):
            done = lab.run(verb)
            assert done.returncode == 2, done.stdout
            assert f"runs Kubernetes {OLD}, and its file asks for {NEW}" in done.stdout
            assert f"upgrade --to {NEW}" in done.stdout
    finally:
        lab.file.write_text(text)


def test_the_plan_touches_nothing(lab):
    before = {node: machine(lab, node) for node in nodes(lab)}
    code, answer = lab.json("upgrade", "--to", NEW, "--check")
    assert code == 0, answer
    assert answer["way"] == [OLD, NEW]
    assert [batch[0] for batch in answer["batches"]] == [*control_planes(), "w1", "w2"]
    assert {name for name, now, then in answer["components"] if now != then} >= {"etcd", "containerd", "coredns"}
    assert {node: machine(lab, node) for node in nodes(lab)} == before


def test_a_budget_that_lets_nothing_go_blocks(lab):
    apply(lab, 2)
    try:
        done = lab.run("upgrade", "--to", NEW)
        assert done.returncode == 2, done.stdout
        assert "[pdb] default/web lets no pod go: 2 healthy, 2 wanted" in done.stdout
        assert "--force pdb" in done.stdout
        assert set(versions(lab).values()) == {OLD}
    finally:
        apply(lab, 1)


@pytest.fixture
def broken():
    """A bundle like the new one, whole by its own digests, whose API server is a program that is not there."""
    good = paths.bundle(NEW).resolve()
    folder = good.with_name(f"{good.name}-broken")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good, folder, copy_function=os.link)
    data = json.loads((folder / "bundle.json").read_text())
    images = {image["ref"].partition("/")[2]: image for row in data["components"] for image in row["images"]}
    pause = images[min(name for name in images if name.startswith("pause:"))]
    images[f"kube-apiserver:v{NEW}"].update({key: pause[key] for key in ("digest", "size", "blobs")})
    index = json.loads((folder / "images/index.json").read_text())
    byname = {row["annotations"]["io.containerd.image.name"]: row for row in index["manifests"]}
    same = ("digest", "size", "mediaType")
    server = byname[images[f"kube-apiserver:v{NEW}"]["ref"]]
    server.update({key: byname[pause["ref"]][key] for key in same})
    used = {blob for image in images.values() for blob in (image["digest"], *image["blobs"])}
    data["digest"] = digest_of(data["components"])
    sbom = json.loads((folder / "sbom.cdx.json").read_text()) | {"serialNumber": serial_number(data["digest"])}
    for name, content in (("bundle.json", data), ("images/index.json", index), ("sbom.cdx.json", sbom)):
        (folder / name).unlink()  # a link shares its bytes with the good one
        (folder / name).write_text(json.dumps(content))
    for blob in (folder / "images/blobs/sha256").iterdir():
        if f"sha256:{blob.name}" not in used:
            blob.unlink()
    assert verify(folder, trust_times=True) == []
    yield folder
    shutil.rmtree(folder)


def test_a_broken_image_is_rolled_back_with_all_objects_intact(lab, broken):
    apply(lab, 1)
    before = {node: machine(lab, node) for node in nodes(lab)}
    objects = contents(lab)
    given = {"KUBESMITH_BUNDLE": str(broken)}
    done = lab.run("upgrade", "--to", NEW, "--timeout", "90", environment=given, seconds=1800)
    print(done.stdout)
    assert done.returncode == 1, done.stdout
    assert f"cp1 was not upgraded, and is at {OLD} again" in done.stdout
    assert "rolled back" in done.stdout
    assert "workload: 0 of" in done.stdout and "API: " in done.stdout
    assert set(versions(lab).values()) == {OLD}
    assert cordoned(lab) == []
    after = contents(lab)
    assert {name: after.get(name) for name in objects} == objects
    for node, seen in before.items():
        rows = [row for row in seen.splitlines() if "/" in row]
        assert set(rows) <= set(machine(lab, node).splitlines()), f"{node} is not as it was"
    assert f"kubernetes: {OLD}" in lab.file.read_text()


def test_killed_in_the_middle_of_a_drain_the_next_run_finishes(lab):
    apply(lab, 1)
    work = job.read(str(lab.file), Ui(quiet=True))
    command = [sys.executable, str(ROOT / "runner.py"), "upgrade", "--to", NEW, "-i", str(lab.file), "--no-probe"]
    with probe.measure(work) as meter:
        log = lab.file.with_name("killed.log")
        with log.open("w") as out:
            process = subprocess.Popen(
                command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
            )
        seen = wait_for_drain(lab, process, log)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert seen in cordoned(lab)
        assert versions(lab)[seen] == OLD
        # Its own probe would take this one away: there is one at a time.
        done = lab.run("upgrade", "--to", NEW, "--no-probe", seconds=1800)
        print(done.stdout)
        assert done.returncode == 0, done.stdout
    assert set(versions(lab).values()) == {NEW}
    assert cordoned(lab) == []
    print("\n".join(meter.report.lines()))
    assert meter.report.failed == 0, meter.report
    assert meter.report.requests > 500


def wait_for_drain(lab, process, log):
    """Return the worker that is being emptied, once it is cordoned and a pod of it is about to end."""
    ends = time.monotonic() + 1200
    while time.monotonic() < ends:
        assert process.poll() is None, log.read_text()
        try:
            rows = nodes(lab)
            name = next((n for n in ("w1", "w2") if rows[n]["spec"].get("unschedulable")), "")
            pods = json.loads(kubectl(lab, "get", "pods", "-l", "app=web", "-o", "json"))["items"] if name else []
        except AssertionError:  # the API server of a single control plane is away for a moment
            name, pods = "", []
        if any(pod["spec"].get("nodeName") == name and "deletionTimestamp" in pod["metadata"] for pod in pods):
            return name
        time.sleep(0.5)
    raise AssertionError(f"no worker was drained within 1200 s:\n{log.read_text()}")


def test_the_cluster_is_whole_and_its_file_names_the_version(lab):
    assert f"kubernetes: {NEW}  # kept" in lab.file.read_text()
    text = lab.must("up")
    assert "0 failed" in text, text
    code, answer = lab.json("upgrade", "--to", NEW)
    assert (code, answer["nothing"]) == (0, True)
    code, listed = lab.json("backup", "list")
    assert any(row["reason"] == f"before upgrade {OLD} → {NEW}" for row in listed["backups"]), listed
    for node in control_planes():
        # Of several members none can go back to a snapshot alone: the backup is for all of them.
        kept = lab.on(node, "ls /var/lib/kubesmith/snapshots 2>/dev/null || true").count(f"upgrade-{OLD}-")
        assert (kept >= 1) == (PLANES == 1)
        assert "absent" in lab.on(node, "ls -d /var/lib/kubesmith/upgrade 2>/dev/null || echo absent")


class Old(http.server.BaseHTTPRequestHandler):
    """The API server of a cluster that nobody here can build any more."""

    def log_message(self, *_words):
        pass

    def do_GET(self):
        answer = {"gitVersion": "v1.35.4"} if self.path == "/version" else {"items": []}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def older_api(tmp_path):
    """Yield the kubeconfig of an API server that says 1.35.4."""
    files = {name: tmp_path / name for name in ("cert", "key", "both")}
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=old", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-addext", "keyUsage=critical,digitalSignature,keyCertSign"]
    subprocess.run(
        [*command, "-keyout", files["key"], "-out", files["cert"]], check=True, capture_output=True, timeout=60
    )
    cert, key = files["cert"].read_text(), files["key"].read_text()
    files["both"].write_text(cert + key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Old)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files["both"])
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    data = {"certificate-authority": cert, "client-certificate": cert, "client-key": key}
    lines = [f"    {name}-data: {base64.b64encode(text.encode()).decode()}" for name, text in data.items()]
    yield "\n".join([f"    server: https://127.0.0.1:{server.server_port}", *lines]) + "\n"
    server.shutdown()
    server.server_close()


def test_there_is_no_way_back_and_none_over_a_minor(lab, older_api):
    before = {node: machine(lab, node) for node in nodes(lab)}
    done = lab.run("upgrade", "--to", OLD)
    assert done.returncode == 2, done.stdout
    assert f"{NEW} → {OLD} is a downgrade" in done.stdout
    kubeconfig = lab.state / "kubeconfig"
    own = kubeconfig.read_text()
    kubeconfig.write_text(older_api)
    try:
        done = lab.run("upgrade", "--to", NEW)
    finally:
        kubeconfig.write_text(own)
    assert done.returncode == 2, done.stdout
    assert f"1.35.4 → {NEW} skips a minor version" in done.stdout
    assert {node: machine(lab, node) for node in nodes(lab)} == before
