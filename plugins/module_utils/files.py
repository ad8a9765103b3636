# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Files on a node: digests, and replacing them whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path

CHUNK = 1 << 20
SUFFIX = ".kubesmith-new"


def sha256(path):
    """Return the hexadecimal sha256 of a file, or None where it is no readable regular file."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as source:
            buffer = memoryview(bytearray(CHUNK))
            while True:
                count = source.readinto(buffer)
                if not count:
                    return digest.hexdigest()
                digest.update(buffer[:count])
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def read(path):
    """Return a text file's content, or None where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, NotADirectoryError):
        return None


def mode_of(path):
    """Return the permission bits of ``path``, or None where it is absent."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None


def put(path, content, mode):
    """Write text to ``path`` with the mode (an int), whole or not at all; parents are made."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name("." + target.name + SUFFIX)
    with open(_fresh(temporary), "w", encoding="utf-8", errors="surrogateescape") as out:
        out.write(content)
    replace(temporary, target, mode)


def _fresh(path):
    """Return a descriptor of a new, private, empty file at ``path``: no earlier content or mode survives."""
    Path(path).unlink(missing_ok=True)
    return os.open(str(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def replace(temporary, target, mode):
    """Move ``temporary`` over ``target`` with the mode; a bind-mounted target (a container's /etc/hosts) is rewritten."""
    os.chmod(temporary, mode)
    try:
        os.replace(temporary, target)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EXDEV):
            raise
        Path(target).write_bytes(Path(temporary).read_bytes())
        os.chmod(target, mode)
        os.unlink(temporary)


def remove(path):
    """Remove a file; one that is not there is no error."""
    Path(path).unlink(missing_ok=True)


def copy_checked(source, target, digest, mode):
    """Copy ``source`` over ``target``, unless its sha256 is not ``digest``; return whether it was the right file."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name("." + target.name + SUFFIX)
    seen = hashlib.sha256()
    with open(source, "rb") as data, open(_fresh(temporary), "wb") as out:
        for block in iter(lambda: data.read(CHUNK), b""):
            seen.update(block)
            out.write(block)
    if seen.hexdigest() != digest:
        os.unlink(temporary)
        return False
    replace(temporary, target, mode)
    return True


def difference(path, before, after):
    """Return one entry of Ansible's diff for a text file; None stands for an absent file."""
    return {
        "before_header": f"{path}{'' if before is not None else ' (absent)'}",
        "after_header": f"{path}{'' if after is not None else ' (absent)'}",
        "before": before or "",
        "after": after or "",
    }


def rows_difference(header, rows):
    """Return one entry of Ansible's diff for ``rows`` {name: (before, after)}, a line for each; nothing for no rows."""
    if not rows:
        return []
    sides = ["".join(f"{name}: {row[side]}\n" for name, row in rows.items()) for side in (0, 1)]
    return [{"before_header": header, "after_header": header, "before": sides[0], "after": sides[1]}]
