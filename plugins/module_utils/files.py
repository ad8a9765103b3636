# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Files on a node: digests, and replacing them whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Optional, Union

CHUNK = 1 << 20
SUFFIX = ".kubesmith-new"
AnyPath = Union[str, Path]
Difference = dict[str, str]


def sha256(path: AnyPath) -> Optional[str]:
    """Return the hexadecimal sha256 of a file, or None where it is no readable regular file."""
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb", buffering=0) as source:
            buffer = memoryview(bytearray(CHUNK))
            while True:
                count = source.readinto(buffer)
                if not count:
                    return digest.hexdigest()
                digest.update(buffer[:count])
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def read(path: AnyPath) -> Optional[str]:
    """Return a text file's content, or None where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None


def mode_of(path: AnyPath) -> Optional[int]:
    """Return the permission bits of ``path``, or None where it is absent."""
    try:
        return stat.S_IMODE(Path(path).stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None


def put(path: AnyPath, content: str, mode: int) -> None:
    """Write text to ``path`` with the mode (an int), whole or not at all; parents are made."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name("." + target.name + SUFFIX)
    with os.fdopen(_fresh(temporary), "w", encoding="utf-8", errors="surrogateescape") as out:
        out.write(content)
    replace(temporary, target, mode)


def _fresh(path: AnyPath) -> int:
    """Return a descriptor of a new, private, empty file at ``path``: no earlier content or mode survives."""
    Path(path).unlink(missing_ok=True)
    return os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def replace(temporary: AnyPath, target: AnyPath, mode: int) -> None:
    """Move ``temporary`` over ``target`` with the mode; a bind-mounted target (some /etc/hosts) is rewritten."""
    temporary, target = Path(temporary), Path(target)
    temporary.chmod(mode)
    try:
        temporary.replace(target)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EXDEV):
            raise
        target.write_bytes(temporary.read_bytes())
        target.chmod(mode)
        temporary.unlink()


def remove(path: AnyPath) -> None:
    """Remove a file; one that is not there is no error."""
    Path(path).unlink(missing_ok=True)


def copy_checked(source: AnyPath, target: AnyPath, digest: str, mode: int) -> bool:
    """Copy ``source`` over ``target``, unless its sha256 is not ``digest``; return whether it was the right file."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name("." + target.name + SUFFIX)
    seen = hashlib.sha256()
    with Path(source).open("rb") as data, os.fdopen(_fresh(temporary), "wb") as out:
        for block in iter(lambda: data.read(CHUNK), b""):
            seen.update(block)
            out.write(block)
    if seen.hexdigest() != digest:
        temporary.unlink()
        return False
    replace(temporary, target, mode)
    return True


def difference(path: str, before: Optional[str], after: Optional[str]) -> Difference:
    """Return one entry of Ansible's diff for a text file; None stands for an absent file."""
    return {
        "before_header": f"{path}{'' if before is not None else ' (absent)'}",
        "after_header": f"{path}{'' if after is not None else ' (absent)'}",
        "before": before or "",
        "after": after or "",
    }


def rows_difference(header: str, rows: Mapping[str, tuple[str, str]]) -> list[Difference]:
    """Return one entry of Ansible's diff for ``rows`` {name: (before, after)}, a line for each; nothing for no rows."""
    if not rows:
        return []
    sides = ["".join(f"{name}: {row[side]}\n" for name, row in rows.items()) for side in (0, 1)]
    return [{"before_header": header, "after_header": header, "before": sides[0], "after": sides[1]}]
