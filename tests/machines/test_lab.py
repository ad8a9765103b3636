"""Nodes of a lab: rebooted, cut off from power, broken and brought back by a snapshot."""

import subprocess

import pytest

from machines.conftest import Cluster

NAME = "machines"
FILE = f"""\
plugin: kubesmith.cluster.spec
cluster: {{name: {NAME}}}
provider: podman
lab: true
control_planes: 1
workers: 1
"""
NODES = ("cp1", "w1")
# What kubeadm made of the control plane, etcd's data, and the network plug-in's settings.
DAMAGE = """
rm -f /etc/kubernetes/manifests/*.yaml
for dummy in $(seq 120); do pgrep -x etcd >/dev/null || break; sleep 1; done
! pgrep -x etcd
rm -rf /var/lib/etcd/member /etc/cni/net.d
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory, keep):
    """A verified cluster on two nodes."""
    file = tmp_path_factory.mktemp("machines") / "cluster.yml"
    file.write_text(FILE)
    made = Cluster(file, f"kubesmith-{NAME}", {})
    try:
        done = made.run("up")
        assert done.returncode == 0, done.stdout[-4000:]
        yield made
    finally:
        if not keep:
            made.run("destroy", "--yes")


def boot(lab, node):
    return lab.on(node, "cut -d' ' -f22 /proc/1/stat").strip()


@pytest.mark.parametrize("node", NODES)
def test_the_cluster_is_whole_after_a_reboot_of(lab, node):
    before = boot(lab, node)
    lab.podman("restart", "--time=60", node)
    assert boot(lab, node) != before
    lab.verified()


@pytest.mark.parametrize("node", NODES)
def test_the_cluster_is_whole_after_a_power_cut_of(lab, node):
    lab.podman("kill", node)
    assert lab.run("status").returncode == 1
    done = lab.run("up", "--to", "nodes")
    assert done.returncode == 0, done.stdout
    lab.verified()


def test_down_and_up_again(lab):
    assert lab.run("down").returncode == 0
    done = lab.run("up")
    assert done.returncode == 0, done.stdout[-4000:]


def test_a_snapshot_brings_a_broken_cluster_back(lab):
    assert lab.run("snapshot", "save", "clean").returncode == 0
    lab.verified()
    lab.on("cp1", DAMAGE)
    assert lab.run("verify").returncode == 1
    done = lab.run("snapshot", "restore", "clean")  # which verifies
    assert done.returncode == 0, done.stdout[-4000:]
    lab.verified()
    assert lab.changed()[0] == []
    assert "clean" in lab.run("snapshot", "list").stdout
    assert lab.run("snapshot", "delete", "clean").returncode == 0
    volumes = subprocess.run(["podman", "volume", "ls", "-q"], capture_output=True, text=True, check=True).stdout
    assert not [name for name in volumes.split() if name.startswith(lab.box) and name.endswith(".clean")]
