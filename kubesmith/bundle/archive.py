"""One file to carry across: a bundle as a compressed tar that ends with its own digest."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast

from backports import zstd

from kubesmith.bundle.assemble import folder_name, use
from kubesmith.bundle.model import FILE, Bundle, load
from kubesmith.bundle.store import STAMP_NS, file_sha256, sync_file, sync_folder
from kubesmith.bundle.verify import verify
from kubesmith.errors import InputError, KubesmithError
from kubesmith.progress import Progress

SCHEMA = 1
#: First member: what follows, each with size and sha256. Its own name cannot stand in a bundle.
CONTENTS = "kubesmith-export.json"
BUNDLE = "bundle"
NODE_IMAGE = "node-image"
#: A frame that every zstd reader skips, with the sha256 of all bytes before it: `zstd -d` and `tar --zstd` still work.
MAGIC = bytes.fromhex("502a4d18") + (32).to_bytes(4, "little")
TRAILER = len(MAGIC) + 32
ZSTD = bytes.fromhex("28b52ffd")
CHUNK = 1 << 20
NAME = r"[a-z0-9][a-z0-9.+-]{0,100}"
MOST_CONTENTS = 16 << 20
ITEM = "bundle"
FIX = "Carry the file across again, or export it again: runner.py bundle export FILE"


@dataclass(frozen=True)
class Exported:
    """A file that ``write`` made or ``read`` took: its digest is what the other side should see."""

    digest: str
    size: int
    bundle: Path
    node_image: str = ""


class _Digesting:
    """A file that is hashed while it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


class _Body:
    """The part of a file in front of the trailer, hashed while it is read."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        self.sha256.update(data)
        return data

    def drain(self) -> str:
        """Read what is left and return the digest of the whole."""
        while self.read(CHUNK):
            pass
        return self.sha256.hexdigest()


def digest_of_file(file: Path) -> str:
    """Return the digest of an exported file, all its bytes read and compared with its end; InputError if it differs."""
    with _opened(file) as (body, wanted):
        found = body.drain()
    _compare(file, found, wanted, "")
    return f"sha256:{found}"


def contents(file: Path) -> dict[str, Any]:
    """Return an exported file's list of contents (name, digest, kubernetes, members); only its beginning is read."""
    with _opened(file) as (body, _wanted), _reading(file, ["its beginning"]), _tar(body) as (archive, _packed):
        return _contents(file, archive, archive.next())


def write(folder: Path, target: Path, progress: Progress, node_image: Path | None = None) -> Exported:
    """Write the bundle in ``folder`` (and the node image, a tar) into one new file.

    Every byte is checked first. InputError if the bundle is not whole or the file cannot be written there.
    """
    progress.start(ITEM, "checking")
    problems = verify(folder)
    if problems:
        raise InputError(
            f"{folder} is not whole, so it is not exported: {'; '.join(problems[:5])}", fix="runner.py bundle build"
        )
    bundle = load(folder)
    rows = [_row(path, f"{BUNDLE}/{path.relative_to(folder)}") for path in _files(folder)]
    if node_image:
        rows.append(_row(node_image, f"{NODE_IMAGE}/{node_image.name}"))
    partial = target.with_name(f".{target.name}.new")
    try:
        with partial.open("wb") as file:
            digest = _pack(file, bundle, rows, progress)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror}", fix="Choose another folder.") from error
    finally:
        partial.unlink(missing_ok=True)
    progress.done(ITEM, f"{len(rows)} files", changed=True)
    return Exported(digest, target.stat().st_size, folder, node_image.name if node_image else "")


