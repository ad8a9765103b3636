"""The podman command line, and what this machine lets a node container do."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubesmith.errors import KubesmithError

CAP_SYS_RESOURCE = 1 << 24
# podman lowers its own limit of processes to this, and with it that of every container.
PODMAN_NPROC = 32768


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


def node_flags(machine: Host) -> list[str]:
    """Return the flags with which systemd, containerd and the kubelet run in a container of this machine."""
    # podman's systemd mode gives the container a part of the cgroup v1 tree only: the kubelet finds no kubepods.slice.
    version1 = ["--systemd=false", "--env=container=podman", "--tmpfs=/run:rw,nosuid,nodev,mode=755"]
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


def podman(*arguments: str, stdin: str | None = None, check: bool = True) -> str:
    """Run podman and return what it printed; raises KubesmithError with its last words when it fails."""
    return _run(["podman", *arguments], stdin=stdin, check=check)


def podman_json(*arguments: str) -> list[dict[str, Any]]:
    """Run a podman command that answers with a JSON list."""
    return json.loads(podman(*arguments, "--format=json") or "[]") or []


def exists(kind: str, name: str) -> bool:
    """Tell whether podman has the ``container``, ``image``, ``network`` or ``volume`` called ``name``."""
    return subprocess.run(["podman", kind, "exists", name], capture_output=True, check=False).returncode == 0


def _run(command: Sequence[str], *, stdin: str | None, check: bool) -> str:
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, input=stdin or "", env=environment, capture_output=True, text=True, check=False)
    if check and done.returncode:
        words = done.stderr.strip() or done.stdout.strip() or "it said nothing"
        raise KubesmithError(
            f"`{' '.join(command[:3])} …` ended with {done.returncode}: {words.splitlines()[-1]}",
            fix=f"the whole command was: {' '.join(command)}",
        )
    return done.stdout
