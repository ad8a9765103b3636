"""Evidence of a cluster's state: brought from the nodes, from this machine's own runs, and packed without secrets."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils import private
from ansible_collections.kubesmith.cluster.plugins.module_utils.evidence import CLUSTER, shortened
from ansible_collections.kubesmith.cluster.plugins.module_utils.redaction import Redactor

from kubesmith import __version__, execute, kube, paths
from kubesmith.errors import KubesmithError
from kubesmith.job import Job

PLAYBOOK = "kubesmith.cluster.gather"
MEGA = 1024 * 1024
TOTAL = 384 * MEGA  # bytes of text from all nodes together
MOST_FROM_NODE, LEAST_FROM_NODE = 24 * MEGA, MEGA
MOST_FROM_FILE = 4 * MEGA
RUNS_KEPT, REPORTS_KEPT = 5, 2
SECONDS = 60  # that gathering may take on a node; SSH comes on top


@dataclass
class Evidence:
    """What was gathered: texts and facts by node, and what is missing by node (or by ``cluster``), in words."""

    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def from_nodes(job: Job, hosts: Sequence[str], *, full: bool, age: float = 0) -> Evidence:
    """Ask ``hosts`` (all at once) for their evidence; ``age`` in seconds leaves older lines out, 0 none.

    A host that does not answer is named in ``missing``. The texts are free of the secrets that the nodes know.
    """
    folder = paths.make_private(paths.make_private(job.state) / "evidence") / f"{time.time_ns()}"
    most = max(LEAST_FROM_NODE, min(MOST_FROM_NODE, TOTAL // max(1, len(hosts))))
    variables = {"gather_dest": str(folder), "gather_full": full, "gather_seconds": SECONDS, "gather_age": age}
    try:
        problems = _run(job, hosts, variables | ({"gather_most": most} if full else {}))
        found = _read(folder, hosts)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for host in hosts:
        if host not in found.facts:
            found.missing[host] = problems.get(host) or problems.get("") or "it gave no answer"
        elif said := found.facts[host].get("missing"):
            found.missing[host] = _joined(said)
    return found


def _joined(said: Sequence[str]) -> str:
    """Return what a node could not give as one line, each reason once: an API server that is down takes many parts."""
    parts: dict[str, list[str]] = {}
    for row in said:
        name, _, why = row.partition(": ")
        parts.setdefault(why, []).append(name)
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in parts.items())


def _run(job: Job, hosts: Sequence[str], variables: Mapping[str, Any]) -> dict[str, str]:
    """Run the playbook on ``hosts``; return what went wrong by host, or for all of them under an empty name."""
    try:
        result = execute.playbook(
            PLAYBOOK,
            inventory=job.inventory,
            state=job.state,
            ui=job.ui,
            limit=",".join(hosts),
            variables=variables,
            kept_in="gathered",
        )
    except KubesmithError as error:
        return {"": str(error)}
    return {failure.host: _reason(failure.message) for failure in result.failures}


def _reason(text: str) -> str:
    """Return a failure's first line, without the words that Ansible puts before it."""
    if ".not-made.invalid" in text:
        return "its machine has not been made"
    return _first_line(text).removeprefix("Task failed: ")


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _read(folder: Path, hosts: Sequence[str]) -> Evidence:
    found = Evidence()
    for host in hosts:
        place = folder / host
        if not (place / "facts.json").is_file():
            continue
        found.facts[host] = json.loads((place / "facts.json").read_text())
        files = (file for file in sorted(place.rglob("*")) if file.is_file() and file.name != "facts.json")
        found.texts[host] = {str(file.relative_to(place)): file.read_text(errors="replace") for file in files}
    return found


def whole(job: Job) -> Evidence:
    """Gather everything from all nodes; the cluster's objects over the network where no node could give them."""
    hosts = [node.name for node in job.spec.machines()]
    found = from_nodes(job, hosts, full=True)
    if not any(name.startswith("cluster/objects") for texts in found.texts.values() for name in texts):
        found.texts["cluster"] = dict(cluster_objects(job.kubeconfig, found))
    return found


