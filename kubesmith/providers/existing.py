"""Machines that exist already and are reached by SSH; making and unmaking them is not our business."""

from __future__ import annotations

import getpass
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ansible_collections.kubesmith.cluster.plugins.plugin_utils import inventory as builder
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import Spec

from kubesmith import paths
from kubesmith.errors import InputError
from kubesmith.machines import Machine
from kubesmith.progress import Progress
from kubesmith.providers import ssh
from kubesmith.providers.base import MachineStatus
from kubesmith.providers.snapshots import Snapshot

#: Where a password may come from, in this order; else a terminal is asked. The second of each is Ansible's own.
SSH_PASSWORD = ("KUBESMITH_SSH_PASSWORD", "ANSIBLE_CONNECTION_PASSWORD_FILE")
SUDO_PASSWORD = ("KUBESMITH_BECOME_PASSWORD", "ANSIBLE_BECOME_PASSWORD_FILE")
SOCKETS = "KUBESMITH_SSH_SOCKETS"  # read where the inventory is made: connections that are open need no password
OPTIONS = (
    *("-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR", "-o", "StrictHostKeyChecking=yes"),
    *("-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=6"),  # a connection that is shared must notice its end
)
#: What ssh says, and what that means.
TROUBLES: tuple[tuple[str, str, str], ...] = (
    (
        r"IDENTIFICATION HAS CHANGED",
        "its SSH host key is not the one that is known: somebody else may be answering",
        "if the machine was installed again, and only then: {forget}, and take its new key",
    ),
    (
        r"[Hh]ost key is known|Host key verification failed",
        "its SSH host key is not known here",
        "compare the fingerprint with the machine's console, once: {ssh}",
    ),
    (
        r"[Pp]ermission denied|Too many authentication failures",
        "it does not let {user} in",
        "check access.user and access.key, or whether the machine takes passwords",
    ),
    (
        r"timed out|[Nn]o route|refused|not resolve|unreachable|closed by|reset by",
        "it does not answer: {words}",
        "look whether it runs, and whether this works: {ssh}",
    ),
)
#: What the ssh behind a jump host says when that one has given up; what it gave up for stands before.
BEHIND_JUMP = re.compile(r"(?P<first>(?:.*\n)*)(?:kex_exchange_identification: |Connection closed by UNKNOWN)")
Result = TypeVar("Result")
DENIED = TROUBLES[2][1]
NEEDS_PASSWORD = re.compile(r"password is required|a terminal is required|no tty present|no password was provided")


@dataclass(frozen=True)
class Answer:
    """How a host answered the first question: "" or what is wrong, what to do; whether sudo wants a password."""

    host: str
    problem: str = ""
    fix: str = ""
    wants_ssh_password: bool = False
    wants_sudo_password: bool = False


@dataclass(frozen=True)
class Way:
    """The way to one host: its inventory variables as an ssh command line."""

    name: str
    variables: Mapping[str, Any]

    @property
    def user(self) -> str:
        """Who enters."""
        return str(self.variables["ansible_user"])

    def command(self, *options: str) -> list[str]:
        """Return the ssh command line, without what is to be run there."""
        return ["ssh", *OPTIONS, *options, *self._where()]

    def _where(self) -> list[str]:
        words = shlex.split(str(self.variables.get("ansible_ssh_common_args", "")))
        if key := self.variables.get("ansible_ssh_private_key_file"):
            words += ["-i", str(Path(key).expanduser())]
        return [*words, "-p", str(self.variables["ansible_port"]), f"{self.user}@{self.variables['ansible_host']}"]

    def look(self) -> Answer:
        """Ask whether the host lets us in and whether sudo does, without any password."""
        sudo = "true" if self.user == "root" else "sudo -n true"
        done = _run([*self.command("-o", "BatchMode=yes"), f"LC_ALL=C {sudo}"])
        if done.returncode == 0:
            return Answer(self.name)
        if done.returncode == 255:
            return self._trouble(done.stderr)
        if NEEDS_PASSWORD.search(done.stderr):
            return Answer(self.name, wants_sudo_password=True)
        return Answer(self.name, f"sudo does not let {self.user} be root: {_last(done.stderr)}", "allow it in sudoers")

    def _trouble(self, said: str) -> Answer:
        facts = {
            "user": self.user,
            "words": _last(said),
            "forget": self._forget(),
            "ssh": shlex.join(["ssh", *self._where()]),
        }
        if (jump := self._jump()) and (found := BEHIND_JUMP.search(said)):
            first = found["first"].strip().splitlines()
            words = first[-1] if first else "it closes the connection"
            return Answer(self.name, f"the bastion {jump} does not lead to it: {words}", f"try it: {facts['ssh']}")
        for pattern, meaning, fix in TROUBLES:
            if re.search(pattern, said):
                return Answer(self.name, meaning.format(**facts), fix.format(**facts), meaning == DENIED)
        return Answer(self.name, f"ssh failed: {_last(said)}", facts["ssh"])

    def _jump(self) -> str:
        """Return the jump hosts on the way, an empty string for none."""
        words = shlex.split(str(self.variables.get("ansible_ssh_common_args", "")))
        return words[words.index("-J") + 1] if "-J" in words[:-1] else ""

    def _forget(self) -> str:
        """Return the command that takes the host's key out of the file that is looked at."""
        host, port = self.variables["ansible_host"], self.variables["ansible_port"]
        options = shlex.split(str(self.variables.get("ansible_ssh_common_args", "")))
        files = [word.partition("=")[2] for word in options if word.startswith("UserKnownHostsFile=")]
        where = ["-f", files[0]] if files else []
        return shlex.join(["ssh-keygen", *where, "-R", str(host) if port == 22 else f"[{host}]:{port}"])

    def open(self, environment: Mapping[str, str]) -> Answer:
        """Open the connection that all others share, with a password that ssh gets from a program of ours."""
        options = ("-o", "NumberOfPasswordPrompts=1", "-o", "PreferredAuthentications=password,keyboard-interactive")
        done = _run([*self.command(*options), "true"], environment=environment)
        return Answer(self.name) if done.returncode == 0 else self._trouble(done.stderr)

    def sudo(self, password: str) -> bool:
        """Tell whether sudo takes the password."""
        command = [*self.command("-o", "BatchMode=yes"), "LC_ALL=C sudo -k -S -p '' true"]
        return _run(command, said=password + "\n").returncode == 0


