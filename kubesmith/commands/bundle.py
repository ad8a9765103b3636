"""``runner.py bundle build|verify|list|export|import``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import Upstream
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from kubesmith import logins, paths
from kubesmith.bundle import Bundle, Component, archive, current, load, source, verify
from kubesmith.bundle.upstream import Places, Settings
from kubesmith.errors import InputError
from kubesmith.job import Job
from kubesmith.progress import Progress
from kubesmith.providers.podman.node_image import NodeImage


def run(action: str, *, path: Path | None, as_json: bool) -> int:
    """Carry out ``action`` (verify, list) on the bundle in ``path``, the one made last by default; return its code.

    InputError for another action, KubesmithError for a bundle that is missing.
    """
    looks: dict[str, Callable[..., int]] = {"verify": run_verify, "list": run_list}
    if action not in looks:
        raise InputError(f"no such action: bundle {action}", fix="Choose one of: verify, list.")
    return looks[action]((path or current()).resolve(), as_json=as_json)


def wanted(job: Job) -> source.Wanted:
    """Return which bundle the cluster file asks for; a relative path in it starts at the file's own folder."""
    bundle = job.spec.bundle
    file = job.file.parent / Path(bundle.file).expanduser() if bundle.file else None
    return source.Wanted(job.spec.cluster.kubernetes, bundle.source, file, _settings(bundle.upstream))


def _settings(upstream: Upstream) -> Settings:
    places = Places(**{key: getattr(upstream, key).rstrip("/") for key in vars(Places())})
    login = None
    if upstream.auth:
        auth = upstream.auth.model_dump(exclude_none=True)
        login = (upstream.auth.username, logins.password("bundle.upstream", auth))
    return Settings(places, login, _there(upstream.ca), _there(upstream.trust))


def _there(path: str | None) -> Path | None:
    file = Path(path).expanduser() if path else None
    if file and not file.is_file():
        raise InputError(f"bundle.upstream: there is no file {file}", fix="Correct the path.")
    return file


def run_build(job: Job, choice: source.Choice, progress: Progress) -> int:
    """Make the bundle of a cluster file, or find that it is there, and tell where; return 0."""
    as_json = job.ui.as_json
    bundle = load(source.provide(choice, progress))
    if as_json:
        print(json.dumps({"path": str(bundle.path), "name": bundle.name, "digest": bundle.digest}))
    else:
        Console(highlight=False).print(f"{bundle.name} {bundle.digest}\n{bundle.path}", soft_wrap=True)
    return 0


def run_export(file: Path | None, progress: Progress, *, as_json: bool, node_image: bool = False) -> int:
    """Write the bundle in use, and with ``node_image`` the lab nodes' root file system, into ``file``; return 0."""
    target = _named(file, "export")
    image = NodeImage() if node_image else None
    if image and not image.tar.exists():
        raise InputError(
            f"there is no node image at {image.tar} to take along", fix="make it: python3 runner.py up --only nodes"
        )
    if target.is_dir():
        raise InputError(f"{target} is a folder", fix="name a file in it, such as kubesmith.tar.zst")
    made = archive.write(paths.bundle().resolve(), target, progress, image.tar if image else None)
    return _told(made, target, as_json)


def run_import(file: Path | None, progress: Progress, *, as_json: bool, digest: str = "") -> int:
    """Take the bundle out of ``file``, checked byte by byte, and put it to use; return 0."""
    given = _named(file, "import")
    if digest and not re.fullmatch(r"(sha256:)?[0-9a-fA-F]{64}", digest):
        raise InputError(f"--digest {digest!r} is not sha256: and 64 hexadecimal digits", fix="as export printed it")
    folder = source.take(given, "", progress, digest)
    return _told(archive.Exported(archive.digest_of_file(given), given.stat().st_size, folder), given, as_json)


def _named(file: Path | None, action: str) -> Path:
    if file is None:
        raise InputError(f"bundle {action} needs the file's name", fix=f"runner.py bundle {action} kubesmith.tar.zst")
    return file


def _told(made: archive.Exported, file: Path, as_json: bool) -> int:
    """Print the file's digest, by which the other side knows it."""
    if as_json:
        row = {"file": str(file), "digest": made.digest, "size": made.size, "bundle": str(made.bundle)}
        print(json.dumps(row | ({"node_image": made.node_image} if made.node_image else {})))
    else:
        text = f"{made.digest}  {file} ({decimal(made.size)})\n{made.bundle}"
        Console(highlight=False).print(text, soft_wrap=True, markup=False)
    return 0


def run_verify(path: Path, *, as_json: bool) -> int:
    """Check every byte of the bundle in ``path`` and tell each problem; return 0 if there is none, else 1."""
    problems = verify(path)
    bundle = load(path)
    if as_json:
        print(json.dumps({"path": str(path), "digest": bundle.digest, "problems": problems}))
        return int(bool(problems))
    console = Console(highlight=False, soft_wrap=True)
    for problem in problems:
        console.print(problem, markup=False)
    if problems:
        console.print(f"{bundle.name}: {len(problems)} problems in {path}")
        console.print("Remedy: runner.py bundle build")
        return 1
    files, images = len(list(bundle.files())), len(list(bundle.images()))
    console.print(f"{bundle.name}: {files} files and {images} images as they were built, no image missing for kubeadm")
    return 0


def run_list(path: Path, *, as_json: bool) -> int:
    """Print the components of the bundle in ``path`` with versions and sizes; return 0."""
    bundle = load(path)
    if as_json:
        rows = [_row(bundle, component) for component in bundle.components]
        print(json.dumps({"name": bundle.name, "digest": bundle.digest, "path": str(path), "components": rows}))
        return 0
    table = Table("component", "version", title=f"{bundle.name} ({bundle.digest[:19]})")
    for heading in ("files", "images", "size"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("licence")
    for component in bundle.components:
        row = _row(bundle, component)
        counts = (str(row["files"]), str(row["images"]), decimal(int(row["size"])))
        table.add_row(component.name, component.version, *counts, component.licence)
    Console().print(table)
    return 0


def _row(bundle: Bundle, component: Component) -> dict[str, str | int]:
    source = component.source
    origins = source.get("from", ())
    if source["type"] == "upstream":
        signed = sum("signed" in origin for origin in origins)
        origin = f"{len(origins)} files and images of the project, {signed} of them signed"
    elif source["type"] == "gomod":
        origin = f"{source['module']} {source['version']}"
    else:
        # A component of programs alone lists no packages of its own: those of its image's layers are the base's.
        count = len(source.get("packages", ()))
        origin = f"Debian {source['suite']}" + (f", {count} packages" if count else "")
    blobs = {digest for image in component.images for digest in image.blobs}
    size = sum(file.size for file in component.files) + sum(map(bundle.blob_size, blobs))
    return {
        "name": component.name,
        "version": component.version,
        "licence": component.licence,
        "from": origin,
        "files": len(component.files),
        "images": len(component.images),
        "size": size,
    }
