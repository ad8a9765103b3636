"""Who carries shards out: Dask's scheduler and workers, or the nodes of a Receptor mesh."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kubesmith import paths
from kubesmith.controllers.shards import Shard
from kubesmith.errors import InputError

#: Called with (a shard's name, which attempt at it, who tries, a line of its stream) as it comes.
Told = Callable[[str, int, str, bytes], None]
DASK = re.compile(r"tls://[A-Za-z0-9.\-\[\]:]+:\d{1,5}")
RECEPTOR = re.compile(r"receptor:(?P<socket>/[^@]+)@(?P<nodes>[A-Za-z0-9._-]+(,[A-Za-z0-9._-]+)*)")


@dataclass(frozen=True)
class Outcome:
    """How a shard ended: its whole stream, who carried it out and at which attempt; or why nobody could."""

    shard: Shard
    stream: bytes
    controller: str = ""
    attempt: int = 1
    problem: str = ""


class Engine(Protocol):
    """An existing engine that runs shards on other machines, sees when one is lost, and tries elsewhere."""

    def places(self, kubernetes: str) -> int:
        """Return how many shards can be worked at at once; InputError where a controller is not fit to work with us.

        All must have the same bundle of the version ``kubernetes``.
        """

    def run(self, shards: Sequence[Shard], told: Told) -> Iterator[Outcome]:
        """Yield each shard's outcome once, as they come; ^C ends what runs."""

    def close(self) -> None:
        """Let go of the connection."""


def tls_folder() -> Path:
    """Return where the certificates are kept unless --tls says otherwise."""
    return Path("~/.config/kubesmith/controllers").expanduser()


def named(address: str, tls: Path) -> Engine:
    """Return the engine at ``address``; InputError for an address of no known form, and where nobody answers."""
    if DASK.fullmatch(address):
        from kubesmith.controllers.dask import DaskEngine  # noqa: PLC0415 - an extra that not everybody installs

        return DaskEngine(address, tls)
    if found := RECEPTOR.fullmatch(address):
        from kubesmith.controllers.receptor import ReceptorEngine  # noqa: PLC0415

        return ReceptorEngine(found["socket"], found["nodes"].split(","), paths.make_private(tls.parent))
    if address.startswith(("tcp://", "ws://", "http://")):
        raise InputError(
            f"{address} is not encrypted: SSH's keys would travel in the clear",
            fix="start the scheduler with: python3 runner.py controllers scheduler, and name it tls://HOST:PORT",
        )
    raise InputError(
        f"{address[:80]!r} is no address of controllers",
        fix="tls://HOST:PORT (a Dask scheduler), or receptor:/SOCKET@NODE,NODE (a Receptor mesh)",
    )
