"""A lab of a test's own, and runner.py on it."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = """\
plugin: kubesmith.cluster.spec
cluster:
  name: {name}
  kubernetes: {kubernetes}  # kept
provider: podman
lab: true
control_planes: {control_planes}
workers: {workers}
"""


class Lab:
    """Machines that podman made, with a cluster on them or without."""

    def __init__(self, folder, name, kubernetes="stable", control_planes=1, workers=1, more=""):
        self.name = name
        self.file = folder / "cluster.yml"
        settings = {"name": name, "kubernetes": kubernetes, "control_planes": control_planes, "workers": workers}
        self.file.write_text(FILE.format(**settings) + more)
        self.state = Path(os.environ.get("KUBESMITH_STATE", Path.home() / ".local/state/kubesmith")) / name

    def run(self, verb, *words, seconds=900, environment=None):
        """Run runner.py; return its CompletedProcess, both outputs in ``stdout``."""
        command = [sys.executable, str(ROOT / "runner.py"), verb, "--inventory", str(self.file), *words]
        return subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=seconds,
            check=False,
            env=os.environ | (environment or {}),
        )

    def must(self, verb, *words):
        """Run runner.py; return what it said, fail the test if it fails."""
        done = self.run(verb, *words)
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    def json(self, verb, *words):
        """Run a verb with --json; return its exit code and its last line, parsed."""
        done = self.run(verb, *words, "--json")
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        assert lines, done.stdout
        return done.returncode, json.loads(lines[-1])

    def on(self, node, script, interpreter="bash -es"):
        """Run a script on a node as root; return its output, fail the test if it fails."""
        command = ["ssh", "-F", str(self.state / "ssh_config"), node, interpreter]
        done = subprocess.run(command, input=script, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, f"{node}: {script}\n{done.stdout}{done.stderr}"
        return done.stdout


def made(folder, name, kubernetes="stable", **nodes):
    """Yield a lab whose nodes run, and remove it; KUBESMITH_KEEP=1 leaves it for a look."""
    lab = Lab(folder, name, kubernetes, **nodes)
    try:
        lab.must("up", "--only", "bundle", "--only", "nodes")
        yield lab
    finally:
        if not os.environ.get("KUBESMITH_KEEP"):
            lab.run("destroy", "--yes")
