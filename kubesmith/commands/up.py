"""``up``: from a cluster file to a verified cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubesmith import bootstrap, digest, execute, logins, providers, report
from kubesmith.backups import make
from kubesmith.bundle import source
from kubesmith.commands import bundle, preflight
from kubesmith.controllers.engines import Engine
from kubesmith.errors import InputError
from kubesmith.job import Job
from kubesmith.phases import CONVERGE, PHASES, tags
from kubesmith.providers.podman.node_image import NodeImage
from kubesmith.running import refuse_other_version, refuse_without_workers
from kubesmith.verify import run as verify


def run(
    job: Job,
    *,
    phases: frozenset[str] = frozenset(PHASES),
    engine: Engine | None = None,
    variables: Mapping[str, Any] | None = None,
) -> int:
    """Carry out the wanted phases in order; return 0, or 1 if the playbook or a check failed.

    ``variables`` go to the playbook, before the inventory's: a restore hands its backup over so.

    Each finds out from the machines what is done already. Raises InputError where preflight finds what the playbook
    would fail at, and where machines are wanted that nobody made. With an ``engine``, its controllers do the workers.
    """
    if engine:
        _whole_converge(phases)
        engine.places(
            job.spec.cluster.kubernetes
        )  # whoever is not fit to work with us is found before anything is touched
    provider = job.provider()
    if "nodes" not in phases:
        _made(job, phases)
    if phases & set(CONVERGE):
        refuse_without_workers(job)
        refuse_other_version(job)
    logins.check(job.spec)
    choice = source.choose(bundle.wanted(job)) if "bundle" in phases else None
    _packages(job, phases, choice)
    if "nodes" in phases and not (choice and choice.kind == "file"):  # the file may bring what is missed
        provider.check()
    with job.alone():
        if choice:
            with job.ui.phase("bundle", "Bundle") as progress:
                source.provide(choice, progress)
        if "nodes" in phases:
            with job.ui.phase("nodes", "Nodes") as progress:
                provider.create(progress)
        if "preflight" in phases:
            preflight.before_up(job)
        return _cluster(job, phases, engine, variables)


def _whole_converge(phases: frozenset[str]) -> None:
    """Raise InputError for a part of the converge: controllers carry out all of it."""
    missing = [phase for phase in CONVERGE if phase not in phases]
    if missing:
        raise InputError(
            f"--controllers carries out the whole converge, and {', '.join(missing)} was left out",
            fix="leave out --from, --to and --only, or take --only converge",
        )


def _packages(job: Job, phases: frozenset[str], choice: source.Choice | None) -> None:
    """Have the system packages that the wanted phases need, asking first; raise InputError without consent.

    Compilers are wanted only where a bundle is built, debootstrap only where there is no node image.
    """
    compilers = ["bundle"] if choice and choice.kind == "gomod" else []
    nodes = list(providers.packages(job.spec)) if "nodes" in phases else []
    if nodes == ["podman"]:
        image = NodeImage(debian=job.spec.podman.debian)
        carried = choice is not None and choice.kind == "file" and source.brings(choice.wanted, image.tar.name)
        nodes = ["nodes" if carried or image.at_hand() else "podman"]
    bootstrap.require_packages(*compilers, *nodes, assume_yes=job.assume_yes)


def _made(job: Job, phases: frozenset[str]) -> None:
    """Raise InputError if a phase without ``nodes`` needs machines that the provider has not made."""
    absent = job.not_made()
    # Preflight tells it itself, beside all else that it finds.
    if absent and phases - {"bundle"} and "preflight" not in phases:
        raise InputError(f"machines have not been made: {', '.join(absent)}", fix="python3 runner.py up --only nodes")


def _cluster(job: Job, phases: frozenset[str], engine: Engine | None, variables: Mapping[str, Any] | None) -> int:
    target = report.folder(job.state)
    result: execute.Result | None = None
    if phases & set(CONVERGE):
        if not (job.bundle / "bundle.json").exists():
            raise InputError(f"there is no bundle at {job.bundle}", fix="python3 runner.py bundle build")
        if not variables:
            make.before(job, "up", vital=False)
        result = _converge(job, phases, engine, make.site_variables(job) | dict(variables or {}))
        if not result.ok:
            report.write(report.of(job, tasks=result.hosts, failure=_explain(job, result)), target)
            return 1
    verdict: verify.Verdict | None = None
    if "verify" in phases:
        with job.ui.phase("verify", "Verify") as progress:
            verdict = verify.run(job.inventory, target, progress=progress)
            progress.summary = f"{len(verdict.passed)} passed, {len(verdict.failed)} failed"
            progress.failed = bool(verdict.failed)
        if verdict.failed:
            verify.show(verdict, job.ui.console)
    made = report.of(job, tasks=result.hosts if result else None, verdict=verdict)
    report.write(made, target)
    if result or verdict:  # else there are only times to tell
        report.show(made, target, job.ui, job)
    return 1 if verdict and verdict.failed else 0


def _converge(job: Job, phases: frozenset[str], engine: Engine | None, variables: Mapping[str, Any]) -> execute.Result:
    if engine is None:
        return execute.playbook(
            "kubesmith.cluster.site",
            inventory=job.inventory,
            state=job.state,
            ui=job.ui,
            tags=tags(phases),
            variables=variables,
        )
    from kubesmith.controllers import run as controllers  # noqa: PLC0415 - only who has several pays for it

    return controllers.converge(job, engine)


def _explain(job: Job, result: execute.Result) -> dict[str, Any]:
    """Say what failed, why, and what to do, and return it; with -v the failed tasks' own words too."""
    found = digest.explain(job, result)
    data = digest.as_json(found)
    job.ui.event("digest", **data)
    if job.ui.verbosity:
        report.failed(result, job.ui)
    digest.show(found, job.ui.console)
    return data
