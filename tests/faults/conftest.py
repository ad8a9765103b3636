"""Faults on a real lab: one control plane and one worker of its own, made at the first test and removed at the end.

Slow, and not part of ``make unit``: ``pytest tests/faults -v``. KUBESMITH_KEEP=1 leaves the lab for a look.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAME = os.environ.get("KUBESMITH_FAULTS_LAB", "faults")
FILE = f"""\
plugin: kubesmith.cluster.spec
cluster:
  name: {NAME}
provider: podman
lab: true
control_planes: 1
workers: 1
"""
# kubeadm waits so long for what never comes; five minutes are of no use where a failure is wanted.
SHORT = "kubeadm_master_init_timeout: 60\n"
FORGET = """
if command -v kubeadm; then kubeadm reset --force; fi
rm -rf /etc/cni/net.d/*
if findmnt --type tmpfs /var/lib/etcd; then umount --lazy /var/lib/etcd; fi
"""


class Lab:
    """A small lab, and runner.py on it."""

    def __init__(self, folder):
        self.file = folder / "cluster.yml"
        self.file.write_text(FILE)
        self.variables = folder / "group_vars" / "all.yml"
        self.variables.parent.mkdir()

    def run(self, *words, seconds=900):
        """Run runner.py; return its CompletedProcess, both outputs in ``stdout``."""
        command = [sys.executable, str(ROOT / "runner.py"), *words, "--inventory", str(self.file)]
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False
        )

    def up(self, *more, fails=False):
        """Converge; return (exit code, everything that was printed). What ``fails`` is not waited for that long."""
        self.variables.write_text(SHORT if fails else "{}\n")
        done = self.run("up", "--only", "converge", *more)
        return done.returncode, done.stdout

    def on(self, node, script):
        """Run a shell script on a node as root; return its output, fail the test if it fails."""
        state = Path(os.environ.get("KUBESMITH_STATE", Path.home() / ".local/state/kubesmith")) / NAME
        command = ["ssh", "-F", str(state / "ssh_config"), node, "bash -es"]
        done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{node}: {script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def forget_cluster(self):
        """Take the cluster off the nodes; images and programs stay, so that the next test is quick."""
        for node in ("w1", "cp1"):
            self.on(node, FORGET)

    def json(self, *words):
        """Run a verb with --json and return its last line, parsed."""
        done = self.run(*words, "--json")
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        return done.returncode, json.loads(lines[-1])


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """A lab whose nodes run; there need not be a cluster on them."""
    made = Lab(tmp_path_factory.mktemp("faults"))
    done = made.run("up", "--only", "nodes")
    assert done.returncode == 0, done.stdout
    yield made
    if not os.environ.get("KUBESMITH_KEEP"):
        made.run("destroy")
