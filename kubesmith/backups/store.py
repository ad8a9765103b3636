"""The backups in a folder of this machine: their descriptions, and which of them one is meant."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils.backup import SCHEMA, SUFFIX, listed
from ansible_collections.kubesmith.cluster.plugins.module_utils.backup import prune as prune_folder

from kubesmith import paths
from kubesmith.errors import InputError

HERE = "this machine"
LATEST = "latest"


@dataclass(frozen=True)
class Backup:
    """One backup. ``meta`` is its description (module_utils/backup.py), ``place`` where it is, in words.

    ``file`` is the encrypted file on this machine, None for one that is elsewhere.
    """

    meta: Mapping[str, Any]
    place: str = HERE
    file: Path | None = None

    @property
    def id(self) -> str:
        """Return its name."""
        return str(self.meta["id"])


def folder(cluster: str) -> Path:
    """Return where this machine keeps a cluster's backups."""
    return paths.data(cluster) / "backups"


def backups(cluster: str) -> list[Backup]:
    """Return the backups of a cluster on this machine, the oldest first."""
    place = folder(cluster)
    return [Backup(meta, HERE, place / f"{meta['id']}{SUFFIX}") for meta in listed(str(place), cluster)]


def find(cluster: str, wanted: str) -> Backup:
    """Return the backup that is meant by its name, ``latest`` or the path of its file; InputError where there is none.

    Nothing of its content has been looked at.
    """
    known = backups(cluster)
    if wanted == LATEST and known:
        return known[-1]
    for backup in known:
        if backup.id == wanted:
            return backup
    path = Path(wanted).expanduser()
    if path.is_file():
        return at(path)
    names = ", ".join(backup.id for backup in known[-5:]) or "none"
    raise InputError(
        f"there is no backup {wanted!r} of cluster {cluster}: it is neither a name of `backup list` nor a file",
        fix=f"backups on this machine: {names}",
    )


def at(path: Path) -> Backup:
    """Return the backup in a file, with the description beside it if there is one."""
    path = path.absolute()
    if not path.name.endswith(SUFFIX):
        raise InputError(f"{path} is not a backup: its name does not end in {SUFFIX}", fix="name the encrypted file")
    name = path.name.removesuffix(SUFFIX)
    beside = path.with_name(f"{name}.json")
    if not beside.is_file():
        return Backup({"id": name}, HERE, path)
    try:
        meta = json.loads(beside.read_text())
        if meta["schema"] > SCHEMA:
            raise InputError(
                f"{beside}: a newer kubesmith wrote this backup (schema {meta['schema']}, this one reads {SCHEMA})",
                fix="use that kubesmith",
            )
        return Backup(meta | {"id": name}, HERE, path)
    except (ValueError, TypeError, LookupError) as error:
        raise InputError(f"{beside} is damaged: {error}", fix=f"remove it; {path.name} is checked by itself") from error


def prune(cluster: str, keep: int) -> list[str]:
    """Remove the oldest backups on this machine but ``keep``; return their names."""
    return prune_folder(folder(cluster), cluster, keep)


def take_over(source: Path, cluster: str, names: Sequence[str]) -> None:
    """Copy files of a backup into the folder of this machine, mode 0600, each whole or not at all."""
    target = paths.make_private(folder(cluster))
    for name in names:
        temporary = target / f".{name}.new"
        shutil.copyfile(source / name, temporary)
        temporary.chmod(0o600)
        temporary.replace(target / name)
