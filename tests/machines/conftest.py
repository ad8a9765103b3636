"""Machines that are rebooted, broken, brought back, and taken as they are: a lab, and two plain hosts with a user.

Slow, and not part of ``make unit``: ``make test-machines``. KUBESMITH_KEEP=1 leaves the machines for a look.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Cluster:
    """A cluster file, and runner.py on it; ``box`` is the start of its containers' names."""

    def __init__(self, file, box, environment):
        self.file = file
        self.box = box
        self.environment = os.environ | environment

    def command(self, *words):
        verb, *rest = words
        return [sys.executable, "-m", "kubesmith.cli", verb, "--inventory", str(self.file), *rest]

    def run(self, *words, seconds=1200, **more):
        """Run runner.py without a terminal; return its CompletedProcess, both outputs in ``stdout``."""
        return subprocess.run(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
            cwd=ROOT,
            env=self.environment | more,
        )

    def verified(self, **more):
        """Fail the test if the cluster does not verify in time."""
        done = self.run("verify", "--wait", "300", **more)
        assert done.returncode == 0, done.stdout[-4000:]

    def changed(self, **more):
        """Run ``up`` again; return what it changed and how many tasks it ran, all but its backup, which is new."""
        done = self.run("up", "--json", **more)
        assert done.returncode == 0, done.stdout[-4000:]
        rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        tasks = [row for row in rows if row.get("event") == "task" and row["play"] != "Backup"]
        return [(row["host"], row["task"]) for row in tasks if row["changed"]], len(tasks)

    def podman(self, *words):
        """Run podman on a node, named last; fail the test if it fails."""
        *words, node = words
        done = subprocess.run(["podman", *words, f"{self.box}-{node}"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def on(self, node, script):
        """Run a script in a node as root, without SSH; return its output."""
        command = ["podman", "exec", f"{self.box}-{node}", "sh", "-euc", script]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def keep():
    """Tell whether machines are left."""
    return bool(os.environ.get("KUBESMITH_KEEP"))
