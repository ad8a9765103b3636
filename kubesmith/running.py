"""Which Kubernetes a cluster runs, as its API server tells this machine; and that ``up`` does not change it."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import Api, ApiError
from ansible_collections.kubesmith.cluster.plugins.module_utils.upgrade import numbers

from kubesmith.errors import InputError
from kubesmith.job import Job

SECONDS = 4.0  # an API server that is there answers at once
MOST_NODES = 1000


@dataclass(frozen=True)
class Running:
    """The version of the API server that answered, and {node: version of its kubelet}."""

    version: str
    kubelets: dict[str, str]


def look(job: Job) -> Running | None:
    """Return what runs, None if there is no cluster yet, or none that answers."""
    if not job.kubeconfig.exists():
        return None
    try:
        api = Api(str(job.kubeconfig), timeout=SECONDS)
        version = str(api.get("/version")["gitVersion"]).removeprefix("v")
        items = api.get(f"/api/v1/nodes?limit={MOST_NODES}")["items"]
        numbers(version)
    except (ApiError, KeyError, TypeError, ValueError):
        return None
    kubelets = {row["metadata"]["name"]: row["status"]["nodeInfo"]["kubeletVersion"].removeprefix("v") for row in items}
    return Running(version, kubelets)


def refuse_without_workers(job: Job) -> None:
    """Raise InputError for a cluster file without a worker: pods would have no place, and the playbook takes none."""
    if job.listed is None and not any(node.role == "worker" for node in job.spec.machines()):
        raise InputError(
            f"{job.file}: there is no worker, and a cluster has one at least",
            fix="workers: 1, or a node with role: worker",
        )


def refuse_other_version(job: Job) -> None:
    """Raise InputError if the cluster runs another Kubernetes than its file asks for: that is an upgrade's business."""
    found = look(job)
    if found is None:
        return
    wanted, name = job.spec.cluster.kubernetes, job.spec.cluster.name
    ours = {node.name for node in job.spec.machines()}
    others = {node: seen for node, seen in found.kubelets.items() if node in ours and seen != wanted}
    if found.version == wanted and not others:
        return
    what = f"cluster {name} runs Kubernetes {found.version}, and its file asks for {wanted}"
    if found.version == wanted:
        seen = ", ".join(f"{node} {version}" for node, version in sorted(others.items())[:5])
        what = f"cluster {name} is between two versions: the API server is {wanted}, kubelets are older ({seen})"
    back = numbers(found.version) > numbers(wanted)
    fix = f"python3 runner.py upgrade --to {wanted}"
    if back:
        fix = f"a cluster does not go back: write `kubernetes: {found.version}` into {job.file}"
    raise InputError(f"{what}; up does not change the version of a cluster that runs", fix=fix)
