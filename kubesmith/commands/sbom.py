"""``sbom``: what software is on the nodes, as CycloneDX."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kubesmith import __version__, execute, paths, report
from kubesmith.errors import InputError
from kubesmith.job import Job

MODULE = "kubesmith.cluster.node_software"
SPEC = "1.5"
Row = dict[str, Any]


def run(job: Job, *, output: Path | None = None) -> int:
    """Write the document to ``output``, else to standard output; return 0, or 1 if a node could not be read."""
    job.require_machines()
    if output is not None and not output.absolute().parent.is_dir():
        folder = output.absolute().parent
        raise InputError(f"there is no folder {folder} to write {output.name} into", fix="make it, or name another")
    found: dict[str, Mapping[str, Any]] = {}

    def collect(result: execute.TaskResult) -> None:
        if result.action == MODULE:
            found[result.host] = result.answer["software"]

    outcome = execute.playbook(
        "kubesmith.cluster.sbom",
        inventory=job.inventory,
        state=job.state,
        ui=job.ui,
        kept_in="sbom",
        collect=collect,
    )
    text = json.dumps(document(job.spec.cluster.name, found, _bundle()), indent=1) + "\n"
    if output is None:
        print(text, end="")
    else:
        part = output.with_name(f".{output.name}.part")
        part.write_text(text)
        part.replace(output)
        packages = sum(len(row["packages"]) for row in found.values())
        job.ui.line(f"{output}: {len(found)} node(s), {packages} packages")
    if not outcome.ok:
        report.failed(outcome, job.ui)
    return 0 if outcome.ok else 1


def _bundle() -> Mapping[str, Any]:
    """Return the document of the bundle in use, an empty one where there is no bundle."""
    file = paths.bundle() / "sbom.cdx.json"
    found: Mapping[str, Any] = json.loads(file.read_text()) if file.is_file() else {"components": []}
    return found


def document(cluster: str, nodes: Mapping[str, Mapping[str, Any]], bundle: Mapping[str, Any]) -> Row:
    """Return the CycloneDX document: a device for each node with all that is on it, and the bundle's components."""
    digests = {
        part["content"]: (row["name"], row.get("version", ""))
        for row in bundle["components"]
        for item in (row, *row.get("components", ()))
        for part in item.get("hashes", ())
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC,
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "kubesmith", "version": __version__}]},
            "component": {"type": "platform", "bom-ref": f"cluster:{cluster}", "name": cluster},
        },
        "components": [device(name, row, digests) for name, row in sorted(nodes.items())] + list(bundle["components"]),
        "dependencies": list(bundle.get("dependencies", ())),
    }


def device(name: str, row: Mapping[str, Any], digests: Mapping[str, tuple[str, str]]) -> Row:
    """Return a node with its system, packages, programs and images."""
    system = row["os"]
    inside: list[Row] = [
        {
            "type": "operating-system",
            "bom-ref": f"{name}:os",
            "name": system["name"] or system["id"],
            "version": system["version"],
        },
        {"type": "operating-system", "bom-ref": f"{name}:kernel", "name": "linux", "version": row["kernel"]},
    ]
    inside += [package(name, entry, system["id"]) for entry in row["packages"]]
    inside += [program(name, path, digest, digests) for path, digest in row["programs"].items()]
    inside += [image(name, label, digest) for label, digest in row["images"].items()]
    return {"type": "device", "bom-ref": f"node:{name}", "name": name, "components": inside}


def package(node: str, row: Mapping[str, str], system: str) -> Row:
    """Return a package with its package URL."""
    name, version, arch = (row[key] for key in ("name", "version", "arch"))
    purl = f"pkg:{row['kind']}/{system}/{quote(name, safe='')}@{quote(version, safe='')}?arch={arch}"
    return {
        "type": "library",
        "bom-ref": f"{node}:{row['kind']}:{name}:{arch}@{version}",
        "name": name,
        "version": version,
        "purl": purl,
    }


def program(node: str, path: str, digest: str, digests: Mapping[str, tuple[str, str]]) -> Row:
    """Return a program with its SHA-256, and of which component of the bundle it is, if of one."""
    made: Row = {
        "type": "file",
        "bom-ref": f"{node}:{path}",
        "name": path,
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }
    if digest in digests:
        made["group"], made["version"] = digests[digest]
    return made


def image(node: str, label: str, digest: str) -> Row:
    """Return an image that a container runs."""
    return {
        "type": "container",
        "bom-ref": f"{node}:image:{label}",
        "name": label,
        "version": digest,
        "hashes": [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}],
    }
