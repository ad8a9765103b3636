"""Image layers as tar files that come out the same, byte for byte, from the same files."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, cast

# Where blobs lie in an OCI layout, and in a component of the store.
BLOBS = Path("blobs") / "sha256"
# The number of the capability in linux/capability.h.
CAPABILITIES = {"net_bind_service": 10}
VFS_CAP_REVISION_2_EFFECTIVE = 0x02000001


@dataclass(frozen=True)
class Entry:
    """One member of a layer: a file with ``source`` or ``content``, a link, or a directory. ``path`` is relative."""

    path: str
    mode: int = 0o755
    owner: int = 0
    source: Path | None = None
    content: bytes = b""
    symlink: str = ""
    hardlink: str = ""
    directory: bool = False
    capability: str = ""


@dataclass(frozen=True)
class Blob:
    """A blob of the layout: ``digest`` is ``sha256:…``, ``size`` bytes."""

    digest: str
    size: int


class _Hashing:
    """A file that is hashed while it is written."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self.sha256 = hashlib.sha256()
        self.size = 0

    def tell(self) -> int:
        return self.size

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.size += len(data)
        return self._target.write(data)


def capability_attribute(name: str) -> str:
    """Return the extended attribute ``security.capability`` (revision 2, effective) as PAX header text."""
    permitted = 1 << CAPABILITIES[name]
    raw = struct.pack("<IIIII", VFS_CAP_REVISION_2_EFFECTIVE, permitted, 0, 0, 0)
    return raw.decode("utf-8", "surrogateescape")


def _header(entry: Entry) -> tarfile.TarInfo:
    info = tarfile.TarInfo(entry.path)
    info.mode = entry.mode
    info.uid = info.gid = entry.owner
    info.mtime = 0
    if entry.directory:
        info.type = tarfile.DIRTYPE
    elif entry.symlink:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.symlink, 0o777
    elif entry.hardlink:
        info.type, info.linkname = tarfile.LNKTYPE, entry.hardlink
    else:
        info.size = entry.source.stat().st_size if entry.source else len(entry.content)
    if entry.capability:
        info.pax_headers = {"SCHILY.xattr.security.capability": capability_attribute(entry.capability)}
    return info


def _add(archive: tarfile.TarFile, entry: Entry) -> None:
    info = _header(entry)
    if not info.isreg():
        archive.addfile(info)
    elif entry.source:
        with entry.source.open("rb") as content:
            archive.addfile(info, content)
    else:
        archive.addfile(info, io.BytesIO(entry.content))


def with_parents(entries: Iterable[Entry]) -> list[Entry]:
    """Return ``entries`` sorted by path, each parent directory added once; links stand after what they name."""
    byname = {entry.path: entry for entry in entries}
    for path in list(byname):
        for parent in Path(path).parents:
            if str(parent) != ".":
                byname.setdefault(str(parent), Entry(str(parent), directory=True))
    return sorted(byname.values(), key=lambda entry: (bool(entry.hardlink), entry.path))


def write_layer(entries: Iterable[Entry], target: BinaryIO) -> Blob:
    """Write an uncompressed layer to ``target``; the same entries give the same bytes on any machine and day."""
    hashing = _Hashing(target)
    with tarfile.TarFile(fileobj=cast("IO[bytes]", hashing), mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in with_parents(entries):
            _add(archive, entry)
    return Blob("sha256:" + hashing.sha256.hexdigest(), hashing.size)


def put_layer(entries: Iterable[Entry], blobs: Path) -> Blob:
    """Write a layer into the folder ``blobs`` (``blobs/sha256`` of a layout) under its own digest."""
    blobs.mkdir(parents=True, exist_ok=True)
    temporary = blobs / ".layer.new"
    with temporary.open("wb") as target:
        blob = write_layer(entries, target)
        target.flush()
        os.fsync(target.fileno())
    temporary.replace(blobs / blob.digest.removeprefix("sha256:"))
    return blob


def put_bytes(content: bytes, blobs: Path) -> Blob:
    """Write ``content`` into the folder ``blobs`` under its own digest."""
    blobs.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(content).hexdigest()
    (blobs / name).write_bytes(content)
    return Blob(f"sha256:{name}", len(content))
