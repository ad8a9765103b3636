"""Every tour holds, leaves a cluster that passes every check, and is taken back when it was killed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from lifecycle.lab import ROOT

from kubesmith.tour import flow, record
from kubesmith.tour.tours import TOURS


def report(lab):
    return record.read(lab.state / "reports" / "latest" / "tour.json")


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_eight_steps_twice(lab, language):
    seen = []
    for _time in range(2):
        said = lab.must("tour", "run", "pod-flow", "--language", language)
        made = report(lab)
        assert made.ok, said
        assert [step.key for step in made.steps if not step.part] == list(flow.EIGHT)
        assert max(len(line) for line in said.splitlines() if "█" in line or "▏" in line) <= 80, said
        page = (lab.state / "reports" / "latest" / "tour.html").read_text()
        assert page.count("<rect") >= 2 * len(made.steps)
        seen.append([(step.begin, step.end) for step in made.steps])
        wanted = {"request", "key", "event", "process", "container"}
        assert wanted <= {row.title for row in made.opened}
    assert seen[0] != seen[1], "two pods took their way in the very same microseconds"


@pytest.mark.parametrize("name", [name for name in TOURS if name != "pod-flow"])
def test_a_tour_holds_and_leaves_a_whole_cluster(lab, name):
    language = "ko" if list(TOURS).index(name) % 2 else "en"
    said = lab.must("tour", "run", name, "--language", language)
    made = report(lab)
    assert made.ok, said
    assert len(made.claims) > 2
    lab.must("verify", "--wait")


#: Tours, and the change after which they are killed: one for each kind of way back.
KILLED = {
    "scheduler-absent": "manifest_away",
    "kubelet-stopped": "stop",
    "etcd-restore": "lose",
    "drain": "cordon",
    "node-power-off": "off",
    "certificate-expired": "shorten",
    "kube-proxy-rules": "flush",
    "cni-removed": "away",
}


@pytest.mark.parametrize("name", KILLED)
def test_a_killed_tour_is_taken_back_by_the_next_command(lab, name):
    kill_at(lab, name, KILLED[name])
    left = json.loads((lab.state / "tour" / "journal.json").read_text())
    assert (left["name"], bool(left["undo"])) == (name, True)
    said = lab.must("kubectl", "get", "nodes")
    assert f"{name} was interrupted" in said
    assert not (lab.state / "tour" / "journal.json").exists()
    lab.must("verify", "--wait")
    spaces = lab.must("kubectl", "get", "namespaces")
    assert "kubesmith-tour-" not in spaces


def kill_at(lab, name, key):
    """Start a tour and kill it, as kill -9 does, as soon as it tells of the change ``key``."""
    command = [sys.executable, str(ROOT / "runner.py"), "tour", "run", name, "--json", "-i", str(lab.file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        for line in process.stdout:
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("what") == "act" and event.get("key") == key:
                time.sleep(1.0)  # in the middle of what it does, or just after
                os.killpg(process.pid, signal.SIGKILL)
                break
        else:
            pytest.fail(f"the tour {name} never came to {key}")


def test_an_interrupted_tour_is_taken_back_at_once(lab):
    command = [sys.executable, str(ROOT / "runner.py"), "tour", "run", "placement", "--json", "-i", str(lab.file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if '"what": "act"' in line and '"key": "label"' in line:
                process.send_signal(signal.SIGTERM)
                break
        process.stdout.read()
    assert process.returncode == 130
    assert not (lab.state / "tour" / "journal.json").exists()
    assert "kubesmith.io/tour" not in lab.must("kubectl", "get", "nodes", "-o", "yaml")


def test_a_sick_cluster_is_refused(lab):
    lab.must("kubectl", "-n", "kube-system", "scale", "deployment/coredns", "--replicas=0")
    try:
        done = lab.run("tour", "run", "naming")
        assert done.returncode == 2, done.stdout
        assert "not well" in done.stdout
        assert "kube-dns" in done.stdout
    finally:
        lab.must("kubectl", "-n", "kube-system", "scale", "deployment/coredns", "--replicas=2")
        lab.must("wait-for", "ready")


def test_a_user_without_rights_is_refused(lab):
    """A kubeconfig whose user may do nothing: the administrator's certificate is taken out of it."""
    kept = lab.state / "kubeconfig"
    whole = kept.read_text()
    request = ("create", "token", "default", "-n", "default")
    token = lab.must("kubectl", *request).strip().splitlines()[-1]
    config = "\n".join(row for row in whole.splitlines() if "client-" not in row)
    try:
        kept.write_text(config + f"\n    token: {token}\n")
        done = lab.run("tour", "run", "naming")
        assert done.returncode == 2, done.stdout
        assert "no permission" in done.stdout or "kubeconfig of an administrator" in done.stdout
        assert token not in done.stdout
    finally:
        kept.write_text(whole)


PODS = {
    "kube-system/etcd-cp1": ["Node cp1", "/registry/pods/kube-system/etcd-cp1", "kubepods"],
    "coredns": ["ReplicaSet coredns-", "Deployment coredns", "kube-dns", "veth", "cali", "sha256:"],
    "kube-proxy": ["DaemonSet kube-proxy", "kubepods"],
}


@pytest.mark.parametrize("name", PODS)
def test_a_pods_whole_chain(lab, name):
    pod = name
    if "/" not in name:
        rows = lab.must("kubectl", "get", "pods", "-n", "kube-system", "-o", "name").splitlines()
        pod = next(row.partition("/")[2] for row in rows if row.startswith(f"pod/{name}-"))
    said = lab.must("inspect", pod)
    assert all(word in said for word in PODS[name]), said
    assert max(len(line) for line in said.splitlines()) <= 80, said
    code, data = lab.json("inspect", pod)
    assert code == 0
    assert data["etcd"]["mod_revision"] > 0
    assert all(row["pid"] for row in data["runtime"]["containers"] if row["state"] == "RUNNING")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["corends"], "there is no pod corends"),
        (["kube-system/"], "is not a pod's name"),
        (["A B"], "is not a pod's name"),
        (["kube-system/etcd-cp1", "-n", "default"], "two namespaces"),
        (["etcd-cp2"], "did you mean etcd-cp1?"),
    ],
)
def test_a_pod_that_there_is_not(lab, words, wanted):
    done = lab.run("inspect", *words)
    assert (done.returncode, wanted in done.stdout) == (2, True), done.stdout
