"""A bundle of paper: the description of a real one, with programs that only pretend and images without content."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).parent / "programs"


def make(real: Path, target: Path) -> Path:
    """Write to ``target`` a bundle with every file and image that the bundle ``real`` has, a few bytes each."""
    shutil.rmtree(target, ignore_errors=True)
    bundle = json.loads((real / "bundle.json").read_text())
    (target / "images/blobs/sha256").mkdir(parents=True)
    manifests = [_image(target, row) for component in bundle["components"] for row in component.get("images", ())]
    for component in bundle["components"]:
        for row in component.get("files", ()):
            _file(target, row)
    (target / "images/oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (target / "images/index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    text = json.dumps(bundle["components"], sort_keys=True)
    bundle |= {"name": "paper-" + bundle["name"], "digest": "sha256:" + hashlib.sha256(text.encode()).hexdigest()}
    (target / "bundle.json").write_text(json.dumps(bundle, indent=1))
    return target


def _file(target: Path, row: dict[str, Any]) -> None:
    """Write a file, and its size and digest into ``row``; one of ours in the place of a program that is run."""
    ours = PROGRAMS / Path(row["path"]).name
    content = ours.read_bytes() if ours.exists() else f"# {row['path']}\n".encode()
    path = target / row["path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    row |= {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def _image(target: Path, row: dict[str, Any]) -> dict[str, Any]:
    """Write an image whose only blob is its manifest, and its digest into ``row``; return its descriptor."""
    content = json.dumps({"schemaVersion": 2, "paper": row["ref"]}).encode()
    digest = hashlib.sha256(content).hexdigest()
    (target / "images/blobs/sha256" / digest).write_bytes(content)
    row |= {"digest": f"sha256:{digest}", "size": len(content), "blobs": []}
    media = "application/vnd.oci.image.manifest.v1+json"
    return {"mediaType": media, "digest": row["digest"], "size": len(content)}
