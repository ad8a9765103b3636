"""``export``: kubeadm's, containerd's and Calico's files and the commands by which a person makes the same cluster."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.plugin_utils import inventory as builder

from kubesmith import execute, export, machines, report
from kubesmith.errors import InputError
from kubesmith.job import Job, ssh_argv


def run(job: Job, folder: Path) -> int:
    """Write the export into ``folder``, which must be new or empty; return 0. Nothing is asked of a node."""
    bundle = job.bundle / "bundle.json"
    if job.listed:
        raise InputError("an ordinary inventory is not exported", fix="write a cluster file: see docs/cluster-file.md")
    if absent := job.not_made():
        raise InputError(
            f"machines have not been made, and so have no address: {', '.join(absent)}",
            fix="python3 runner.py up --only nodes",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty", fix="name a folder that does not exist")
    if not bundle.exists():
        raise InputError(f"there is no bundle at {job.bundle}", fix="python3 runner.py bundle build")
    plan = _plan(job, json.loads(bundle.read_text()))
    outcome = execute.playbook(
        "kubesmith.cluster.export",
        inventory=job.inventory,
        state=job.state,
        ui=job.ui,
        variables={"export_dest": str(folder.absolute())},
        kept_in="exports",
    )
    if not outcome.ok:
        report.failed(outcome, job.ui)
        return 1
    for path, (text, mode) in export.files(plan).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as out:
            out.write(text)
        target.chmod(mode)
    written = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    if job.ui.as_json:
        print(json.dumps({"cluster": job.spec.cluster.name, "folder": str(folder), "files": written}))
    else:
        job.ui.line(f"{len(written)} files in {folder}; begin with {folder / 'README.md'}", always=True)
    return 0


def _plan(job: Job, bundle: dict[str, Any]) -> export.Plan:
    rows = [vars(machine) for machine in machines.load(job.state)]
    made = builder.build(job.spec, rows, state=str(job.state), bundle=str(job.bundle))
    return export.Plan(
        job.spec,
        made,
        bundle,
        (job.bundle / "manifests" / "calico-vxlan.yml").read_text(),
        {name: ssh_argv(variables) for name, variables in made.hosts.items()},
        made.groups["kube_control_plane"],
        made.groups["kube_node"],
    )
