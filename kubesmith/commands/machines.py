"""``down``, ``destroy``, ``ssh`` and ``kubectl``: the machines and the way to them."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence

from kubesmith import kube
from kubesmith.errors import InputError
from kubesmith.job import Job, ssh_argv


def down(job: Job) -> int:
    """Stop the machines; ``up`` starts them again with their data."""
    with job.alone(), job.ui.phase("down", "Stop machines") as progress:
        job.provider().stop(progress)
    return 0


def destroy(job: Job) -> int:
    """Remove the machines and everything else of this cluster. What is no lab is confirmed, or --yes is given."""
    if not (job.assume_yes or job.spec.lab):
        if not sys.stdin.isatty():
            name = job.spec.cluster.name
            raise InputError(f"cluster {name} is not destroyed: nobody is there to confirm it", fix="give --yes")
        answer = input(f"Destroy cluster {job.spec.cluster.name} and all its data? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            raise InputError("not destroyed: not confirmed", fix="answer y, or give --yes")
    with job.alone(), job.ui.phase("destroy", "Destroy machines") as progress:
        job.provider().destroy(progress)
    return 0


def ssh(job: Job, arguments: Sequence[str]) -> int:
    """Replace this process by ssh to a node; further words are a command to run there."""
    hosts = job.hosts()
    if not arguments:
        raise InputError("ssh needs the name of a node", fix=f"nodes: {', '.join(hosts)}")
    if arguments[0] not in hosts:
        near = difflib.get_close_matches(arguments[0], hosts, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise InputError(
            f"{arguments[0]!r} is not a node of {job.spec.cluster.name}", fix=f"{meant}nodes: {', '.join(hosts)}"
        )
    variables = hosts[arguments[0]]
    if str(variables["ansible_host"]).endswith(".not-made.invalid"):
        raise InputError(f"the machine of {arguments[0]} has not been made", fix="python3 runner.py up")
    argv = [*ssh_argv(variables), *arguments[1:]]
    os.execvp(argv[0], argv)  # noqa: S606 - the user's own command, no shell between


def kubectl(job: Job, arguments: Sequence[str]) -> int:
    """Replace this process by kubectl with the cluster's kubeconfig."""
    binary = kube.binary()
    os.execve(binary, [binary, *arguments], kube.environment(job.kubeconfig))  # noqa: S606 - as above
