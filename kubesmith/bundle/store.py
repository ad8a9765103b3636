"""The content-addressed store: one folder a component, complete or absent, shared by all bundles."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Every file in the store has this time, so that a later write shows without reading a byte.
STAMP_NS = 1_000_000_000
RECORD = "component.json"


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make a file's bytes durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Entry:
    """One component in the store; ``record`` is its ``component.json``."""

    path: Path
    record: dict[str, Any]


class Store:
    """The store in the folder ``root``. Only the holder of the lock may write."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def _folder(self, name: str, key: str) -> Path:
        return self.root / f"{name}-{key}"

    def get(self, name: str, key: str) -> Entry | None:
        """Return the component if it is there and whole; what was changed since is removed and counts as absent."""
        folder = self._folder(name, key)
        try:
            record = json.loads((folder / RECORD).read_text())
        except (OSError, ValueError):
            return None
        if all(_untouched(folder / path, seen) for path, seen in record["content"].items()):
            return Entry(folder, record)
        shutil.rmtree(folder)
        return None

    def knows(self, name: str) -> bool:
        """Tell whether the component was made before, from whatever recipe."""
        return any(self.root.glob(f"{name}-*"))

    def put(self, name: str, key: str, make: Callable[[Path], dict[str, Any]]) -> Entry:
        """Have ``make`` fill a new folder and return the record; then publish both at once under the key."""
        self.root.mkdir(parents=True, exist_ok=True)
        new = self.root / f".new-{name}-{key}"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        record = make(new)
        record["content"] = _seal(new)
        (new / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
        sync_file(new / RECORD)
        sync_folder(new)
        folder = self._folder(name, key)
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
        sync_folder(self.root)
        return Entry(folder, record)

    def sweep(self) -> None:
        """Remove what an interrupted build left half made."""
        for left in self.root.glob(".new-*"):
            shutil.rmtree(left, ignore_errors=True)


def _untouched(path: Path, seen: dict[str, Any]) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    if status.st_size != seen["size"]:
        return False
    return status.st_mtime_ns == STAMP_NS or file_sha256(path) == seen["sha256"]


def _seal(folder: Path) -> dict[str, dict[str, Any]]:
    """Stamp and sync every file below ``folder``; return path → size and sha256."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())

    def one(path: Path) -> dict[str, Any]:
        os.utime(path, ns=(STAMP_NS, STAMP_NS))
        sync_file(path)
        return {"size": path.stat().st_size, "sha256": file_sha256(path)}

    with ThreadPoolExecutor() as pool:
        sealed = list(pool.map(one, found))
    return {str(path.relative_to(folder)): seen for path, seen in zip(found, sealed, strict=True)}


@contextmanager
def locked(file: Path, waiting: Callable[[str], None]) -> Iterator[bool]:
    """Hold the lock ``file``; if another process has it, tell ``waiting`` its process id once, and wait.

    Yields whether it had to wait.

    The kernel lets go of the lock when its holder ends, however that ends.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+") as handle:
        waited = False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = True
            handle.seek(0)
            waiting(handle.read().strip() or "unknown")
            fcntl.flock(handle, fcntl.LOCK_EX)
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        yield waited


def link(source: Path, target: Path) -> None:
    """Give ``source`` a second name; copy it where the file system cannot."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)
        sync_file(target)
