"""What is written down of snapshots: which there are, and which was being saved or restored when a run ended early.

A snapshot counts once its record is there, and the record is written last. So a save that was interrupted leaves no
snapshot, only remains that the provider finds by name; a restore that was interrupted is begun again.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kubesmith import paths
from kubesmith.errors import InputError
from kubesmith.providers.base import Wanted

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")
SAVING, RESTORING = "saving.json", "restoring.json"
KUBECONFIG = "kubeconfig"


@dataclass(frozen=True)
class Snapshot:
    """All machines of a cluster at one moment: role and address of each, and the disk it takes in MiB (0: unknown)."""

    name: str
    taken: str
    roles: Mapping[str, str]
    addresses: Mapping[str, str]
    size_mb: int = 0


def now() -> str:
    """Return the time as a record holds it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Records:
    """The records in a cluster's state folder."""

    state: Path

    @property
    def folder(self) -> Path:
        """Where they are: a file NAME.json for each, and the kubeconfig of that moment beside it."""
        return self.state / "snapshots"

    def all(self) -> list[Snapshot]:
        """Return the snapshots, oldest first."""
        files = [file for file in self.folder.glob("*.json") if file.name not in (SAVING, RESTORING)]
        found = [Snapshot(**json.loads(file.read_text())) for file in files]
        return sorted(found, key=lambda snapshot: (snapshot.taken, snapshot.name))

    def find(self, name: str) -> Snapshot:
        """Return the snapshot called ``name``; InputError names those that there are."""
        known = {snapshot.name: snapshot for snapshot in self.all()}
        if name not in known:
            raise InputError(
                f"there is no snapshot {name[:80]!r} of this cluster",
                fix=f"there are: {', '.join(known)}" if known else "it has none; one is made by: snapshot save clean",
            )
        return known[name]

    def check_new(self, name: str) -> None:
        """Refuse a name that is no name, or is taken; and a save while a restore waits to be finished."""
        if not NAME.fullmatch(name) or f"{name}.json" in (SAVING, RESTORING):
            raise InputError(
                f"{name[:80]!r} cannot name a snapshot: 1 to 32 lower-case letters, digits and inner hyphens"
                f", and neither 'saving' nor 'restoring'",
                fix="for example: snapshot save clean",
            )
        if name in {snapshot.name for snapshot in self.all()}:
            raise InputError(
                f"there is a snapshot {name!r} already",
                fix=f"take another name, or: python3 runner.py snapshot delete {name}",
            )
        if under_way := self.restoring():
            raise InputError(
                f"restoring {under_way!r} was interrupted, and what is there now is neither state",
                fix=f"finish it first: python3 runner.py snapshot restore {under_way}",
            )

    def check_idle(self, snapshot: Snapshot) -> None:
        """Refuse to touch a snapshot that is half restored: it is the only whole state there is."""
        if self.restoring() == snapshot.name:
            raise InputError(
                f"restoring {snapshot.name!r} was interrupted; without the snapshot the cluster would be lost",
                fix=f"finish it first: python3 runner.py snapshot restore {snapshot.name}",
            )

    def check_same(self, snapshot: Snapshot, wanted: Sequence[Wanted]) -> None:
        """Refuse to restore other machines than those that the cluster file asks for."""
        roles = {node.name: node.role for node in wanted}
        if roles != dict(snapshot.roles):
            raise InputError(
                f"the snapshot {snapshot.name!r} is of {_said(snapshot.roles)}; the cluster file asks for"
                f" {_said(roles)}",
                fix="make the cluster file ask for the same nodes, restore, then change it and run up",
            )

    def write(self, snapshot: Snapshot) -> None:
        """Make ``snapshot`` count, and keep the administrator's kubeconfig of now with it."""
        kubeconfig = self.state / KUBECONFIG
        if kubeconfig.exists():
            self._put(f"{snapshot.name}.{KUBECONFIG}", kubeconfig.read_text())
        self._put(f"{snapshot.name}.json", json.dumps(asdict(snapshot), indent=2) + "\n")

    def forget(self, name: str) -> None:
        """Make the snapshot called ``name`` count no more."""
        for ending in ("json", KUBECONFIG):
            (self.folder / f"{name}.{ending}").unlink(missing_ok=True)

    def bring_back_kubeconfig(self, name: str) -> None:
        """Put the kubeconfig of the snapshot in place: the cluster's own authority may have changed since."""
        kept = self.folder / f"{name}.{KUBECONFIG}"
        if kept.exists():
            target = self.state / KUBECONFIG
            partial = target.with_suffix(".new")
            partial.touch(mode=0o600)
            shutil.copyfile(kept, partial)
            partial.replace(target)

    # --- what is under way

    def begin_saving(self, name: str, running: Sequence[str]) -> None:
        """Note that ``name`` is being saved, and which machines are to run again afterwards."""
        self._put(SAVING, json.dumps({"name": name, "running": list(running)}))

    def saving(self) -> tuple[str, list[str]]:
        """Return the snapshot whose saving has not ended and the machines to run again; "" and none as a rule."""
        noted = self._under_way(SAVING)
        return noted.get("name", ""), list(noted.get("running", []))

    def saved(self) -> None:
        """Note that no snapshot is being saved."""
        (self.folder / SAVING).unlink(missing_ok=True)

    def begin_restoring(self, name: str) -> None:
        """Note that the machines are being brought back to ``name``."""
        self._put(RESTORING, json.dumps({"name": name}))

    def restoring(self) -> str:
        """Return the snapshot whose restoring has not ended, "" as a rule."""
        return str(self._under_way(RESTORING).get("name", ""))

    def restored(self) -> None:
        """Note that no snapshot is being restored."""
        (self.folder / RESTORING).unlink(missing_ok=True)

    def _under_way(self, file: str) -> dict[str, Any]:
        path = self.folder / file
        noted: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return noted

    def _put(self, file: str, text: str) -> None:
        """Write a private file, whole or not at all."""
        paths.make_private(self.folder)
        partial = self.folder / f"{file}.new"
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
        partial.write_text(text)
        partial.replace(self.folder / file)


def _said(roles: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({role})" for name, role in roles.items()) or "no node"
