"""OCI images: configs, manifests, and the one layout that holds every image of a bundle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubesmith.bundle.layers import Blob, put_bytes
from kubesmith.bundle.model import Image, canonical
from kubesmith.bundle.recipe import ImageRecipe

REPOSITORY = "kubesmith.internal"
EPOCH = "1970-01-01T00:00:00Z"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TYPE = "application/vnd.oci.image"
MANIFEST = f"{TYPE}.manifest.v1+json"


@dataclass(frozen=True)
class Layer:
    """An uncompressed layer (its digest is its diff ID too) and how it came about."""

    blob: Blob
    comment: str


def descriptor(media: str, blob: Blob) -> dict[str, Any]:
    """Return an OCI descriptor."""
    return {"mediaType": media, "digest": blob.digest, "size": blob.size}


def config(recipe: ImageRecipe, layers: Sequence[Layer], arch: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the image's config; no date in it, so that its digest can be reproduced."""
    environment = {"PATH": PATH, **recipe.env}
    run = {
        "Env": [f"{key}={value}" for key, value in environment.items()],
        "Entrypoint": list(recipe.entrypoint),
        "Cmd": list(recipe.cmd),
        "User": recipe.user,
        "WorkingDir": recipe.workdir,
        "Labels": dict(labels),
    }
    return {
        "created": EPOCH,
        "architecture": arch,
        "os": "linux",
        "config": {key: value for key, value in run.items() if value},
        "rootfs": {"type": "layers", "diff_ids": [layer.blob.digest for layer in layers]},
        "history": [{"created": EPOCH, "created_by": layer.comment} for layer in layers],
    }


def put_image(recipe: ImageRecipe, layers: Sequence[Layer], arch: str, labels: Mapping[str, str], blobs: Path) -> Image:
    """Write config and manifest into ``blobs`` and return the image; its layers are there already."""
    configuration = put_bytes(canonical(config(recipe, layers, arch, labels)), blobs)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(f"{TYPE}.config.v1+json", configuration),
        "layers": [descriptor(f"{TYPE}.layer.v1.tar", layer.blob) for layer in layers],
    }
    top = put_bytes(canonical(manifest), blobs)
    parts = [top, configuration, *(layer.blob for layer in layers)]
    return Image(
        ref=f"{REPOSITORY}/{recipe.name}:{recipe.tag}",
        digest=top.digest,
        size=sum(blob.size for blob in parts),
        set=recipe.set,
        blobs=tuple(blob.digest for blob in parts),
    )


def index(images: Sequence[Image], tops: Mapping[str, bytes], arch: str) -> dict[str, Any]:
    """Return ``index.json``; both names are set: containerd reads the one, other tools the other.

    ``tops`` is {digest: manifest}; one that was pulled may be of Docker's own type.
    """
    entries = [
        {
            **descriptor(_media(tops[image.digest]), Blob(image.digest, len(tops[image.digest]))),
            "platform": {"architecture": arch, "os": "linux"},
            "annotations": {"io.containerd.image.name": image.ref, "org.opencontainers.image.ref.name": image.ref},
        }
        for image in sorted(images, key=lambda image: image.ref)
    ]
    return {"schemaVersion": 2, "mediaType": f"{TYPE}.index.v1+json", "manifests": entries}


def _media(manifest: bytes) -> str:
    return str(json.loads(manifest).get("mediaType", MANIFEST))


def write_layout(folder: Path, images: Sequence[Image], arch: str) -> None:
    """Write ``oci-layout`` and ``index.json`` into ``folder``, whose ``blobs/sha256`` is filled."""
    blobs = folder / "blobs" / "sha256"
    tops = {image.digest: (blobs / image.digest.removeprefix("sha256:")).read_bytes() for image in images}
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}\n')
    (folder / "index.json").write_text(json.dumps(index(images, tops, arch), indent=1) + "\n")