@dataclass(frozen=True)
class ExistingProvider:
    """Answers the provider's interface for the nodes listed in a cluster file."""

    spec: Spec

    def check(self) -> None:
        """Raise InputError for every host that does not let us in, or not be root; ask for passwords where needed."""
        answers = self.enter()
        if bad := [answer for answer in answers if answer.problem]:
            rows = [f"{answer.host}: {answer.problem}" for answer in bad]
            raise InputError("\n".join(rows), fix="; ".join(dict.fromkeys(answer.fix for answer in bad)))

    def enter(self, names: Collection[str] = ()) -> list[Answer]:
        """Have the passwords that the hosts want, all or only ``names``; return how each answered.

        InputError for a password that is wrong.

        The passwords stay in this process's environment, where Ansible and the checks find them; no file holds them.
        """
        if (key := self.spec.access.key) and not os.access(Path(key).expanduser(), os.R_OK):
            raise InputError(
                f"access.key: {key} is not there, or cannot be read", fix="correct the path, or leave it to ssh"
            )
        ways = [way for way in self._ways() if not names or way.name in names]
        answers = _each(Way.look, ways)
        if any(answer.wants_ssh_password for answer in answers) and _obtainable(SSH_PASSWORD):
            ways, answers = self._with_password(answers)
        wanting = [way for way, answer in zip(ways, answers, strict=True) if answer.wants_sudo_password]
        if wanting:
            _sudo(wanting)
        return answers

    def _ways(self) -> list[Way]:
        state = str(paths.state(self.spec.cluster.name))
        sockets = os.environ.get(SOCKETS, "")
        built = builder.build(self.spec, [], state=state, bundle="", sockets=sockets)
        return [Way(name, variables) for name, variables in built.hosts.items()]

    def _with_password(self, answers: Sequence[Answer]) -> tuple[list[Way], list[Answer]]:
        """Open a connection by password to those hosts that want one, for everything after it to use."""
        state = paths.make_private(paths.state(self.spec.cluster.name))
        os.environ[SOCKETS] = str(paths.make_private(ssh.sockets(state)))
        ways = self._ways()
        user = ways[0].user
        password = _password(SSH_PASSWORD, f"SSH password of {user}: ")
        asker = _program(state / "ssh-password", SSH_PASSWORD[0])
        environment = os.environ | {
            SSH_PASSWORD[0]: password,
            "SSH_ASKPASS": str(asker),
            "SSH_ASKPASS_REQUIRE": "force",
            "DISPLAY": os.environ.get("DISPLAY", "none"),
        }
        wanting = [way for way, answer in zip(ways, answers, strict=True) if answer.wants_ssh_password]
        refused = [answer.host for answer in _each(lambda way: way.open(environment), wanting) if answer.problem]
        if refused:
            raise InputError(
                f"{', '.join(refused)} refuses the SSH password of {user}", fix="type the right one, or set access.key"
            )
        # Only these are asked again: over a connection that an earlier run left open, a host whose key is unknown here
        # would answer as if it were.
        again = {answer.host: answer for answer in _each(Way.look, wanting)}
        return ways, [again.get(answer.host, answer) for answer in answers]

    def create(self, progress: Progress, only: Collection[str] = ()) -> Sequence[Machine]:
        """Return nothing: the inventory takes addresses from the cluster file itself."""
        for node in self.spec.machines():
            if only and node.name not in only:
                continue
            progress.done(node.name, f"listed at {node.address}", changed=False)
        return []

    def remove(self, names: Collection[str], progress: Progress) -> None:
        """Leave the machines: they are not ours."""
        for name in names:
            progress.done(name, "its machine stays", changed=False)

    def status(self) -> Sequence[MachineStatus]:
        """Return each node as ``listed``: whether it answers is for ``verify`` to find out."""
        return [MachineStatus(node.name, "listed", str(node.address)) for node in self.spec.machines()]

    def stop(self, progress: Progress) -> None:
        """Refuse: these machines may do other work."""
        raise InputError("provider ssh does not stop machines", fix="shut them down yourself")

    def snapshots(self) -> Sequence[Snapshot]:
        """Return none."""
        return []

    def save(self, name: str, progress: Progress) -> None:
        """Refuse: their disks are not ours."""
        raise _no_snapshots()

    def restore(self, name: str, progress: Progress) -> Sequence[Machine]:
        """Refuse: their disks are not ours."""
        raise _no_snapshots()

    def delete(self, name: str, progress: Progress) -> None:
        """Refuse: their disks are not ours."""
        raise _no_snapshots()

    def destroy(self, progress: Progress) -> None:
        """Refuse: these machines are not ours to remove."""
        raise InputError(
            "provider ssh does not destroy machines", fix="python3 runner.py reset takes the cluster off them"
        )


