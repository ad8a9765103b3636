"""``add``, ``remove`` and ``replace``: a cluster's nodes come and go, and the cluster file says which there are."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from kubesmith import cluster_edit, digest, drain, execute, job, kube, machines
from kubesmith.backups import make
from kubesmith.bundle import source
from kubesmith.commands import bundle, preflight
from kubesmith.errors import InputError, KubesmithError
from kubesmith.job import Job


@dataclass(frozen=True)
class Draining:
    """How a node is emptied: seconds that it may take, and whether pods go that nobody makes anew."""

    timeout: float = drain.TIMEOUT
    force: bool = False


def add(work: Job, names: Sequence[str]) -> int:
    """Make machines for ``names`` if a provider does, and have them join; return 0, or 1 if one did not.

    Raises InputError, before anything is touched, for names that cannot be added.
    """
    names = list(dict.fromkeys(names))
    earlier = work
    work, text = _with(work, names)
    _endpoint_fits(work)
    members = drain.nodes(work.kubeconfig)
    fresh = [name for name in names if name not in members]
    _needs(work, fresh, members)
    if not fresh:
        work.ui.line(f"{', '.join(names)}: in the cluster already", always=True)
        return 0
    choice = source.choose(bundle.wanted(work))
    # With a firewall every node is asked to let the new ones in; no names mean all.
    work.enter([] if work.spec.security.firewall != "none" else [*fresh, *_planes(work)])
    with work.alone():
        with work.ui.phase("bundle", "Bundle") as progress:
            source.provide(choice, progress)
        make.before(earlier, f"add {' '.join(fresh)}", vital=False)
        if text is not None:
            _write(work.file, text)
        return _join(work, fresh)


def remove(work: Job, names: Sequence[str], how: Draining) -> int:
    """Drain ``names``, take them out of etcd, the cluster and the cluster file, and remove their machines.

    Raises InputError, before anything is touched, if the cluster cannot do without them or it is not confirmed.
    """
    names = list(dict.fromkeys(names))
    listed = [node.name for node in work.spec.machines() if node.name in names]
    members = _members(work)
    _known(work, names, [*listed, *members, *(machine.name for machine in machines.load(work.state))])
    text = _without(work, listed)
    _confirm(work, f"Remove {', '.join(names)} from cluster {work.spec.cluster.name}")
    work.enter([*names, *_planes(work)])
    with work.alone():
        _can_do_without(work, names)
        make.before(work, f"remove {' '.join(names)}", vital=all(members.get(name) for name in names))
        _leave(work, names, members, how)
        _give_back(work, names)
        if text is not None:
            _write(work.file, text)
    if listed and text is None:
        work.ui.line(f"take {', '.join(listed)} out of {work.file}: it is written by you", always=True)
    work.ui.event("removed", nodes=names)
    work.ui.line(f"{', '.join(names)}: removed", always=True)
    return 0


def replace(work: Job, name: str, how: Draining) -> int:
    """Take a node out, dead or alive, and have one of the same name join; return 0, or 1 if it did not.

    A provider's machine is made anew. One that exists already is reset if it answers, and must answer by then.
    """
    _known(work, [name], [node.name for node in work.spec.machines()])
    _endpoint_fits(work)
    members = _members(work)
    _needs(work, [name], {other: ready for other, ready in members.items() if other != name})
    choice = source.choose(bundle.wanted(work))
    _confirm(work, f"Replace {name} of cluster {work.spec.cluster.name}, with all that is on its disk")
    work.enter([] if work.spec.security.firewall != "none" else [name, *_planes(work)])
    with work.alone():
        with work.ui.phase("bundle", "Bundle") as progress:
            source.provide(choice, progress)
        _can_do_without(work, [name])
        make.before(work, f"replace {name}", vital=members.get(name, False))
        _leave(work, [name], members, how)
        _give_back(work, [name])
        return _join(work, [name])


# --- before anything is touched


def _with(work: Job, names: Sequence[str]) -> tuple[Job, str | None]:
    """Return the job whose cluster file has ``names``, and its new text; None where it has them already."""
    if not names:
        raise InputError("add whom?", fix="python3 runner.py add w3")
    missing = [name for name in names if name not in {node.name for node in work.spec.machines()}]
    if not missing:
        return work, None
    if work.listed:
        raise InputError(f"{work.file} does not list {', '.join(missing)}", fix="write it there; then run this again")
    text = cluster_edit.with_nodes(work.file.read_text(), work.spec, missing, str(work.file))
    return job.of_text(work, text), text


def _without(work: Job, listed: Sequence[str]) -> str | None:
    """Return the cluster file's text without ``listed``; None where there is nothing to write."""
    left = [node for node in work.spec.machines() if node.name not in listed]
    if listed and not any(node.role == "worker" for node in left):
        raise InputError(
            "no worker would be left", fix="add another one first; to remove the whole cluster: destroy, or reset"
        )
    planes = sum(node.role == "control-plane" for node in left)
    if listed and planes % 2 == 0:
        before = sum(node.role == "control-plane" for node in work.spec.machines())
        raise InputError(
            f"{planes} of {before} control planes would be left, and as many members of etcd: an even number, of which "
            f"{planes // 2 + 1} must live where {planes // 2} of {planes - 1} would do"
            if planes
            else "no control plane would be left",
            fix="remove two of them in one command, or `replace` one; to remove the whole cluster: destroy, or reset",
        )
    _keeps_address(work, planes)
    if work.listed or not listed:
        return None
    return cluster_edit.without_nodes(work.file.read_text(), work.spec, listed, str(work.file))


