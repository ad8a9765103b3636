"""Groups of nodes: what a group says reaches its nodes while the cluster runs, and a bad setting is taken back."""

import json

import pytest
import yaml

from lifecycle.lab import made

FILE = "/etc/kubernetes/kubelet.conf.d/50-kubesmith.conf"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    for lab in made(tmp_path_factory.mktemp("groups"), "lifecycle-groups"):
        lab.must("up", "--only", "converge")
        yield lab


def say(lab, **group):
    """Write the cluster file anew, with w1 in a group."""
    data = {
        "plugin": "kubesmith.cluster.spec",
        "cluster": {"name": lab.name},
        "provider": "podman",
        "lab": True,
        "groups": {"gold": group},
        "nodes": [{"name": "cp1", "role": "control-plane"}, {"name": "w1", "group": "gold"}],
    }
    lab.file.write_text(yaml.safe_dump(data))


def configz(lab, node="w1"):
    return json.loads(lab.must("kubectl", "get", "--raw", f"/api/v1/nodes/{node}/proxy/configz"))["kubeletconfig"]


def containers(lab):
    return sorted(lab.on("w1", "ctr --namespace k8s.io tasks ls --quiet").split())


def changes(lab):
    code, answer = lab.json("plan", "--exit-code")
    return code, {(row["node"], row["text"]) for row in answer["changes"]}


def test_a_group_reaches_nodes_that_run(lab):
    before, pods = configz(lab, "cp1"), containers(lab)
    say(lab, kubelet={"maxPods": 42}, labels={"tier": "gold"}, taints=["tier=gold:PreferNoSchedule"])
    code, told = changes(lab)
    wanted = {
        ("w1", f"write {FILE}"),
        ("w1", "restart kubelet"),
        ("w1", "label w1 tier=gold"),
        ("w1", "taint w1 tier=gold:PreferNoSchedule"),
    }
    assert (code, told) == (10, wanted)
    assert configz(lab)["maxPods"] == 110
    lab.must("up", "--only", "converge")
    assert configz(lab)["maxPods"] == 42
    assert (configz(lab, "cp1"), containers(lab)) == (before, pods)
    assert "tier=gold" in lab.must("kubectl", "get", "node", "w1", "--show-labels")
    assert changes(lab) == (0, set())


def test_a_setting_that_no_kubelet_reads_is_refused(lab):
    say(lab, kubelet={"maxPods": "many", "max_pods": 5}, max_unavailable="0%")
    done = lab.run("up", "--only", "converge")
    assert done.returncode == 2, done.stdout
    for words in ("'many' is not a whole number", "did you mean maxPods?", "max_unavailable: '0%' is neither"):
        assert words in done.stdout
    say(lab, kubelet={"maxPods": 42})
    assert configz(lab)["maxPods"] == 42


def test_settings_that_a_kubelet_does_not_start_with_are_taken_back(lab):
    say(lab, kubelet={"maxPods": 43, "imageGCHighThresholdPercent": 50, "imageGCLowThresholdPercent": 60})
    done = lab.run("up", "--only", "converge")
    assert done.returncode == 1, done.stdout
    assert "the earlier ones are back" in done.stdout, done.stdout
    assert configz(lab)["maxPods"] == 42
    lab.must("kubectl", "wait", "--for=condition=Ready", "node/w1", "--timeout=60s")


def test_settings_that_are_taken_away_are_gone(lab):
    say(lab)
    assert changes(lab) == (10, {("w1", f"remove {FILE}"), ("w1", "restart kubelet")})
    lab.must("up", "--only", "converge")
    assert configz(lab)["maxPods"] == 110
    assert changes(lab) == (0, set())


def test_a_fresh_node_starts_with_its_groups_settings(lab):
    lab.must("reset", "--yes")
    say(lab, kubelet={"maxPods": 44})
    lab.must("up")
    assert configz(lab)["maxPods"] == 44
    assert changes(lab) == (0, set())