def _files(folder: Path) -> list[Path]:
    """Return all files of a bundle; what decides comes first, so that a wrong file is refused early."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return sorted(found, key=lambda path: path.name != FILE)


def _row(path: Path, name: str) -> dict[str, Any]:
    status = path.stat()
    return {
        "name": name,
        "size": status.st_size,
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "sha256": file_sha256(path),
        "from": path,
    }


def _pack(file: BinaryIO, bundle: Bundle, rows: list[dict[str, Any]], progress: Progress) -> str:
    """Write the tar and the trailer; return the digest."""
    out = _Digesting(file)
    settings: dict[int, int] = {
        zstd.CompressionParameter.compression_level: 3,
        zstd.CompressionParameter.nb_workers: os.cpu_count() or 1,
        zstd.CompressionParameter.checksum_flag: 1,
    }
    head = {"schema": SCHEMA, "name": bundle.name, "digest": bundle.digest, "arch": bundle.arch}
    head["kubernetes"] = bundle.kubernetes
    members = [{key: value for key, value in row.items() if key != "from"} for row in rows]
    with (
        zstd.ZstdFile(cast("IO[bytes]", out), "w", options=settings) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        _add(archive, CONTENTS, (json.dumps({**head, "members": members}, indent=1) + "\n").encode())
        for row in rows:
            progress.update(ITEM, row["name"])
            info = tarfile.TarInfo(row["name"])
            info.size, info.mode = row["size"], int(row["mode"], 8)
            with row["from"].open("rb") as content:
                archive.addfile(info, content)
    digest = out.sha256
    file.write(MAGIC + digest.digest())
    return f"sha256:{digest.hexdigest()}"


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def read(
    file: Path, bundles: Path, progress: Progress, *, digest: str = "", node_images: Path | None = None
) -> Exported:
    """Take the bundle out of ``file`` into a folder below ``bundles``, put it to use, and return it.

    Nothing is where a run would find it before every byte was checked. ``digest`` is what the exporting side printed;
    a node image in the file goes into ``node_images``. InputError names the first thing that is wrong.
    """
    progress.start(ITEM, "reading")
    bundles.mkdir(parents=True, exist_ok=True)
    incoming = bundles / ".new-import"
    shutil.rmtree(incoming, ignore_errors=True)
    try:
        with _opened(file) as (body, wanted):
            head = _unpack(file, body, incoming, progress)
            found = body.drain()
        _compare(file, found, wanted, digest)
        progress.update(ITEM, "checking")
        bundle = _checked(file, incoming / BUNDLE, head)
        image = _place_image(incoming / NODE_IMAGE, node_images) if node_images else ""
        final = _publish(bundle, bundles)
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    progress.done(ITEM, bundle.name, changed=True)
    return Exported(f"sha256:{found}", file.stat().st_size, final, image)


@contextmanager
def _opened(file: Path) -> Iterator[tuple[_Body, str]]:
    """Yield the file's body and the digest that its trailer gives, "" where there is no trailer."""
    try:
        handle = file.open("rb")
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}", fix="Check the path.") from error
    with handle:
        size = os.fstat(handle.fileno()).st_size
        if handle.read(len(ZSTD)) != ZSTD:
            raise InputError(f"{file} is no exported bundle: it does not begin as zstd data does", fix=FIX)
        handle.seek(max(0, size - TRAILER))
        trailer = handle.read(TRAILER)
        whole = len(trailer) == TRAILER and trailer.startswith(MAGIC)
        handle.seek(0)
        yield _Body(handle, size - TRAILER if whole else size), trailer[len(MAGIC) :].hex() if whole else ""


def _compare(file: Path, found: str, wanted: str, expected: str) -> None:
    if not wanted:
        raise InputError(f"{file} was cut off, or was not written by 'bundle export': its digest is missing", fix=FIX)
    if found != wanted:
        raise InputError(f"{file} was changed: its sha256 is {found}, its last bytes say {wanted}", fix=FIX)
    if expected and expected.removeprefix("sha256:").lower() != found:
        raise InputError(
            f"{file} is not the file that was meant: its digest is sha256:{found}, wanted is {expected}", fix=FIX
        )


def _unpack(file: Path, body: _Body, target: Path, progress: Progress) -> dict[str, Any]:
    """Unpack into ``target`` what the file's own list of contents names, and nothing else; return that list."""
    at = ["its beginning"]
    with _reading(file, at), _tar(body) as (archive, packed):
        head = _contents(file, archive, archive.next())
        _room(target, sum(row["size"] for row in head["members"]))
        left = {row["name"]: row for row in head["members"]}
        while member := archive.next():
            at.append(member.name.encode("ascii", "backslashreplace").decode())
            progress.update(ITEM, at[-1])
            _take(file, archive, member, left, target)
        while packed.read(CHUNK):  # padding; a damaged end shows here
            pass
    if left:
        raise InputError(f"{file}: {len(left)} file(s) of its list are missing, first {min(left)}", fix=FIX)
    return head


@contextmanager
def _tar(body: _Body) -> Iterator[tuple[tarfile.TarFile, zstd.ZstdFile]]:
    """Open the tar inside; it keeps no member in memory."""
    packed = zstd.ZstdFile(cast("IO[bytes]", body), "r")
    with packed, tarfile.open(fileobj=packed, mode="r|") as archive:
        yield archive, packed


