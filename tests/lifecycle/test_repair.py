"""Faults planted on a node, each mended by the least that helps; and too many of them, which are left alone."""

import subprocess

import pytest

from lifecycle.lab import made


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    for lab in made(tmp_path_factory.mktemp("repair"), "lifecycle-repair"):
        lab.must("up", "--only", "converge")
        yield lab


def repaired(lab, helped):
    """Repair; the last step must be the one that helped, and all others before it not."""
    code, answer = lab.json("repair", "--yes")
    assert code == 0, answer
    assert [(row["step"], row["ok"]) for row in answer["steps"]][-1] == (helped, True), answer
    assert [row["node"] for row in answer["sick"]] == ["w1"]
    lab.must("wait-for", "ready")
    return answer


def podman(*words):
    subprocess.run(["podman", *words], check=True, capture_output=True)


def test_nothing_is_wrong(lab):
    code, answer = lab.json("repair")
    assert (code, answer["sick"], answer["steps"]) == (0, [], [])


def test_a_sick_node_is_told_and_nothing_is_done_without_a_yes(lab):
    lab.on("w1", "systemctl stop kubelet")
    done = lab.run("repair")
    assert done.returncode == 1
    for words in ("w1: kubelet is inactive", "  restart", "nothing was done: say --yes"):
        assert words in done.stdout, done.stdout
    assert lab.run("repair", "--check").returncode == 1
    assert lab.on("w1", "systemctl is-active kubelet || true").strip() == "inactive"
    repaired(lab, "restart")


def test_a_masked_kubelet_and_a_dead_containerd_are_restarted(lab):
    lab.on("w1", "systemctl mask --now kubelet; systemctl stop containerd")
    answer = repaired(lab, "restart")
    assert {"containerd is inactive", "kubelet: its unit is masked"} <= set(answer["sick"][0]["reasons"])


def test_a_network_plugin_that_lost_its_files_gets_them_back(lab):
    lab.on("w1", "rm -f /etc/cni/net.d/* /opt/cni/bin/calico")
    answer = repaired(lab, "restart")
    assert "network plug-in: /etc/cni/net.d has no configuration" in answer["sick"][0]["reasons"]


def test_a_machine_without_power_is_started(lab):
    podman("kill", f"kubesmith-{lab.name}-w1")
    repaired(lab, "reboot")


def test_what_only_a_boot_mends(lab):
    lab.on("w1", "mount -t tmpfs none /opt/cni/bin")
    answer = repaired(lab, "reboot")
    assert [row["step"] for row in answer["steps"]] == ["restart", "reboot"]


def test_a_node_that_lost_its_identity_joins_anew(lab):
    lab.on("w1", "systemctl stop kubelet; rm -rf /var/lib/kubelet/pki /etc/kubernetes/kubelet.conf")
    answer = repaired(lab, "rejoin")
    assert [row["step"] for row in answer["steps"]] == ["restart", "reboot", "rejoin"]
    lab.must("verify", "--wait")


def test_more_than_a_fifth_is_left_alone(lab):
    for node in ("cp1", "w1"):
        lab.on(node, "systemctl stop kubelet")
    code, answer = lab.json("repair", "--yes")
    assert (code, answer["steps"]) == (1, [])
    assert "2 of 2 nodes are sick, more than a fifth" in answer["refused"]
    assert lab.on("w1", "systemctl is-active kubelet || true").strip() == "inactive"
    for node in ("cp1", "w1"):
        lab.on(node, "systemctl start kubelet")
    lab.must("wait-for", "ready")
