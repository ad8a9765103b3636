"""Linking components out of the store into one bundle, published whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from kubesmith.bundle.layers import BLOBS
from kubesmith.bundle.model import FILE, IMAGES, SBOM, SCHEMA, component_from, digest_of, load
from kubesmith.bundle.oci import write_layout
from kubesmith.bundle.sbom import sbom
from kubesmith.bundle.store import Entry, link, sync_file, sync_folder
from kubesmith.errors import KubesmithError


def assemble(root: Path, kubernetes: str, arch: str, entries: Sequence[Entry]) -> Path:
    """Make the bundle of ``entries`` in a folder below ``root``, put it to use (see ``use``), and return it.

    A bundle that is there already and untouched stays.
    """
    components = [entry.record["component"] for entry in entries]
    digest = digest_of(components)
    name = f"kubesmith-{kubernetes}-{arch}"
    final = root / folder_name(name, digest)
    if not _same(final, entries):
        new = root / f".new-{final.name}"
        _fill(new, entries, arch)
        head = {"schema": SCHEMA, "name": name, "digest": digest, "arch": arch, "kubernetes": kubernetes}
        (new / SBOM).write_text(json.dumps(sbom(head, [entry.record for entry in entries]), indent=1) + "\n")
        (new / FILE).write_text(json.dumps({**head, "components": components}, indent=1) + "\n")
        for written in (SBOM, FILE, f"{IMAGES}/index.json", f"{IMAGES}/oci-layout"):
            sync_file(new / written)
        shutil.rmtree(final, ignore_errors=True)
        new.rename(final)
    use(final, kubernetes)
    return final


def use(made: Path, kubernetes: str) -> None:
    """Have the links beside the bundle ``made`` show it: its Kubernetes version's, and ``current`` if that is older.

    Bundles of several versions are side by side: what works with one of them is not disturbed when another is made.
    """
    point(made.with_name(kubernetes), made)
    current = made.with_name("current")
    try:
        newer = _numbers(load(current).kubernetes) > _numbers(kubernetes)
    except KubesmithError:  # there is none, or none that can be read
        newer = False
    if not newer:
        point(current, made)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def folder_name(name: str, digest: str) -> str:
    """Return the name of the folder of the bundle ``name`` with this ``digest``."""
    return f"{name}-{digest.removeprefix('sha256:')[:12]}"


def _parts(entry: Entry) -> list[tuple[Path, Path]]:
    """Return where each file of a store entry is, and its place in a bundle."""
    blobs = f"{BLOBS}/"
    return [
        (entry.path / path, Path(IMAGES) / path if path.startswith(blobs) else Path(path))
        for path in entry.record["content"]
    ]


def _same(final: Path, entries: Sequence[Entry]) -> bool:
    """Tell whether ``final`` is complete and made of these very files, untouched since (by size and time)."""
    if not (final / FILE).is_file():
        return False
    return all(_seen(final / place) == _seen(source) for entry in entries for source, place in _parts(entry))


def _seen(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _fill(new: Path, entries: Sequence[Entry], arch: str) -> None:
    shutil.rmtree(new, ignore_errors=True)
    (new / IMAGES / BLOBS).mkdir(parents=True)
    for entry in entries:
        for source, place in _parts(entry):
            if not (new / place).exists():
                link(source, new / place)
    images = [image for entry in entries for image in component_from(entry.record["component"]).images]
    write_layout(new / IMAGES, images, arch)


def point(name: Path, target: Path) -> None:
    """Make ``name`` a link to ``target``, in one step."""
    new = name.with_name(f".{name.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target.name)
    new.replace(name)
    sync_folder(name.parent)