def _no_snapshots() -> InputError:
    return InputError(
        "provider ssh keeps no snapshots: the machines' disks are not ours", fix="use what the machines' platform has"
    )


def _sudo(wanting: Sequence[Way]) -> None:
    """Have the password for sudo, and have Ansible find it; InputError if a host refuses it."""
    names = ", ".join(way.name for way in wanting)
    user = wanting[0].user
    if not _obtainable(SUDO_PASSWORD):
        raise InputError(
            f"sudo wants the password of {user} on {names}, and there is no terminal to ask",
            fix=f"set {SUDO_PASSWORD[0]}, or {SUDO_PASSWORD[1]} to a file that holds it",
        )
    password = _password(SUDO_PASSWORD, f"sudo password of {user}: ")
    taken = _each(lambda way: way.sudo(password), wanting)
    refused = [way.name for way, right in zip(wanting, taken, strict=True) if not right]
    if refused:
        raise InputError(f"sudo refuses the password of {user} on {', '.join(refused)}", fix="type the right one")
    os.environ[SUDO_PASSWORD[0]] = password
    folder = paths.make_private(paths.cache())
    os.environ[SUDO_PASSWORD[1]] = str(_program(folder / "sudo-password", SUDO_PASSWORD[0]))


def _obtainable(sources: tuple[str, str]) -> bool:
    return any(os.environ.get(source) for source in sources) or sys.stdin.isatty()


def _password(sources: tuple[str, str], question: str) -> str:
    """Return a password from the environment, from Ansible's file, or from the terminal."""
    variable, file = sources
    if value := os.environ.get(variable):
        return value
    if path := os.environ.get(file):
        try:
            return Path(path).read_text().splitlines()[0]
        except (OSError, IndexError) as error:
            raise InputError(f"{file} names {path}, which holds no password", fix="its first line is taken") from error
    return getpass.getpass(question, stream=sys.stderr)


def _program(file: Path, variable: str) -> Path:
    """Write a program that prints what ``variable`` holds: ssh and Ansible take a password from nothing else."""
    partial = file.with_suffix(".new")
    partial.write_text(f"#!/bin/sh\nprintf '%s\\n' \"${variable}\"\n")
    partial.chmod(0o700)
    partial.replace(file)
    return file


def _run(
    command: Sequence[str], *, said: str = "", environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=said, env=environment, capture_output=True, text=True, check=False)


def _last(words: str) -> str:
    rows = [row.strip() for row in words.splitlines() if row.strip()]
    return rows[-1] if rows else "it said nothing"


def _each(work: Callable[[Way], Result], ways: Sequence[Way]) -> list[Result]:
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(work, ways))