def _keeps_address(work: Job, planes: int) -> None:
    """Refuse to leave one control plane where the address that several shared is in no file: it would be forgotten."""
    cluster = work.spec.cluster
    if planes == 1 < len(_planes(work)) and work.spec.provider != "ssh" and not (cluster.vip or cluster.endpoint):
        vip = work.endpoint.partition(":")[0]
        raise InputError(
            f"all nodes reach the API server at {vip}, which was picked because there are several control planes, and "
            f"is not in {work.file}",
            fix=f"write it there first: cluster.vip: {vip}, and network.nodes: the machines' network",
        )


def _known(work: Job, names: Sequence[str], known: Collection[str]) -> None:
    if unknown := [name for name in names if name not in known]:
        raise InputError(
            f"{', '.join(unknown)} is not a node of {work.spec.cluster.name}",
            fix=f"nodes: {', '.join(dict.fromkeys(known))}",
        )


def _needs(work: Job, fresh: Sequence[str], members: Collection[str]) -> None:
    """Refuse to add to what is no cluster."""
    if fresh and not set(members) & set(_planes(work)):
        raise InputError(
            f"none of the control planes in {work.file} is in the cluster that {work.kubeconfig} leads to",
            fix="make the cluster first: python3 runner.py up",
        )


def _endpoint_fits(work: Job) -> None:
    """Refuse several control planes where all nodes go to the address of one of them."""
    if len(_planes(work)) == 1:
        return
    wanted = work.endpoint
    found = kube.get(work.kubeconfig, ["configmap", "kubeadm-config", "--namespace=kube-system"])
    recorded = yaml.safe_load(found["data"]["ClusterConfiguration"]).get("controlPlaneEndpoint", "")
    if wanted != recorded:
        raise InputError(
            f"the nodes of this cluster reach the API server at {recorded or 'the only control plane'}, and several "
            f"control planes are to share {wanted or 'an address'}",
            fix="a cluster that is to grow is made with cluster.vip or cluster.endpoint, also while it has one",
        )


def _confirm(work: Job, what: str) -> None:
    """Ask on a terminal, unless it is a lab or --yes was given; raise InputError if it is not confirmed."""
    if work.assume_yes or work.spec.lab:
        return
    if not sys.stdin.isatty():
        raise InputError(f"not done: nobody is there to confirm: {what}", fix="give --yes")
    if input(f"{what}? [y/N] ").strip().lower() not in ("y", "yes"):
        raise InputError("not done: not confirmed", fix="answer y, or give --yes")


def _members(work: Job) -> dict[str, bool]:
    """Return {node: whether it lives} of the cluster: Ready, and its machine runs as far as the provider knows.

    A machine that lost its power a moment ago is called Ready by the cluster until it is missed.
    """
    off = {machine.name for machine in work.provider().status() if machine.state in ("stopped", "absent")}
    return {name: ready and name not in off for name, ready in drain.nodes(work.kubeconfig).items()}


def _planes(work: Job) -> list[str]:
    return [node.name for node in work.spec.machines() if node.role == "control-plane"]


# --- coming


