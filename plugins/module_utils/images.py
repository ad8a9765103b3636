# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Images of a shared OCI layout as one tar stream, and what containerd already has."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

BLOCK = tarfile.BLOCKSIZE
NAME = "io.containerd.image.name"
PIN = "io.cri-containerd.pinned=pinned"  # the kubelet does not throw such an image away to make room
REF_NAME = "org.opencontainers.image.ref.name"
Row = Mapping[str, Any]


def parse_images(listing: str) -> tuple[dict[str, str], set[str]]:
    """Return {reference: digest} and the pinned references of the table that ``ctr images ls`` prints."""
    rows = [line.split() for line in listing.splitlines()[1:]]
    found = {row[0]: row[2] for row in rows if len(row) >= 3}
    return found, {row[0] for row in rows if PIN in row[-1].split(",")}


def missing(wanted: Sequence[Row], present: Mapping[str, str]) -> list[Row]:
    """Return the wanted image rows that are absent or under another digest; ``present`` is {reference: digest}."""
    return [row for row in wanted if present.get(row["ref"]) != row["digest"]]


def needed_blobs(rows: Sequence[Row], present: Container[str]) -> list[str]:
    """Return the digests to send for image ``rows``, each once, those in ``present`` left out, in a stable order."""
    wanted = dict.fromkeys(blob for row in rows for blob in (row["digest"], *row["blobs"]))
    return [blob for blob in wanted if blob not in present]


def index_json(rows: Sequence[Row], descriptors: Mapping[str, Row]) -> bytes:
    """Return index.json, as bytes, of an archive with image ``rows``; ``descriptors`` is {digest: descriptor}."""
    manifests = []
    for row in rows:
        descriptor = {key: descriptors[row["digest"]][key] for key in ("mediaType", "digest", "size")}
        descriptor["annotations"] = {NAME: row["ref"], REF_NAME: row["ref"]}
        manifests.append(descriptor)
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests}
    return json.dumps(index).encode()


def write_archive(out: int, index: bytes, blobs: Mapping[str, Path]) -> None:
    """Write an OCI archive to the file descriptor ``out``; ``blobs`` is {digest: path}.

    File content goes from file to pipe inside the kernel (sendfile): the archive exists nowhere, not even in memory.
    """
    _member(out, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
    _member(out, "index.json", index)
    for digest, path in blobs.items():
        with path.open("rb") as source:
            size = os.fstat(source.fileno()).st_size
            _write(out, _header("blobs/" + digest.replace(":", "/", 1), size))
            _send(out, source.fileno(), size)
            _write(out, b"\0" * (-size % BLOCK))
    _write(out, b"\0" * (2 * BLOCK))


def _member(out: int, name: str, content: bytes) -> None:
    _write(out, _header(name, len(content)) + content + b"\0" * (-len(content) % BLOCK))


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.GNU_FORMAT)


def _write(out: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(out, view) :]


def _send(out: int, source: int, size: int) -> None:
    offset = 0
    while offset < size:
        sent = os.sendfile(out, source, offset, size - offset)
        if sent == 0:
            raise OSError("a blob of the bundle became shorter while it was read")
        offset += sent
