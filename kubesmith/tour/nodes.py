"""The nodes as a tour reaches them: root's shell, and scripts of ours that answer with data."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from kubesmith.errors import KubesmithError
from kubesmith.job import Job, ssh_argv
from kubesmith.providers.existing import SUDO_PASSWORD as SUDO_PASSWORDS
from kubesmith.verify import remote as verify_remote
from kubesmith.verify.nodes import LOADER, SSH_FAILED, SSH_OPTIONS, packed

SUDO_PASSWORD = SUDO_PASSWORDS[0]
REMOTE = Path(__file__).parent / "remote"
SHARED = ("common", "paths")  # of verify's
MODULES = ("flow", "runtime", "serve", "inside")


LOCK = "/run/kubesmith-tour.lock"


class Unreachable(KubesmithError):
    """A node did not answer over SSH."""


class Nodes:
    """The nodes of one cluster by name."""

    def __init__(self, job: Job) -> None:
        self.variables: Mapping[str, dict[str, Any]] = job.hosts()
        machines = job.spec.machines()
        self.control_planes = [machine.name for machine in machines if machine.role == "control-plane"]
        self.workers = [machine.name for machine in machines if machine.role != "control-plane"]
        self.job = job

    def run(self, name: str, script: str, *, seconds: float = 60, check: bool = True) -> str:
        """Run a shell script on a node as root and return its output, stripped.

        Raises Unreachable when SSH fails or nothing came within ``seconds``; KubesmithError, unless ``check`` is off,
        when the script ends with another code than 0.
        """
        # A script goes on when whoever started it was killed. One at a time: the way back waits until it has ended,
        # else it finds nothing to take back, and the change is made after it.
        return self._root(name, f"flock -o {LOCK} bash -ec {shlex.quote(script)}", seconds, check)

    def ask(self, name: str, script: str, question: Mapping[str, Any], *, seconds: float = 60) -> dict[str, Any]:
        """Run ``remote/SCRIPT.py`` on a node as root and return its answer; raises as ``run`` does."""
        package = packed(_sources(), f"kubesmith.tour.remote.{script}", dict(question))
        python = str(self.variables[name].get("ansible_python_interpreter", "python3"))
        python = "python3" if python.startswith("auto") else shlex.quote(python)
        answer: dict[str, Any] = json.loads(
            self._root(name, f"{python} -c {shlex.quote(LOADER)} {package}", seconds, check=True)
        )
        return answer

    def put(self, name: str, place: str, content: str, *, seconds: float = 180) -> None:
        """Write a file, given in base64, mode 0600, on a node."""
        script = f"install -d -m 700 $(dirname {place}) && umask 077 && base64 -d > {place}"
        self._root(name, f"bash -ec {shlex.quote(script)}", seconds, check=True, given=content)

    def address(self, name: str) -> str:
        """Return the address that the node's kubelet uses."""
        variables = self.variables[name]
        return str(variables.get("kubesmith_node_address") or variables["ansible_host"])

    def _root(self, name: str, command: str, seconds: float, check: bool, given: str = "") -> str:
        variables = self.variables[name]
        words, password = command, ""
        if variables.get("ansible_user") != "root":
            password = os.environ.get(SUDO_PASSWORD, "")
            words = f"sudo -S -p '' {command}" if password else f"sudo -n {command}"
        argv = ["ssh", *shlex.split(SSH_OPTIONS), *ssh_argv(variables)[1:], words]
        try:
            done = subprocess.run(
                argv,
                input=f"{password}\n{given}" if password else given,
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Unreachable(f"{name} did not answer within {seconds:.0f} s") from error
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        if done.returncode == SSH_FAILED:
            raise Unreachable(f"{name} cannot be reached: {said[-1] if said else 'ssh failed without a word'}")
        if done.returncode and check:
            raise KubesmithError(f"{name}: {said[-1] if said else f'a command ended with {done.returncode}'}")
        return done.stdout.strip()


@cache
def _sources() -> list[tuple[str, str]]:
    """Return the scripts as (module name, source), each after those that it imports."""
    folder = Path(verify_remote.__file__).parent
    rows = [(f"kubesmith.verify.remote.{name}", (folder / f"{name}.py").read_text()) for name in SHARED]
    return rows + [(f"kubesmith.tour.remote.{name}", (REMOTE / f"{name}.py").read_text()) for name in MODULES]
