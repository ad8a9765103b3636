# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What a bundle's description (bundle.json) says, and where its parts are on a node. Mostly pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kubesmith.cluster.plugins.module_utils import files

ROOT = "/var/lib/kubesmith/bundle"
BUNDLES = "/var/lib/kubesmith/bundles"  # where a lab's node sees all that the controller has
INCOMING = "/var/lib/kubesmith/incoming"
Bundle = Mapping[str, Any]
Row = dict[str, Any]
MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x"}


class BundleError(Exception):
    """The bundle cannot serve what is asked of it; the message says why and what to do."""


def select_files(bundle: Bundle, sets: Sequence[str]) -> list[Row]:
    """Return the installable files of ``sets``: rows with path, sha256, size, mode and install."""
    _refuse_unknown(sets, {row["set"] for row in _rows(bundle, "files")}, bundle, "file set")
    return [row for row in _rows(bundle, "files") if row["set"] in sets and row.get("install")]


def select_images(bundle: Bundle, wanted: Sequence[str]) -> list[Row]:
    """Return the images of ``wanted``: names of sets, or of single images (``pause``)."""
    rows = list(_rows(bundle, "images"))
    known = {row["set"] for row in rows} | {short_name(row["ref"]) for row in rows}
    _refuse_unknown(wanted, known, bundle, "image set or image")
    return [row for row in rows if row["set"] in wanted or short_name(row["ref"]) in wanted]


def image(bundle: Bundle, name: str) -> Row:
    """Return the row of the image with the short name ``name`` (``pause``); BundleError if there is none."""
    for row in _rows(bundle, "images"):
        if short_name(row["ref"]) == name:
            return row
    raise BundleError(f"bundle {bundle.get('name')} has no image {name}")


def short_name(ref: str) -> str:
    """Return a reference's last path element without its tag: ``pause`` of ``kubesmith.internal/pause:3.10.2``."""
    return ref.rsplit("/", 1)[-1].split("@", 1)[0].split(":", 1)[0]


def _rows(bundle: Bundle, kind: str) -> Iterator[Row]:
    for component in bundle["components"]:
        yield from component.get(kind, ())


def _refuse_unknown(wanted: Sequence[str], known: set[str], bundle: Bundle, what: str) -> None:
    unknown = sorted(set(wanted) - known)
    if unknown:
        raise BundleError(
            f"bundle {bundle.get('name')} has no {what} {', '.join(unknown)}; it has {', '.join(sorted(known))}"
        )


def refuse_other_machine(machine: str, arch: str) -> None:
    """Raise BundleError where a node with ``machine`` (uname -m) cannot run programs built for ``arch``."""
    if MACHINES.get(machine, machine) != arch:
        raise BundleError(f"this node is {machine}, the bundle is built for {arch}: give it a bundle of its own")


def place(incoming: str, digest: str) -> Path:
    """Return where a part pushed from the controller lies on the node; ``digest`` is hexadecimal."""
    return Path(incoming) / digest


def seen(root: str, folder: str, digest: str, bundles: str = BUNDLES) -> str:
    """Return where this node sees the bundle with ``digest``, if it does: among all, or at ``root``.

    ``folder`` is its name on the controller. Without a digest ``root`` is taken for it. A node may well see another
    version only: what is missed is then sent.
    """
    if not digest:
        return root
    places = (Path(bundles) / folder, Path(root))
    return next((str(place) for place in places if _digest(place) == digest), "/nonexistent")


def _digest(folder: Path) -> str:
    try:
        return str(json.loads((folder / "bundle.json").read_text(encoding="utf-8")).get("digest"))
    except (OSError, ValueError, AttributeError):
        return ""


def find(root: str, incoming: str, relative: str, digest: str) -> Optional[Path]:
    """Return the path of a part on this node, or None; its content is not looked at, only that it is there."""
    for candidate in (Path(root) / relative, place(incoming, digest)):
        if candidate.is_file():
            return candidate
    return None


def accept(pushed: Mapping[str, str], incoming: str) -> None:
    """Move files pushed by an unprivileged login into ``incoming``, each only with the content that its name claims.

    ``pushed`` is {hexadecimal sha256: path}. Raises BundleError for one damaged on its way.
    """
    for digest, path in pushed.items():
        if not files.copy_checked(path, place(incoming, digest), digest, 0o600):
            raise BundleError(f"a file of the bundle arrived damaged: sha256 is not {digest}; run again")
        Path(path).unlink()