def cluster_objects(kubeconfig: Path, found: Evidence) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of the cluster's objects, asked from here; an API server that is down is asked once only."""
    for name, arguments in CLUSTER.items():
        try:
            yield name, _kubectl(kubeconfig, *arguments)
        except (KubesmithError, subprocess.TimeoutExpired) as error:
            found.missing["cluster"] = _first_line(str(error))
            return


def _kubectl(kubeconfig: Path, *arguments: str) -> str:
    command = [kube.binary(), *arguments, "--request-timeout=10s"]
    environment = kube.environment(kubeconfig)
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=30
    )
    if done.returncode and not done.stdout:
        raise KubesmithError(f"kubectl {arguments[0]}: {_first_line(done.stderr) or 'no answer'}")
    return done.stdout


def redactor(job: Job) -> Redactor:
    """Return what takes secrets out of texts on this machine: those of the Secret objects, and of our own files."""
    values: set[str] = set()
    if job.kubeconfig.exists():
        values.update(private.kubeconfig_values(job.kubeconfig.read_text()))
        # An API server that is down: the nodes took out what they could see, and what looks like a secret goes anyway.
        with contextlib.suppress(KubesmithError, subprocess.TimeoutExpired, ValueError):
            values |= private.from_kubectl(_kubectl(job.kubeconfig, "get", "secrets", "-A", "-o", "json"))
    for key in job.state.glob("id_*"):
        values.update([] if key.suffix == ".pub" else [key.read_text()])
    return Redactor(values)


def own_texts(job: Job) -> dict[str, str]:
    """Return what this machine knows: the last runs' tasks and output, the last reports, versions, the cluster file."""
    texts = {"cluster.yml": job.file.read_text(errors="replace"), "versions.json": _versions(job.bundle)}
    for kind, count, names in (
        ("runs", RUNS_KEPT, ("tasks.jsonl", "artifacts/ansible/stdout", "artifacts/ansible/stderr")),
        ("reports", REPORTS_KEPT, ("report.json", "verify.json")),
    ):
        folders = sorted(path for path in (job.state / kind).glob("2*") if path.is_dir() and not path.is_symlink())
        for folder in folders[-count:]:
            for file in (folder / name for name in names):
                if file.is_file():
                    texts[f"{kind}/{folder.name}/{file.name}"] = file.read_text(errors="replace")
    return {name: shortened(text, MOST_FROM_FILE) for name, text in texts.items() if text}


def _versions(folder: Path) -> str:
    bundle = folder / "bundle.json"
    rows = json.loads(bundle.read_text())["components"] if bundle.is_file() else []
    made = {"kubesmith": __version__, "components": {row["name"]: row["version"] for row in rows}}
    return json.dumps(made, indent=1)


def pack(job: Job, found: Evidence, *, kind: str = "gather", output: Path | None = None) -> Path:
    """Write ``KIND-CLUSTER-TIME.tar.gz``, mode 0600, into the state folder or to ``output``; return where.

    Every text goes through the redaction of this machine too: nodes know their own secrets, the API server all.
    """
    stem = f"{kind}-{job.spec.cluster.name}-{time.strftime('%Y%m%dT%H%M%S')}"
    target = output or job.state / f"{stem}.tar.gz"
    if target.is_dir():
        target = target / f"{stem}.tar.gz"
    cleaner = redactor(job)
    temporary = target.with_name(f".{target.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz", compresslevel=6) as tar:
            for name, text in _members(job, found):
                _add(tar, f"{stem}/{name}", cleaner.clean(text))
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise KubesmithError(
            f"cannot write {target}: {error.strerror}", fix="give another place by --output"
        ) from error
    return target


def _members(job: Job, found: Evidence) -> Iterator[tuple[str, str]]:
    yield "missing.json", json.dumps(found.missing, indent=1)
    yield from own_texts(job).items()
    for node, facts in found.facts.items():
        yield f"nodes/{node}/facts.json", json.dumps(facts, indent=1)
    for node, texts in found.texts.items():
        for name, text in texts.items():
            yield (name if name.startswith("cluster/") else f"nodes/{node}/{name}"), text


def _add(tar: tarfile.TarFile, name: str, text: str) -> None:
    raw = text.encode("utf-8", "replace")
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(raw), 0o600, int(time.time())
    tar.addfile(member, io.BytesIO(raw))
