# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Running commands on a node, one at a time where two would harm each other."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional, Union

LOCKS = "/run"


class CommandError(Exception):
    """A command ended with an error; the message holds what it said."""


class Result:
    """What a command answered: return code, standard output and standard error as text."""

    def __init__(self, rc: int, out: str, err: str) -> None:
        self.rc = rc
        self.out = out
        self.err = err

    @property
    def said(self) -> str:
        """Everything the command said, errors last."""
        return (self.out + "\n" + self.err).strip()


def run(
    args: Sequence[str],
    stdin: Optional[str] = None,
    timeout: Optional[float] = None,
    pass_fds: Sequence[int] = (),
    env: Optional[Mapping[str, str]] = None,
) -> Result:
    """Run ``args`` without a shell and return its Result; a missing program is return code 127, a timeout 124."""
    environment = dict(
        os.environ, LC_ALL="C.UTF-8", PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    )
    environment.update(env or {})
    try:
        done = subprocess.run(
            args,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env=environment,
            pass_fds=pass_fds,
        )
    except FileNotFoundError:
        return Result(127, "", f"{args[0]}: not found")
    except subprocess.TimeoutExpired as late:
        return Result(124, _text(late.stdout), _text(late.stderr) + f"\n{args[0]}: no end within {timeout} s")
    return Result(done.returncode, done.stdout, done.stderr)


def _text(raw: Union[str, bytes, None]) -> str:
    return raw.decode(errors="replace") if isinstance(raw, bytes) else raw or ""


def must(args: Sequence[str], **options: Any) -> str:
    """Run ``args`` and return standard output; raise CommandError with what it said when it fails."""
    result = run(args, **options)
    if result.rc != 0:
        raise CommandError(f"{' '.join(args)}: {result.said or 'return code %d' % result.rc}")
    return result.out


@contextlib.contextmanager
def lock(name: str, timeout: float, only_look: bool = False) -> Iterator[int]:
    """Hold the node-wide lock ``name``; yield its file descriptor. Who will ``only_look`` (check mode) needs none.

    Give the descriptor to child processes (``pass_fds``): a command that outlives a broken connection then still
    holds the lock, and the next run waits for it rather than working against it. Raises CommandError after
    ``timeout`` seconds.
    """
    if only_look:
        yield -1
        return
    path = Path(LOCKS)
    path.mkdir(parents=True, exist_ok=True)
    handle = os.open(str(path / f"kubesmith-{name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(handle, name, time.monotonic() + timeout)
        yield handle
    finally:
        os.close(handle)


def _acquire(handle: int, name: str, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise CommandError(f"another run is still busy with {name} on this node") from None
            time.sleep(0.2)


def journal(unit: str, lines: int = 15) -> str:
    """Return the last lines of a unit's journal, for a failure's message."""
    said = run(["journalctl", "--no-pager", "--output=short-iso", "-n", str(lines), "-u", unit], timeout=20)
    return said.out.strip() if said.rc == 0 else said.said
