"""``bundle.json`` as frozen data: what is in a bundle, where it goes on a node, and where it came from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kubesmith.errors import KubesmithError

SCHEMA = 1
FILE = "bundle.json"
SBOM = "sbom.cdx.json"
IMAGES = "images"


@dataclass(frozen=True)
class File:
    """One file of the bundle; without ``install`` it stays there. ``sha256`` is 64 hex digits, ``size`` bytes."""

    path: str
    sha256: str
    size: int
    mode: str
    set: str
    install: str = ""


@dataclass(frozen=True)
class Image:
    """One image of the layout ``images/``; ``blobs`` are its manifest, its config and its layers, in this order."""

    ref: str
    digest: str
    size: int
    set: str
    blobs: tuple[str, ...]


@dataclass(frozen=True)
class Component:
    """One piece of software: its files and images, the source they were made from, and that source's licence."""

    name: str
    version: str
    licence: str
    source: Mapping[str, Any]
    files: tuple[File, ...] = ()
    images: tuple[Image, ...] = ()
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bundle:
    """A whole bundle; ``path`` is the folder that holds it."""

    path: Path
    name: str
    digest: str
    arch: str
    kubernetes: str
    components: tuple[Component, ...] = field(default=())

    def component(self, name: str) -> Component:
        """Return the component called ``name``; KubesmithError if the bundle has none."""
        for component in self.components:
            if component.name == name:
                return component
        raise KubesmithError(
            f"bundle {self.name} has no component '{name}'", fix="Build it again: runner.py bundle build"
        )

    def files(self) -> Iterator[File]:
        """Yield every file of every component."""
        for component in self.components:
            yield from component.files

    def images(self) -> Iterator[Image]:
        """Yield every image of every component."""
        for component in self.components:
            yield from component.images

    def blob(self, digest: str) -> Path:
        """Return the file of the blob ``digest`` (``sha256:…``)."""
        return self.path / IMAGES / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def blob_size(self, digest: str) -> int:
        """Return the size of the blob ``digest`` in bytes."""
        return self.blob(digest).stat().st_size


def canonical(value: object) -> bytes:
    """Return ``value`` as the one JSON text that digests are taken of: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(components: Sequence[Mapping[str, Any]]) -> str:
    """Return ``sha256:…`` of the canonical JSON of a bundle's ``components``."""
    return "sha256:" + hashlib.sha256(canonical(components)).hexdigest()


def component_data(component: Component) -> dict[str, Any]:
    """Return a component as it stands in ``bundle.json``: keys that are empty are left out."""
    data = asdict(component)
    data["files"] = [{key: value for key, value in file.items() if value != ""} for file in data["files"]]
    if not data["features"]:
        del data["features"]
    plain: dict[str, Any] = json.loads(canonical(data))
    return plain


def component_from(data: Mapping[str, Any]) -> Component:
    """Read a component from its form in ``bundle.json``."""
    values = dict(data)
    values["files"] = tuple(File(**file) for file in data["files"])
    values["images"] = tuple(Image(**{**image, "blobs": tuple(image["blobs"])}) for image in data["images"])
    values["features"] = tuple(data.get("features", ()))
    return Component(**values)


def load(path: Path) -> Bundle:
    """Read the bundle in the folder ``path``; KubesmithError if there is none or it is of another schema."""
    file = path / FILE
    try:
        data = json.loads(file.read_text())
        if data["schema"] != SCHEMA:
            raise KubesmithError(
                f"{file}: schema is {data['schema']}, this kubesmith reads {SCHEMA}",
                fix="Build it again: runner.py bundle build",
            )
        components = tuple(component_from(component) for component in data["components"])
        return Bundle(path, data["name"], data["digest"], data["arch"], data["kubernetes"], components)
    except FileNotFoundError as error:
        raise KubesmithError(f"{path} holds no bundle: no {FILE}", fix="Make one: runner.py bundle build") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KubesmithError(
            f"{file} cannot be read: {type(error).__name__}: {error}", fix="Build it again: runner.py bundle build"
        ) from error
