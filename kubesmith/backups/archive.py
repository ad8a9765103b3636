"""A backup opened: decrypted, every file checked, its snapshot looked at by etcd's own program."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrage
from ansible_collections.kubesmith.cluster.plugins.module_utils.backup import SCHEMA
from ansible_collections.kubesmith.cluster.plugins.module_utils.files import sha256

from kubesmith.backups import key
from kubesmith.backups.store import Backup
from kubesmith.errors import InputError, KubesmithError

ALLOWED = re.compile(r"etcd\.db|cluster\.yml|backup\.json|etc/kubernetes/[A-Za-z0-9._+@-]+(/[A-Za-z0-9._+@-]+)*")
ANOTHER = "take another one: python3 runner.py backup list"


@dataclass(frozen=True)
class Opened:
    """A backup in the clear, in a private folder that goes with it. ``meta`` is what it says of itself, inside."""

    meta: Mapping[str, Any]
    folder: Path

    @property
    def database(self) -> Path:
        """Return the snapshot of etcd."""
        return self.folder / "etcd.db"

    @property
    def spec(self) -> Path:
        """Return the cluster file."""
        return self.folder / "cluster.yml"

    def configuration(self, name: str) -> Path:
        """Return a file or folder of /etc/kubernetes."""
        return self.folder / "etc/kubernetes" / name


@contextmanager
def opened(backup: Backup, identity: Path) -> Iterator[Opened]:
    """Open a backup that this machine holds; InputError, with nothing touched, names what is wrong with it.

    ``identity`` is a file with age's private key. What was opened is removed afterwards.
    """
    assert backup.file
    check_outside(backup)
    private = key.load(identity)
    with tempfile.TemporaryDirectory(prefix="kubesmith-backup-") as name:  # mode 0700
        folder = Path(name)
        _decrypt(backup, private, identity, folder / ".packed")
        found = _unpack(backup, folder)
        (folder / ".packed").unlink()
        yield Opened(_checked(backup, folder, found), folder)


def check_outside(backup: Backup) -> None:
    """Raise InputError unless the encrypted file is what its description says, where it has one."""
    assert backup.file
    if not backup.file.is_file():
        raise InputError(f"backup {backup.id}: {backup.file} is missing, only its description is left", fix=ANOTHER)
    size, wanted = backup.file.stat().st_size, backup.meta.get("bytes")
    if wanted is not None and size != wanted:
        word = "truncated" if size < wanted else "too long"
        raise InputError(f"backup {backup.id} is {word}: it has {size} bytes, and had {wanted}", fix=ANOTHER)
    digest = backup.meta.get("sha256")
    if digest and (seen := sha256(backup.file)) != digest:
        raise InputError(f"backup {backup.id} was altered: its sha256 is {seen}, and was {digest}", fix=ANOTHER)


def _decrypt(backup: Backup, private: pyrage.x25519.Identity, identity: Path, target: Path) -> None:
    assert backup.file
    target.touch(mode=0o600)
    try:
        with backup.file.open("rb") as source, target.open("wb") as out:
            pyrage.decrypt_io(source, out, [private])
    except (pyrage.DecryptError, OSError, ValueError) as error:
        if "matching key" in str(error).lower():
            raise InputError(
                f"backup {backup.id} cannot be read with {identity}: it was encrypted for another key",
                fix="name the right one: --identity FILE",
            ) from error
        raise InputError(f"backup {backup.id} is truncated, altered or no file of age: {error}", fix=ANOTHER) from error


def _unpack(backup: Backup, folder: Path) -> dict[str, str]:
    """Unpack what a backup may hold and nothing else; return {name: sha256}."""
    digests: dict[str, str] = {}
    try:
        with gzip.open(folder / ".packed") as packed, tarfile.open(fileobj=packed, mode="r|") as archive:
            for row in archive:
                data = archive.extractfile(row) if row.isreg() and ALLOWED.fullmatch(row.name) else None
                if data is None or ".." in row.name.split("/") or row.name in digests:
                    raise InputError(
                        f"backup {backup.id} holds {row.name[:100]!r}, which no backup holds; it is refused",
                        fix=ANOTHER,
                    )
                digests[row.name] = _write(folder / row.name, data, row.mode & 0o700 | 0o400)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise InputError(f"backup {backup.id} is damaged inside: {error}", fix=ANOTHER) from error
    return digests


def _write(target: Path, data: Any, mode: int) -> str:
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest = hashlib.sha256()
    with target.open("wb") as out:
        target.chmod(mode | 0o200)
        while block := data.read(1 << 20):
            digest.update(block)
            out.write(block)
    return digest.hexdigest()


def _checked(backup: Backup, folder: Path, found: Mapping[str, str]) -> dict[str, Any]:
    """Return what a backup says of itself, once every file is what it says."""
    try:
        meta = json.loads((folder / "backup.json").read_text())
        wanted = dict(meta["files"])
        named = {name: meta[name] for name in ("id", "cluster", "authority", "kubernetes", "etcd", "snapshot")}
        schema = int(meta["schema"])
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise InputError(f"backup {backup.id} does not say what it is: {error}", fix=ANOTHER) from error
    if schema > SCHEMA:
        raise InputError(
            f"backup {backup.id}: a newer kubesmith wrote it (schema {schema}, this one reads {SCHEMA})",
            fix="use that kubesmith",
        )
    wrong = sorted(
        name for name in wanted.keys() | found.keys() - {"backup.json"} if wanted.get(name) != found.get(name)
    )
    if wrong:
        raise InputError(f"backup {backup.id} is damaged inside: {', '.join(wrong[:5])}", fix=ANOTHER)
    if "sha256" in backup.meta and (name := str(named["id"])) != backup.id:
        raise InputError(f"the file of backup {backup.id} holds another one: {name}", fix=ANOTHER)
    return dict(meta)


def inspect(one: Opened, bundle: Path) -> dict[str, Any]:
    """Return what ``etcdutl`` finds in the snapshot; InputError if it is not what was saved, or of a newer etcd."""
    program = bundle / "bin" / "etcdutl"
    if not program.exists():
        raise KubesmithError(f"there is no {program}", fix="python3 runner.py bundle build")
    command = [str(program), "snapshot", "status", str(one.database), "--write-out=json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        raise InputError(f"backup {one.meta['id']}: etcdutl refuses its snapshot: {said}", fix=ANOTHER)
    row = json.loads(done.stdout)
    seen, wanted = format(row["hash"], "08x"), one.meta["snapshot"]["hash"]
    if seen != wanted:
        raise InputError(f"backup {one.meta['id']}: the hash of its snapshot is {seen}, and was {wanted}", fix=ANOTHER)
    return {"hash": seen, "revision": row["revision"], "keys": row["totalKey"], "storage": row.get("version", "")}
