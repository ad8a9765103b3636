# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A backup of the cluster, made on a control plane: etcd, PKI, kubeadm's configuration and the cluster file, encrypted.

A node knows only the public key: it can write backups, and read none. The file ``ID.tar.gz.age`` holds ``etcd.db``,
``cluster.yml``, ``etc/kubernetes/…`` and, last, ``backup.json`` with what it is and the sha256 of all the others;
``ID.json`` beside it says the same of the whole, for lists, and the sha256 of the encrypted file.

The module and the node's timer run the same code: ``python3 -m …module_utils.backup SETTINGS``.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from ansible_collections.kubesmith.cluster.plugins.module_utils import etcd_data as etcd
from ansible_collections.kubesmith.cluster.plugins.module_utils import files
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, lock

AGE = "/usr/local/bin/age"
FOLDER = "/var/lib/kubesmith/backups"
SUFFIX = ".tar.gz.age"
SCHEMA = 1
CONFIGURATION = "/etc/kubernetes"
#: kubeadm's own copies of older data, and ours while a restore is at work.
LEFT_OUT = frozenset(("tmp", "kubesmith-restore"))
SPARE = 64 * 1024 * 1024  # bytes that stay free beside a backup
PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
Meta = dict[str, Any]


def create(settings: Mapping[str, Any], folder: str = FOLDER) -> Meta:
    """Make a backup and return what its ``ID.json`` holds; CommandError if anything of it fails.

    ``settings`` is {cluster, recipients: [age1…], spec: text of the cluster file, reason, keep: how many stay}.
    """
    etcd.require()
    place = Path(folder)
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.chmod(0o700)
    with lock("backup", 600):
        sweep(place)
        running = etcd.status()
        require_space(place, running["bytes"])
        work = Path(tempfile.mkdtemp(prefix=".new-", dir=folder))
        try:
            meta = _made(settings, work, running)
            for name in (f"{meta['id']}{SUFFIX}", f"{meta['id']}.json"):  # the description last: it makes it count
                _sync(work / name)
                (work / name).replace(place / name)
            _sync(place)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        prune(place, settings["cluster"], int(settings["keep"]))
    return meta


def _made(settings: Mapping[str, Any], work: Path, running: Mapping[str, Any]) -> Meta:
    database = work / "etcd.db"
    seen = etcd.snapshot(str(database))
    meta = description(settings, running, seen)
    encrypted = work / f"{meta['id']}{SUFFIX}"
    write(encrypted, settings["recipients"], meta, contents(database, settings["spec"]))
    database.unlink()
    meta.update(bytes=encrypted.stat().st_size, sha256=files.sha256(encrypted))
    files.put(work / f"{meta['id']}.json", json.dumps(meta, indent=1) + "\n", 0o600)
    return meta


def description(settings: Mapping[str, Any], running: Mapping[str, Any], seen: Mapping[str, Any]) -> Meta:
    """Return what tells a backup from others."""
    now = time.time()
    node = os.uname().nodename
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now)) + f"{int(now * 1000) % 1000:03d}Z"
    return {
        "schema": SCHEMA,
        "id": f"{settings['cluster']}-{stamp}-{node}",
        "cluster": settings["cluster"],
        "authority": authority(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now)),
        "node": node,
        "reason": settings["reason"],
        "kubernetes": kubernetes(),
        "etcd": running["version"],
        "snapshot": dict(seen),
    }


def authority() -> str:
    """Return the SHA-256 of the cluster's CA, in hexadecimal: what tells clusters of one name apart."""
    found = PEM.search(files.read(f"{CONFIGURATION}/pki/ca.crt") or "")
    if not found:
        raise CommandError(f"{CONFIGURATION}/pki/ca.crt holds no certificate: there is no cluster on this node")
    import ssl  # noqa: PLC0415 - only here, and slow to load

    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(found.group(0))).hexdigest()


def kubernetes() -> str:
    """Return the version of the API server that this node runs, without its v."""
    text = files.read(f"{CONFIGURATION}/manifests/kube-apiserver.yaml") or ""
    found = re.search(r"image: \S+:v(\d+\.\d+\.\d+\S*)", text)
    return found.group(1) if found else ""


def contents(database: Path, spec: str) -> Iterator[tuple[str, int, BinaryIO]]:
    """Yield (name, mode, open file) of everything that a backup holds."""
    with database.open("rb") as data:
        yield "etcd.db", 0o600, data
    yield "cluster.yml", 0o600, io.BytesIO(spec.encode())
    for path in configuration():
        with path.open("rb") as data:
            yield str(path).lstrip("/"), path.stat().st_mode & 0o777, data


