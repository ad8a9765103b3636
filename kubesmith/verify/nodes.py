"""The nodes of an Ansible inventory, reached the way testinfra reaches them, and asked with one command each."""

from __future__ import annotations

import base64
import json
import os
import shlex
import subprocess
import tempfile
import zlib
from functools import cache, cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kubesmith.job import ssh_argv
from kubesmith.providers.existing import SUDO_PASSWORD as SUDO_PASSWORDS
from kubesmith.verify import background

SUDO_PASSWORD = SUDO_PASSWORDS[0]
SSH_FAILED = 255  # ssh's exit code when it is ssh that failed
REMOTE = Path(__file__).parent / "remote"
CONTROL_PLANE, WORKER = "kube_control_plane", "kube_node"
# BatchMode: a question for a password must fail and not wait. A frozen node is given up after ten seconds.
SSH_OPTIONS = "-o BatchMode=yes -o ConnectTimeout=5 -o ServerAliveInterval=5 -o ServerAliveCountMax=2"
LOADER = """\
import base64, json, sys, types, zlib
sources, script, question = json.loads(zlib.decompress(base64.b64decode(sys.argv[1])))
for name, source in sources:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, name, "exec"), module.__dict__)
print(json.dumps(sys.modules[script].main(question)))
"""


class Unreachable(Exception):
    """A node did not answer over SSH; the text says why."""


