"""Three control planes: each loses its power, the first is replaced; nodes come and go. ``-s`` prints the gaps."""

import json
import re
import subprocess
import time

import pytest

from kubesmith import job, probe
from kubesmith.ui import Ui
from tests.lifecycle.lab import made

PLANES = ("cp1", "cp2", "cp3")
OFF = 30  # seconds without power: longer than all that has to notice it
BUDGET = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: single}
spec:
  selector: {matchLabels: {app: single}}
  template:
    metadata: {labels: {app: single}}
    spec:
      nodeName: w2
      terminationGracePeriodSeconds: 0
      containers: [{name: pause, image: %s, imagePullPolicy: Never}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: precious}
spec: {minAvailable: 1, selector: {matchLabels: {app: single}}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    for found in made(tmp_path_factory.mktemp("ha"), "lifecycle-ha", control_planes=3, workers=1):
        found.must("up", "--from", "preflight")
        yield found


def kubectl(lab, *words):
    return lab.must("kubectl", *words)


def power_off(lab, node):
    """Take a node's power: nothing in it gets to say good-bye."""
    subprocess.run(["podman", "kill", "--signal=KILL", f"kubesmith-{lab.name}-{node}"], check=True, capture_output=True)


def until(condition, what, seconds=300):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, f"not within {seconds} s: {what}"
        time.sleep(1)


def members(lab, speaker):
    """Return the names of etcd's members that answer, as one control plane sees them."""
    keys = "--cacert=/etc/kubernetes/pki/etcd/ca.crt --cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt"
    keys += " --key=/etc/kubernetes/pki/etcd/healthcheck-client.key --endpoints=https://127.0.0.1:2379 -w json"
    script = f"etcdctl {keys} member list; etcdctl {keys} endpoint health --cluster || true"
    listed, health = (json.loads(line) for line in lab.on(speaker, script).splitlines()[:2])
    urls = {row["endpoint"] for row in health if row["health"]}
    return sorted(m["name"] for m in listed["members"] if urls & set(m.get("clientURLs", ())))


def all_ready(lab, nodes):
    done = lab.run("kubectl", "get", "nodes", "-o", "json", "--request-timeout=10s")
    if done.returncode:
        return False
    items = json.loads(done.stdout)["items"]
    states = {
        item["metadata"]["name"]: next(c["status"] for c in item["status"]["conditions"] if c["type"] == "Ready")
        for item in items
    }
    return states == dict.fromkeys(nodes, "True")


def test_any_control_plane_may_lose_its_power(lab):
    with probe.measure(job.read(str(lab.file), Ui(quiet=True))) as meter:
        meter.part("before")
        for node in PLANES:
            power_off(lab, node)
            time.sleep(OFF)
            part = meter.part(node)
            print(f"\n{node} off for {part.seconds} s: {'; '.join(part.lines())}", flush=True)
            assert part.requests > OFF * 5
            assert part.failed == 0, part.outages
            assert part.api_requests - part.api_failed > 0, "the API never came back"
            other = next(plane for plane in PLANES if plane != node)
            lab.must("up", "--only", "nodes")
            until(lambda: all_ready(lab, [*PLANES, "w1"]), f"{node} is back")
            until(lambda: members(lab, other) == list(PLANES), f"etcd has {node} again")  # noqa: B023
            back = meter.part(f"{node} is back")
            print(f"{node} back: {'; '.join(back.lines())}", flush=True)
            assert back.failed == 0, back.outages
    assert meter.report.failed == 0
    assert meter.report.lost == ()


def test_the_first_is_replaced_like_any_other(lab):
    before = lab.on("cp2", "sha256sum /etc/kubernetes/pki/ca.crt")
    power_off(lab, "cp1")
    said = lab.must("replace", "cp1")
    assert "cp1 joined in" in said
    until(lambda: members(lab, "cp2") == list(PLANES), "etcd has three members again")
    assert lab.on("cp1", "sha256sum /etc/kubernetes/pki/ca.crt") == before
    lab.must("verify", "--wait")


def rows(lab):
    """Return what the last run did: a row for each task and host."""
    last = sorted(lab.state.glob("runs/*/tasks.jsonl"))[-1]
    return [json.loads(line) for line in last.read_text().splitlines()]


def test_a_worker_is_added_and_no_other_node_is_touched(lab):
    said = lab.must("add", "w2")
    assert "on other nodes: 0 changed" in said
    touched = {row["host"] for row in rows(lab) if row["changed"]}
    assert touched == {"w2"}
    assert "workers: 2" in lab.file.read_text()
    assert all_ready(lab, [*PLANES, "w1", "w2"])
    assert "in the cluster already" in lab.must("add", "w2")
    lab.must("verify", "--wait")


def test_a_second_run_has_nothing_to_do(lab):
    lab.must("up", "--only", "converge")
    assert [row for row in rows(lab) if row["changed"]] == []


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("remove", "cp2"), "2 of 3 control planes would be left"),
        (("remove", "w1", "w2"), "no worker would be left"),
        (("remove", "w9"), "w9 is not a node of lifecycle-ha"),
        (("replace", "w9"), "w9 is not a node of lifecycle-ha"),
        (("add", "cp4"), "4 control planes make 4 etcd members, an even number"),
        (("add", "w7"), "w7 cannot follow"),
        (("remove", *PLANES), "no control plane would be left"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_touched(lab, words, reason):
    text = lab.file.read_text()
    done = lab.run(*words)
    assert done.returncode == 2, done.stdout
    assert reason in done.stdout
    assert lab.file.read_text() == text
    assert members(lab, "cp1") == list(PLANES)
    assert "SchedulingDisabled" not in kubectl(lab, "get", "nodes")


def test_a_budget_stops_the_removal_and_the_node_is_not_left_cordoned(lab):
    bundle = json.loads(lab.on("w2", "cat /var/lib/kubesmith/bundle/bundle.json"))
    image = next(i["ref"] for c in bundle["components"] for i in c["images"] if "/pause:" in i["ref"])
    lab.on("cp1", f"kubectl --kubeconfig /etc/kubernetes/admin.conf apply -f - <<'YAML'\n{BUDGET % image}\nYAML\n")
    kubectl(lab, "rollout", "status", "deployment/single", "--timeout=120s")
    done = lab.run("remove", "w2", "--timeout", "15")
    assert done.returncode == 1, done.stdout
    assert "disruption budget" in done.stdout
    assert "SchedulingDisabled" not in kubectl(lab, "get", "nodes")
    assert "workers: 2" in lab.file.read_text()
    kubectl(lab, "delete", "deployment/single", "poddisruptionbudget/precious")


def test_a_worker_is_drained_and_removed(lab):
    lab.must("remove", "w2")
    assert "workers: 1" in lab.file.read_text()
    assert all_ready(lab, [*PLANES, "w1"])
    assert "-w2" not in subprocess.run(["podman", "ps", "-a"], capture_output=True, text=True, check=True).stdout


def test_the_address_that_was_picked_is_not_forgotten(lab):
    done = lab.run("remove", "cp2", "cp3")
    assert done.returncode == 2, done.stdout
    vip = re.search(r"cluster.vip: ([0-9.]+)", done.stdout)[1]
    network = vip.rpartition(".")[0] + ".0/24"
    text = lab.file.read_text().replace(f"  name: {lab.name}\n", f"  name: {lab.name}\n  vip: {vip}\n")
    lab.file.write_text(f"{text}network: {{nodes: {network}}}  # written by hand\n")


def test_what_would_lose_the_majority_is_refused(lab):
    power_off(lab, "cp2")
    done = lab.run("remove", "cp1", "cp3")
    assert done.returncode == 2, done.stdout
    assert "no control plane that answers is a member of the cluster and stays" in done.stdout
    done = lab.run("replace", "cp3")
    assert done.returncode == 2, done.stdout
    assert "without cp3 etcd has 2 members, of which 1 answer" in done.stdout
    assert "SchedulingDisabled" not in kubectl(lab, "get", "nodes")


def test_two_of_three_leave_one_of_them_dead(lab):
    lab.must("remove", "cp2", "cp3")
    assert members(lab, "cp1") == ["cp1"]
    assert all_ready(lab, ["cp1", "w1"])
    assert "control_planes: 1" in lab.file.read_text()
    assert "# written by hand" in lab.file.read_text()
    lab.must("verify", "--wait")


def test_one_control_plane_becomes_three_again(lab):
    lab.must("add", "cp2", "cp3")
    assert members(lab, "cp1") == list(PLANES)
    lab.must("verify", "--wait")
