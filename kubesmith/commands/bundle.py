"""``runner.py bundle build|verify|list``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from kubesmith.bundle import Bundle, Component, build, current, load, verify
from kubesmith.bundle.builder import DEFAULT_KUBERNETES
from kubesmith.errors import InputError
from kubesmith.progress import Progress


def run(
    action: str, *, path: Path | None, as_json: bool, progress: Progress, kubernetes: str = DEFAULT_KUBERNETES
) -> int:
    """Carry out ``action`` (build, verify, list) and return the exit code.

    ``path`` is the bundle to look at, the one built last by default; ``build`` has no use for it. InputError for
    another action, KubesmithError for a bundle that is missing or a build that fails.
    """
    if action == "build":
        return run_build(progress, as_json=as_json, kubernetes=kubernetes)
    looks: dict[str, Callable[..., int]] = {"verify": run_verify, "list": run_list}
    if action not in looks:
        raise InputError(f"no such action: bundle {action}", fix="Choose one of: build, verify, list.")
    return looks[action]((path or current()).resolve(), as_json=as_json)


def run_build(progress: Progress, *, as_json: bool, kubernetes: str = DEFAULT_KUBERNETES) -> int:
    """Build the bundle, or find that it is there, and tell where; return 0."""
    bundle = load(build(progress, kubernetes))
    if as_json:
        print(json.dumps({"path": str(bundle.path), "name": bundle.name, "digest": bundle.digest}))
    else:
        Console(highlight=False).print(f"{bundle.name} {bundle.digest}\n{bundle.path}", soft_wrap=True)
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
    if source["type"] == "gomod":
        origin = f"{source['module']} {source['version']}"
    else:
        origin = f"Debian {source['suite']}, {len(source['packages'])} packages"
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