class Node:
    """One node: its name, its inventory variables, and the scripts it can be asked to run.

    ``host`` is testinfra's Host, for checks that want its modules (``host.service``, ``host.socket`` …).
    """

    def __init__(self, host: Any) -> None:
        self.host = host
        self.variables: dict[str, Any] = host.ansible.get_variables()
        self.name: str = self.variables["inventory_hostname"]

    def __repr__(self) -> str:
        return self.name

    @property
    def is_control_plane(self) -> bool:
        """Tell whether the inventory makes this node a control plane."""
        return self.name in self.variables["groups"].get(CONTROL_PLANE, [])

    @property
    def is_worker(self) -> bool:
        """Tell whether the inventory makes this node a plain worker."""
        return not self.is_control_plane and self.name in self.variables["groups"].get(WORKER, [])

    @property
    def is_container(self) -> bool:
        """Tell whether this node shares its host's kernel, clock and limits."""
        return bool(self.variables.get("kubesmith_container_node", False))

    @property
    def patience(self) -> float:
        """How many times longer than usual its answers may take: its processor may be emulated."""
        return float(self.variables.get("kubesmith_patience", 1))

    @property
    def address(self) -> str:
        """The address that kubelet, API server and Calico are to use."""
        role = "kubeadm_master" if self.is_control_plane else "kubeadm_worker"
        wanted = self.variables.get("kubesmith_node_address") or self.variables.get(f"{role}_node_address")
        return str(wanted or self.ssh_host)

    @property
    def ssh_host(self) -> str:
        """The name or address that SSH connects to."""
        return str(self.variables.get("ansible_host", self.name))

    @cached_property
    def _python(self) -> str:
        """The command that starts Python as root."""
        python = shlex.quote(str(self.variables.get("ansible_python_interpreter", "python3")))
        python = "python3" if python.startswith("auto") else python
        if SUDO_PASSWORD in os.environ and self.variables.get("ansible_user") != "root":
            return f"sudo -S -p '' {python}"
        return (
            python
            if self.variables.get("ansible_user") == "root"
            else f'$([ "$(id -u)" = 0 ] || echo sudo -n) {python}'
        )

    def prepare(self) -> None:
        """Make SSH share one connection, fail rather than ask, and give up in time."""
        self.variables["ansible_ssh_extra_args"] = " ".join(
            [str(self.variables.get("ansible_ssh_extra_args", "")), SSH_OPTIONS, self._sharing()]
        ).strip()

    def _sharing(self) -> str:
        """Return the options that make all commands to this node share one connection, if its ssh_config has none."""
        words = shlex.split(str(self.variables.get("ansible_ssh_common_args", "")))
        shown = subprocess.run(["ssh", "-G", *words, self.ssh_host], capture_output=True, text=True, check=False)
        if "\ncontrolpath " in shown.stdout:
            return ""
        return f"-o ControlMaster=auto -o ControlPersist=60s -o ControlPath={_sockets()}/%C"

    def ask(self, script: str, question: dict[str, Any], *, seconds: float = 60) -> dict[str, Any]:
        """Run ``remote/SCRIPT.py`` on the node and return its answer.

        Raises Unreachable when SSH fails or nothing came within ``seconds``, RuntimeError when the script fails.
        """
        command = f"{self._python} -c {shlex.quote(LOADER)} {package(script, question)}"
        try:
            done = background.start(self._run, command).result(timeout=seconds * self.patience)
        except TimeoutError:
            raise Unreachable(f"no answer within {seconds * self.patience:.0f} s") from None
        except RuntimeError as error:  # testinfra's way to say that ssh itself failed
            raise Unreachable(_last_words(error)) from None
        if done.rc != 0:
            raise RuntimeError(f"{script} on {self.name}: {done.stderr.strip()[-1500:]}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def _run(self, command: str) -> Any:
        """Run a command by testinfra; by ssh itself where sudo reads a password, for which testinfra has no place."""
        password = os.environ.get(SUDO_PASSWORD)
        if password is None or self.variables.get("ansible_user") == "root":
            return self.host.run(command)
        words = ["ssh", *shlex.split(str(self.variables["ansible_ssh_extra_args"]))]
        words += [*ssh_argv(self.variables)[1:], command]
        done = subprocess.run(words, input=f"{password}\n", capture_output=True, text=True, check=False)
        if done.returncode == SSH_FAILED:
            raise RuntimeError(done.stderr)
        return SimpleNamespace(rc=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def journal(self, lines: int = 30) -> list[str]:
        """Return the last lines that kubelet and containerd wrote."""
        sudo = "" if self.variables.get("ansible_user") == "root" else "sudo -n "
        command = f"{sudo}journalctl -u kubelet -u containerd -n {lines} --no-pager --no-hostname -o short-iso"
        try:
            text = str(background.start(self.host.run, command).result(timeout=15).stdout)
        except (TimeoutError, RuntimeError):
            return []
        return [line for line in text.splitlines() if not line.startswith("-- ")]


def plain(value: Any) -> Any:
    """Return an inventory without the wrapping that ansible-inventory puts around strings of inventory plugins.

    Since ansible-core 2.19 such a string is shown as {"__ansible_unsafe": "…"}, which testinfra takes for the value.
    """
    if isinstance(value, dict):
        return (
            value["__ansible_unsafe"] if set(value) == {"__ansible_unsafe"} else {k: plain(v) for k, v in value.items()}
        )
    return [plain(item) for item in value] if isinstance(value, list) else value


@cache
def _sockets() -> str:
    return tempfile.mkdtemp(prefix="kubesmith-ssh-", dir="/tmp")


@cache
def _sources() -> list[tuple[str, str]]:
    """Return the scripts as (module name, source), each after those that it imports."""
    order = ("common", "facts", "later", "cluster", "probe", "paths", "workload")
    return [(f"kubesmith.verify.remote.{name}", (REMOTE / f"{name}.py").read_text()) for name in order]


def package(script: str, question: dict[str, Any]) -> str:
    """Return scripts and question as one word for a command line (far below the kernel's 128 KiB for a word)."""
    return packed(_sources(), f"kubesmith.verify.remote.{script}", question)


def packed(sources: list[tuple[str, str]], module: str, question: dict[str, Any]) -> str:
    """Return ``sources`` (module name and text), the module to run and its question as one word for LOADER."""
    text = json.dumps([sources, module, question])
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _last_words(error: RuntimeError) -> str:
    """Return what ssh said last, out of testinfra's CommandResult."""
    result = error.args[0] if error.args else None
    said = str(getattr(result, "stderr", "") or error).strip().splitlines()
    return said[-1] if said else "ssh failed without a word"
