"""The private key that reads a cluster's backups: age's own format, made at first use, kept on this machine only."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pyrage

from kubesmith import paths
from kubesmith.errors import InputError
from kubesmith.ui import Ui

NAME = "key.txt"


def file(cluster: str) -> Path:
    """Return where the key of a cluster is, whether it is there or not."""
    return paths.data(cluster) / NAME


def recipient(cluster: str, ui: Ui) -> str:
    """Return the public key for a cluster's backups; a private key is made, and its loss warned of, at first use."""
    place = file(cluster)
    if not place.exists():
        make(place)
        ui.event("key", path=str(place))
        ui.line(
            f"a key for the backups of {cluster} was made: {place}. Without it nobody can read them: "
            "keep a copy of it away from this machine, and away from the backups",
            always=True,
        )
    return str(load(place).to_public())


def make(place: Path) -> None:
    """Write a new private key, mode 0600; a file that is there stays."""
    paths.make_private(place.parent)
    identity = pyrage.x25519.Identity.generate()
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    text = f"# created: {created}\n# public key: {identity.to_public()}\n{identity}\n"
    temporary = place.with_name(f".{place.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(place)


def load(place: Path) -> pyrage.x25519.Identity:
    """Return the first private key in a file of age; InputError says what is wrong with the file."""
    try:
        text = place.read_text()
        mode = place.stat().st_mode & 0o777
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InputError(
            f"the private key {place} cannot be read: {reason}",
            fix="bring back your copy of it; without it no backup of this cluster can be read",
        ) from error
    if mode & 0o077:
        raise InputError(
            f"the private key {place} has the mode {mode:04o}, others can read it", fix=f"chmod 600 {place}"
        )
    rows = [row.strip() for row in text.splitlines() if row.strip() and not row.startswith("#")]
    try:
        return pyrage.x25519.Identity.from_str(rows[0])
    except (IndexError, pyrage.IdentityError) as error:
        raise InputError(
            f"{place} holds no private key of age (AGE-SECRET-KEY-1…)", fix="name the file that `backup` made"
        ) from error