def configuration(root: str = CONFIGURATION) -> list[Path]:
    """Return the files of /etc/kubernetes, keys included."""
    found = []
    for folder, names, entries in os.walk(root):
        names[:] = sorted(name for name in names if name not in LEFT_OUT or folder != root)
        found += [Path(folder, name) for name in sorted(entries) if Path(folder, name).is_file()]
    return found


def write(
    target: Path, recipients: Sequence[str], meta: Mapping[str, Any], entries: Iterator[tuple[str, int, BinaryIO]]
) -> None:
    """Pack and encrypt ``entries``; nothing of it is on a disk in the clear."""
    command = [AGE, "--encrypt", "--output", str(target)]
    for recipient in recipients:
        command += ["--recipient", recipient]
    try:
        age = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    except FileNotFoundError:
        raise CommandError(f"{AGE} is not installed: the bundle is older than backups; run up with a new one") from None
    if age.stdin is None or age.stderr is None:
        raise CommandError(f"{AGE} was started without its pipes")
    broken: Exception | None = None
    try:
        pack(age.stdin, meta, entries)
        age.stdin.close()
    except (OSError, tarfile.TarError) as error:
        broken = error
        age.kill()
    said = age.stderr.read().decode(errors="replace").strip()
    if age.wait() != 0 or broken:
        raise CommandError(f"the backup could not be encrypted: {said or broken}")
    target.chmod(0o600)


def pack(out: Any, meta: Mapping[str, Any], entries: Iterator[tuple[str, int, BinaryIO]]) -> None:
    """Write entries, and a description with the digest of each, as a compressed archive."""
    digests: dict[str, str] = {}
    packed = gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1, mtime=0)
    with packed, tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for name, mode, data in entries:
            digests[name] = _add(archive, name, mode, data)
        text = json.dumps(dict(meta, files=digests), indent=1).encode()
        _add(archive, "backup.json", 0o600, io.BytesIO(text))


class _Hashing:
    """A file that is read once, and hashed on the way."""

    def __init__(self, data: BinaryIO) -> None:
        self.data = data
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read."""
        block = self.data.read(size)
        self.digest.update(block)
        return block


def _add(archive: tarfile.TarFile, name: str, mode: int, data: BinaryIO) -> str:
    row = tarfile.TarInfo(name)
    row.size, row.mode, row.mtime = data.seek(0, os.SEEK_END), mode, int(time.time())
    data.seek(0)
    seen = _Hashing(data)
    archive.addfile(row, cast("BinaryIO", seen))
    return seen.digest.hexdigest()


def require_space(place: Path, database: int) -> None:
    """Raise CommandError unless a snapshot of a database of so many bytes and its encrypted copy have room."""
    free = shutil.disk_usage(place).free
    wanted = 2 * database + SPARE
    if free < wanted:
        raise CommandError(
            f"{place} has {free >> 20} MiB free, and a backup needs {wanted >> 20}: "
            "make room, or keep fewer backups (backup.keep in the cluster file)"
        )


def sweep(place: Path) -> None:
    """Remove what interrupted backups left; whoever calls holds the lock."""
    for path in place.glob(".new-*"):
        shutil.rmtree(path, ignore_errors=True)


def listed(folder: str = FOLDER, cluster: str = "") -> list[Meta]:
    """Return the descriptions of the backups in a folder, the oldest first; what is damaged is left out."""
    found = []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            meta = json.loads(path.read_text(encoding="utf-8"))
            if meta["id"] == path.stem and cluster in ("", meta["cluster"]):
                found.append(meta)
        except (OSError, ValueError, TypeError, KeyError):
            continue
    return sorted(found, key=lambda meta: (str(meta.get("created")), str(meta["id"])))


def prune(place: Path, cluster: str, keep: int) -> list[str]:
    """Remove the oldest backups of a cluster but ``keep``; return their IDs."""
    gone = [meta["id"] for meta in listed(str(place), cluster)[:-keep]] if keep > 0 else []
    for name in gone:
        files.remove(place / f"{name}.json")
        files.remove(place / f"{name}{SUFFIX}")
    return gone


def _sync(path: Path) -> None:
    handle = os.open(str(path), os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def main(words: Sequence[str]) -> int:
    """Make a backup as the settings in a file say; what the node's timer runs."""
    try:
        settings = json.loads(Path(words[0]).read_text(encoding="utf-8"))
        meta = create(settings)
    except (CommandError, OSError, ValueError, LookupError) as error:
        print(f"no backup was made: {error}", file=sys.stderr)
        return 1
    print(f"{meta['id']}: {meta['bytes']} bytes, revision {meta['snapshot']['revision']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