@contextmanager
def _reading(file: Path, at: list[str]) -> Iterator[None]:
    """Turn what the readers of zstd and tar raise into a sentence; the last of ``at`` is where they were."""
    try:
        yield
    except (EOFError, tarfile.ReadError) as error:
        raise InputError(f"{file} is cut off or damaged in {at[-1]}: {error}", fix=FIX) from error
    except (zstd.ZstdError, tarfile.TarError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is damaged in or after {at[-1]}: {error}", fix=FIX) from error
    except OSError as error:
        raise KubesmithError(f"{file} cannot be unpacked: {error.strerror or error}") from error


def _contents(file: Path, archive: tarfile.TarFile, first: tarfile.TarInfo | None) -> dict[str, Any]:
    """Return the list of contents, whose names are safe to write."""
    if first is None or first.name != CONTENTS or not first.isreg() or first.size > MOST_CONTENTS:
        raise InputError(
            f"{file} is no exported bundle: it begins with {first.name if first else 'nothing'!r}, not {CONTENTS}",
            fix=FIX,
        )
    content = archive.extractfile(first)
    assert content
    try:
        head: dict[str, Any] = json.loads(content.read())
        schema, rows = (
            head["schema"],
            [(row["name"], row["size"], row["mode"], row["sha256"]) for row in head["members"]],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: {CONTENTS} cannot be read: {error}", fix=FIX) from error
    if schema != SCHEMA:
        raise InputError(
            f"{file} is of form {schema}, this kubesmith reads {SCHEMA}", fix="Use the kubesmith that fits."
        )
    for name, *_ in rows:
        if not safe(str(name)):
            raise InputError(f"{file}: {CONTENTS} names {name!r}, which would lie outside of the bundle", fix=FIX)
    return head


def _room(target: Path, size: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < size:
        raise InputError(
            f"{target.parent}: {free >> 20} MiB free, the bundle needs {size >> 20}",
            fix="Free that much, or set KUBESMITH_CACHE to a folder on a larger disk.",
        )


def safe(name: str) -> bool:
    """Tell whether a member may be written: below one of our two folders, without a way out."""
    path = PurePosixPath(name)
    inside = len(path.parts) > 1 and path.parts[0] in (BUNDLE, NODE_IMAGE) and not {"..", "."} & set(name.split("/"))
    return inside and str(path) == name and "\0" not in name and "\\" not in name


def _take(
    file: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, left: dict[str, dict[str, Any]], target: Path
) -> None:
    """Write one member to its place; InputError if it is not what the list says."""
    if not safe(member.name):
        raise InputError(f"{file}: its member {member.name!r} would lie outside of the bundle", fix=FIX)
    if not member.isreg():
        raise InputError(f"{file}: its member {member.name} is no plain file", fix=FIX)
    row = left.pop(member.name, None)
    if row is None:
        raise InputError(f"{file}: its member {member.name} is not in its list of contents, or there twice", fix=FIX)
    if member.size != row["size"]:
        raise InputError(f"{file}: {member.name} has {member.size} bytes, must be {row['size']}", fix=FIX)
    content = archive.extractfile(member)
    assert content
    path = target / member.name
    path.parent.mkdir(parents=True, exist_ok=True)
    sha256 = hashlib.sha256()
    with path.open("xb") as out:
        while data := content.read(CHUNK):
            sha256.update(data)
            out.write(data)
    if sha256.hexdigest() != row["sha256"]:
        raise InputError(
            f"{file}: {member.name} was changed: sha256 is {sha256.hexdigest()}, must be {row['sha256']}", fix=FIX
        )
    path.chmod(int(row["mode"], 8) & 0o777)


def _checked(file: Path, folder: Path, head: dict[str, Any]) -> Bundle:
    """Return the bundle that was unpacked; InputError names what it lacks."""
    try:
        bundle, problems = load(folder), verify(folder)
    except KubesmithError as error:
        raise InputError(f"{file}: {error}", fix=FIX) from error
    if problems:
        more = f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""
        raise InputError(f"{file} is no whole bundle: {'; '.join(problems[:5])}{more}", fix=FIX)
    if not re.fullmatch(NAME, bundle.name):
        raise InputError(f"{file}: the bundle in it is called {bundle.name!r}, which is no name for a folder", fix=FIX)
    if bundle.digest != head.get("digest"):
        raise InputError(f"{file}: holds the bundle {bundle.digest}, its list says {head.get('digest')}", fix=FIX)
    return bundle


def _place_image(folder: Path, target: Path | None) -> str:
    """Move the node image, where there is one, to where the provider looks for it; return its name."""
    for image in sorted(folder.glob("*.tar")) if target else []:
        assert target
        target.mkdir(parents=True, exist_ok=True)
        sync_file(image)
        shutil.move(image, target / image.name)
        return image.name
    return ""


def _publish(bundle: Bundle, bundles: Path) -> Path:
    """Move the checked bundle to its own place and put it to use."""
    final = bundles / folder_name(bundle.name, bundle.digest)
    for path in bundle.path.rglob("*"):
        if path.is_file():
            os.utime(path, ns=(STAMP_NS, STAMP_NS))
            sync_file(path)
    if final.is_dir() and not verify(final):
        shutil.rmtree(bundle.path)  # there already: nodes may have it mounted
    else:
        shutil.rmtree(final, ignore_errors=True)
        bundle.path.rename(final)
        sync_folder(bundles)
    use(final, bundle.kubernetes)
    return final
