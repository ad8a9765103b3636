"""What must be so before a tour changes anything: a lab, well, with nobody else at work, and full rights on it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from kubesmith import milestones
from kubesmith.errors import KubesmithError
from kubesmith.job import Job
from kubesmith.tour.api import Cluster, Denied, Unanswered
from kubesmith.tour.nodes import Nodes
from kubesmith.tour.texts import Texts

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
FEWEST = 3  # letters of which a name can be told
SHOWN = 3  # reasons why a cluster is sick


def near(name: str, known: Iterable[str]) -> str:
    """Return the known name that ``name`` was likely meant to be, empty where none is near."""
    names = list(known)
    found = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    inside = [other for other in names if len(name) >= FEWEST and name.lower() in other]
    return (found or inside or [""])[0]


def chosen(name: str, known: Iterable[str], texts: Texts, what: str) -> str:
    """Return ``name``; InputError, with the nearest one, if none of ``what`` (tour, exercise) is called so."""
    names = list(known)
    if name in names:
        return name
    meant = near(name, names)
    hint = texts("fixes.meant", name=meant) if meant else ""
    error = texts.error(f"unknown_{what}", name=name[:80], known=", ".join(names))
    error.fix = f"{hint} {error.fix}".strip()
    raise error


def lab(job: Job, texts: Texts) -> None:
    """Raise InputError unless the cluster file says that the cluster may be broken."""
    if not job.spec.lab:
        raise texts.error("not_a_lab", cluster=job.spec.cluster.name, file=job.file)


def reachable(job: Job, texts: Texts) -> Cluster:
    """Return the way to the API server; InputError if there is no cluster, or no permission."""
    job.require_machines()
    if not job.kubeconfig.exists():
        raise texts.error("no_cluster", cluster=job.spec.cluster.name, kubeconfig=job.kubeconfig)
    if not os.access(job.kubeconfig, os.R_OK):
        raise texts.error("unreadable", file=job.kubeconfig)
    try:
        return Cluster(job.kubeconfig)
    except (RuntimeError, OSError, ValueError) as error:
        raise texts.error("kubeconfig", file=job.kubeconfig, why=error) from error


def rights(api: Cluster, texts: Texts) -> None:
    """Raise InputError unless the kubeconfig's user may do everything, or if the API server does not answer."""
    asked = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "metadata": {"name": ""},
        "spec": {"resourceAttributes": {"verb": "*", "group": "*", "resource": "*"}},
    }
    try:
        answer = api.create(asked)
    except Denied as error:
        raise texts.error("no_rights", why=error) from error
    except Unanswered as error:
        raise texts.error("sick", reasons=error) from error
    if not answer["status"].get("allowed"):
        raise texts.error("no_rights", why=answer["status"].get("reason") or "403")


def well(job: Job, texts: Texts) -> None:
    """Raise InputError if something of the cluster is not as it should be."""
    names = [node.name for node in job.spec.machines()]
    if lacking := milestones.look(job.kubeconfig, "ready", names):
        more = f" (+{len(lacking) - SHOWN})" if len(lacking) > SHOWN else ""
        raise texts.error("sick", reasons="; ".join(lacking[:SHOWN]) + more)


def root(nodes: Nodes, texts: Texts) -> None:
    """Raise InputError unless every node lets us be root."""

    def one(name: str) -> str:
        try:
            return "" if nodes.run(name, "id -u", seconds=20) == "0" else f"{name}: not root"
        except KubesmithError as error:
            return str(error)

    with ThreadPoolExecutor(16) as pool:
        refused = [answer for answer in pool.map(one, nodes.variables) if answer]
    if refused:
        raise texts.error("no_root", reasons="; ".join(refused[:SHOWN]))