def _join(work: Job, names: Sequence[str]) -> int:
    """Have the machines of ``names`` run and join; return 0, or 1 if one did not."""
    began = time.monotonic()
    with work.ui.phase("nodes", "Nodes") as progress:
        work.provider().create(progress, only=names)
    preflight.before_up(work, only=names)
    result = _play(work, "add", {"add_nodes": list(names)})
    if not result.ok:
        found = digest.explain(work, result)
        work.ui.event("digest", **digest.as_json(found))
        digest.show(found, work.ui.console)
        return 1
    seconds = time.monotonic() - began
    others = {host: count.changed for host, count in result.hosts.items() if host not in (*names, "localhost")}
    told = ", ".join(f"{host}: {changed} changed" for host, changed in others.items() if changed)
    work.ui.event("added", nodes=list(names), seconds=round(seconds, 1), changed_elsewhere=sum(others.values()))
    work.ui.line(f"{', '.join(names)} joined in {seconds:.0f} s; on other nodes: {told or '0 changed'}", always=True)
    work.ui.line("every check on every node: python3 runner.py verify")
    return 0


# --- going


def _can_do_without(work: Job, names: Sequence[str]) -> None:
    """Raise InputError with the reason if etcd cannot do without the control planes among ``names``."""
    if set(names) & set(_planes(work)):
        looked = _play(work, "remove", {"remove_nodes": list(names)}, check=True)
        reasons = [failure.message for failure in looked.failures if not failure.unreachable]
        if reasons:
            raise InputError(reasons[0], fix="mend a control plane that is down first, or restore a backup")


def _leave(work: Job, names: Sequence[str], members: dict[str, bool], how: Draining) -> None:
    """Empty the nodes that live, and take all out of etcd and the cluster. KubesmithError if one cannot be emptied."""
    alive = [name for name in names if members.get(name)]
    with work.ui.phase("drain", "Drain") as progress, _uncordoned_on_failure(work, alive):
        progress.total(len(names))
        for name in names:
            if name in alive:
                progress.start(name, "draining")
                drained = drain.drain(
                    work.kubeconfig,
                    name,
                    timeout=how.timeout,
                    force=how.force,
                    tell=lambda line, name=name: progress.update(name, line),  # type: ignore[misc]
                )
                text = "drained" if drained else "stopped answering while it was drained"
                progress.done(name, text, changed=True)
            else:
                progress.done(name, "does not answer", changed=False)
    result = _play(work, "remove", {"remove_nodes": list(names)})
    failures = [failure for failure in result.failures if not (failure.unreachable and failure.host in members)]
    if failures:
        raise KubesmithError(f"{failures[0].host}: {failures[0].message}", fix="run the same command again")


@contextlib.contextmanager
def _uncordoned_on_failure(work: Job, names: Sequence[str]) -> Iterator[None]:
    """Leave no node cordoned if one cannot be drained, or ^C is pressed."""
    try:
        yield
    except BaseException:
        for name in names:
            with contextlib.suppress(KubesmithError):
                drain.uncordon(work.kubeconfig, name)
        raise


def _give_back(work: Job, names: Sequence[str]) -> None:
    """Remove a provider's machines; take the cluster off machines that exist, if they answer."""
    if work.spec.provider == "ssh":
        reached = [name for name in names if name in work.hosts()]
        variables = {"reset_authority": preflight.known_ca(work.kubeconfig), "reset_keeps_kubeconfig": True}
        result = _play(work, "reset", variables, limit=",".join(reached)) if reached else None
        for failure in result.failures if result else ():
            why = "does not answer" if failure.unreachable else f"was not reset: {failure.message}"
            work.ui.line(f"{failure.host} {why}: what is on its disk stays there", always=True)
        return
    with work.ui.phase("machines", "Machines") as progress:
        work.provider().remove(names, progress)


def _play(
    work: Job, name: str, variables: dict[str, object], *, check: bool = False, limit: str = ""
) -> execute.Result:
    return execute.playbook(
        f"kubesmith.cluster.{name}",
        inventory=work.inventory,
        state=work.state,
        ui=work.ui,
        check=check,
        limit=limit,
        variables=variables,
        kept_in="runs" if name == "add" else "changes",
    )


def _write(file: Path, text: str) -> None:
    """Write a cluster file, whole or not at all, with the mode that it has."""
    partial = file.with_name(f".{file.name}.new")
    partial.write_text(text)
    partial.chmod(file.stat().st_mode & 0o777)
    partial.replace(file)
