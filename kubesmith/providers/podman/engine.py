"""The podman command line, and what this machine lets a node container do."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubesmith.errors import KubesmithError

CAP_SYS_RESOURCE = 1 << 24
# podman lowers its own limit of processes to this, and with it that of every container.
PODMAN_NPROC = 32768
OTHERS_SECONDS = 60
#: A list fails where another lab removes something while it is made: "no such volume", "no volume with name …".
GONE = re.compile(r"\bno such\b|\bno \w+ with (name|ID)\b", re.IGNORECASE)
TRIES = 20
#: The words by which podman is told to change something.
CHANGES = {"commit", "create", "rm", "run", "start", "stop", "unpause"}


@dataclass(frozen=True)
class Host:
    """What decides a node container's flags: the cgroup version, and the limits where they may not be raised."""

    cgroup_v2: bool
    may_raise_limits: bool
    nofile: int
    nproc: int


def host() -> Host:
    """Read this machine's Host from the kernel."""
    return Host(
        cgroup_v2=Path("/sys/fs/cgroup/cgroup.controllers").exists(),
        may_raise_limits=bool(_effective_capabilities() & CAP_SYS_RESOURCE),
        nofile=_hard_limit(resource.RLIMIT_NOFILE),
        nproc=_hard_limit(resource.RLIMIT_NPROC),
    )


def _hard_limit(kind: int) -> int:
    hard = resource.getrlimit(kind)[1]
    return 2**20 if hard == resource.RLIM_INFINITY else hard


def _effective_capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def runtime_flags(machine: Host) -> list[str]:
    """Return podman's own flags: crun, its usual runtime, refuses the hybrid hierarchies of cgroup v1."""
    return [] if machine.cgroup_v2 else ["--runtime", "runc"]


#: From release 256 on, which Debian 13 has, systemd starts on cgroups v1 only when its command line says so.
LEGACY = "systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"


def node_flags(machine: Host, debian: int = 12) -> list[str]:
    """Return the flags with which systemd, containerd and the kubelet run in a container of this machine."""
    # podman's systemd mode gives the container a part of the cgroup v1 tree only: the kubelet finds no kubepods.slice.
    version1 = ["--systemd=false", "--env=container=podman", "--tmpfs=/run:rw,nosuid,nodev,mode=755"]
    version1 += [f"--env=SYSTEMD_PROC_CMDLINE={LEGACY}"] if debian > 12 else []
    return [
        "--privileged",
        "--cgroupns=private",
        "--no-hosts",
        *(["--systemd=always"] if machine.cgroup_v2 else version1),
        *(f"--ulimit={limit}" for limit in _limits(machine)),
    ]


def _limits(machine: Host) -> list[str]:
    """Return the limits that podman would else raise, as they are, where the kernel refuses to raise any."""
    limits = {"nofile": machine.nofile, "nproc": min(machine.nproc, PODMAN_NPROC)}
    return [] if machine.may_raise_limits else [f"{name}={value}:{value}" for name, value in limits.items()]


def podman(*arguments: str, check: bool = True) -> str:
    """Run podman and return what it printed; raises KubesmithError with its last words when it fails.

    An interrupted podman leaves half a container behind that it denies afterwards. So it runs out of the terminal's
    reach, and ^C waits for it; ``exec``, which may wait for long and leaves nothing, is the exception.
    """
    command = ["podman", *arguments]
    apart = arguments[0] != "exec"
    with subprocess.Popen(
        command,
        env=os.environ | {"LC_ALL": "C.UTF-8"},
        start_new_session=apart,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        try:
            output, errors = run.communicate()
        except BaseException:
            if not apart:
                run.kill()
            raise  # leaving the block waits for podman
    if check and run.returncode:
        words = errors.strip() or output.strip() or "it said nothing"
        raise KubesmithError(
            f"`{' '.join(command[:3])} …` ended with {run.returncode}: {words.splitlines()[-1]}",
            fix=f"the whole command was: {shlex.join(command)}",
        )
    return output


def listed(*arguments: str) -> str:
    """Run a podman command that lists what there is; again where something went while it looked."""
    for _ in range(TRIES):
        try:
            return podman(*arguments)
        except KubesmithError as error:
            if not GONE.search(str(error)):
                raise
        time.sleep(0.1)
    return podman(*arguments)


def podman_json(*arguments: str) -> list[dict[str, Any]]:
    """Run a podman command that answers with a JSON list."""
    return json.loads(listed(*arguments, "--format=json") or "[]") or []


def exists(kind: str, name: str) -> bool:
    """Tell whether podman has the ``container``, ``image``, ``network`` or ``volume`` called ``name``."""
    return subprocess.run(["podman", kind, "exists", name], capture_output=True, check=False).returncode == 0


def wait_for_others(name: str) -> None:
    """Wait for every podman that still changes a thing called ``name…``: the run that began it may have been killed."""
    deadline = time.monotonic() + OTHERS_SECONDS
    while process := _changing(name):
        if time.monotonic() > deadline:
            raise KubesmithError(f"podman (process {process}) is still at work on {name}", fix=f"kill {process}")
        time.sleep(0.1)


def _changing(name: str) -> str:
    """Return the process number of a podman that changes a thing called ``name…``, "" where there is none."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_text(errors="replace").split("\0")
        except OSError:  # it ended just now
            continue
        if Path(words[0]).name == "podman" and CHANGES & set(words) and any(name in word for word in words):
            return file.parent.name
    return ""
