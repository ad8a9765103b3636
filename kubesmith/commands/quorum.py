"""``restore --from-member``: etcd lost its majority, and goes on with the data of a member that survived."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from kubesmith import execute, report
from kubesmith.commands import restore, up
from kubesmith.errors import InputError
from kubesmith.job import Job


def run(job: Job, member: str, *, check: bool = False) -> int:
    """Carry out the verb; return 0, or 1 if it or the joining of the others failed.

    InputError, with nothing touched, for a node that has no member of etcd, and where there is a majority.
    """
    planes = [node.name for node in job.spec.machines() if node.role == "control-plane"]
    if member not in planes:
        fix = f"control planes: {', '.join(planes)}"
        raise InputError(f"{member!r} is not a control plane of {job.spec.cluster.name}", fix=fix)
    began = time.monotonic()
    with job.alone():
        found = look(job, planes)
        others = judge(found, member, planes)
        lost = [name for name in planes if name != member and name not in others]
        words = f"etcd goes on with the data of {member} alone; lost: {', '.join(lost) or 'none'}"
        job.ui.line(words + (f"; joined anew: {', '.join(others)}" if others else ""))
        if check:
            return 0
        confirm(job, member)
        variables = {
            "restore_member": member,
            "restore_others": others,
            "restore_lost": lost + others,
            "restore_authority": found[member]["authority"],
        }
        outcome = _play(job, "restore_quorum", variables, [member, *others])
    if not outcome.ok:
        report.failed(outcome, job.ui)
        return 1
    job.ui.line(f"{member} is a cluster of one member, {time.monotonic() - began:.1f} s after the start")
    if job.spec.provider == "ssh" or job.listed:
        job.ui.line("python3 runner.py up joins the other control planes, once their machines answer", always=True)
        return _done(job, member, began, 0)
    return _done(job, member, began, up.run(job))


def _done(job: Job, member: str, began: float, code: int) -> int:
    if job.ui.as_json:
        row = {"cluster": job.spec.cluster.name, "ok": code == 0, "member": member}
        print(json.dumps(row | {"seconds": round(time.monotonic() - began, 1)}))
    return code


def look(job: Job, planes: list[str]) -> dict[str, Mapping[str, Any]]:
    """Return the facts of the control planes that answer."""
    found: dict[str, Mapping[str, Any]] = {}

    def collect(result: execute.TaskResult) -> None:
        if result.action == restore.LOOK:
            found[result.host] = result.answer["restore"]

    there = [name for name in restore.there_are(job) if name in planes]
    if there:
        _play(job, "restore_look", {}, there, collect)
    return found


def judge(found: Mapping[str, Mapping[str, Any]], member: str, planes: list[str]) -> list[str]:
    """Return the other members that survived; InputError where ``member`` cannot be gone on with, or need not be."""
    facts = found.get(member)
    if facts is None:
        raise InputError(f"{member} does not answer", fix=f"those that do: {', '.join(found) or 'none'}")
    if not facts["name"]:
        raise InputError(f"{member} has no member of etcd", fix="name a control plane that ran before")
    led = [name for name, row in found.items() if row.get("leader") and not row["interrupted"]]
    if led:
        raise InputError(
            f"etcd has its majority: {', '.join(led)} answer(s); nothing is lost",
            fix="python3 runner.py up mends the rest",
        )
    others = [name for name in planes if name != member and name in found and found[name]["name"]]
    ahead = [name for name in others if _revision(found[name]) > _revision(facts)]
    if ahead:
        raise InputError(
            f"{ahead[0]} knows more than {member}: revision {_revision(found[ahead[0]])}, not {_revision(facts)}",
            fix=f"python3 runner.py restore --from-member {ahead[0]}",
        )
    return others


def _revision(facts: Mapping[str, Any]) -> int:
    return int(facts["etcd"].get("revision", 0))


def confirm(job: Job, member: str) -> None:
    """Have the cluster's name typed, unless --yes was given; InputError if it was not."""
    name = job.spec.cluster.name
    if job.assume_yes:
        return
    fix = "type the cluster's name when asked, or give --yes"
    if not sys.stdin.isatty():
        raise InputError(f"cluster {name} is not restored: nobody is there to confirm it", fix=fix)
    typed = input(
        f"The other members of etcd must be gone for good, or are reset. {member} alone goes on. Type {name}: "
    )
    if typed.strip() != name:
        raise InputError(f"cluster {name} is not restored: {typed.strip()[:80]!r} is not its name", fix=fix)


def _play(job: Job, name: str, variables: Mapping[str, Any], hosts: list[str], collect: Any = None) -> execute.Result:
    return execute.playbook(
        f"kubesmith.cluster.{name}",
        inventory=job.inventory,
        state=job.state,
        ui=job.ui,
        limit=",".join(hosts),
        variables=variables,
        kept_in="restores",
        collect=collect,
    )
