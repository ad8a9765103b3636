"""Shards as tasks of Dask's ``distributed``: it places them, sees a worker die, and runs its shard again elsewhere."""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import distributed

from kubesmith.controllers import certificates, worker
from kubesmith.controllers.engines import Outcome, Told
from kubesmith.controllers.shards import Shard
from kubesmith.errors import InputError, KubesmithError

ANSWERS = "10s"  # that a scheduler gets to answer
FLUSH = 0.5  # seconds that lines are held back, to be sent together
LOST = 3  # times that a worker may be lost with a shard before the shard is given up
STOPPED: set[str] = set()  # of a worker: the runs that are not to go on


class Sealed:
    """Bytes with SSH's keys in them, which no log and no dashboard shows."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __repr__(self) -> str:
        """Return nothing of the content."""
        return f"<sealed, {len(self.content)} bytes>"


def security(folder: Path) -> distributed.Security:
    """Return TLS both ways with the certificates in ``folder``; InputError where they are missing."""
    certificates.require(folder)
    ca, own, key = (str(folder / name) for name in certificates.FILES)
    parts = {
        f"tls_{role}_{what}": file
        for role in ("client", "worker", "scheduler")
        for what, file in (("cert", own), ("key", key))
    }
    return distributed.Security(tls_ca_file=ca, require_encryption=True, **parts)


class DaskEngine:
    """The scheduler at ``address`` (tls://HOST:PORT) and its workers, each started by ``runner.py controllers``."""

    def __init__(self, address: str, tls: Path) -> None:
        """Connect; InputError where nobody answers, or somebody with another certificate."""
        self.address = address
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what is wrong is said here, in our words
        try:
            self._client = distributed.Client(address, security=security(tls), timeout=ANSWERS, set_as_default=False)
        except (OSError, TimeoutError) as error:
            raise InputError(
                _explained(address, tls, error), fix="see: python3 runner.py controllers --help"
            ) from error

    def places(self, kubernetes: str) -> int:
        """Return the number of the workers' threads, once all workers have our code and our bundle."""
        info = self._client.scheduler_info(n_workers=-1)["workers"]
        if not info:
            raise InputError(
                f"the scheduler {self.address} has no workers",
                fix=f"on each controller: python3 runner.py controllers worker {self.address}",
            )
        ours = worker.describe(kubernetes)
        for name, theirs in sorted(self._client.run(worker.describe, kubernetes).items()):
            for what, value in ours.items():
                if theirs[what] != value:
                    raise InputError(
                        f"controller {name} has another {what}: {theirs[what] or 'none'}, here it is {value or 'none'}",
                        fix="have the same checkout on all controllers, and the same bundle (bundle export, import)",
                    )
        return sum(int(row["nthreads"]) for row in info.values())

    def run(self, shards: Sequence[Shard], told: Told) -> Iterator[Outcome]:
        """Submit the shards and yield their outcomes as they come; live lines come as events of a topic of the run."""
        run = f"kubesmith-{uuid.uuid4().hex[:12]}"
        self._client.subscribe_topic(run, lambda event: told(*event[1]))
        futures = {
            self._client.submit(
                carry_out, run, shard.name, Sealed(shard.payload), key=f"{run}-{shard.name}", pure=False, retries=0
            ): shard
            for shard in shards
        }
        try:
            for future in distributed.as_completed(list(futures), loop=self._client.loop):
                yield _outcome(futures[future], future)
                future.release()
        except (KeyboardInterrupt, GeneratorExit):
            self._client.run(stop, run, on_error="ignore")
            raise
        finally:
            with contextlib.suppress(Exception):
                self._client.unsubscribe_topic(run)

    def close(self) -> None:
        """Let go of the scheduler; tasks that nobody waits for any more are dropped by it."""
        with contextlib.suppress(Exception):
            self._client.close(timeout=5)


def _explained(address: str, tls: Path, error: Exception) -> str:
    said = f"{error} {error.__cause__ or ''}"
    if "certificate" in said.lower() or "ssl" in said.lower() or "handshake" in said.lower():
        return f"the scheduler {address} and {tls} do not trust each other: their certificates were not made together"
    return f"no scheduler answers at {address} within {ANSWERS}"


def _outcome(shard: Shard, future: Any) -> Outcome:
    if future.status == "finished":
        controller, attempt, stream = future.result()
        return Outcome(shard, stream, controller, attempt)
    error = future.exception() if future.status == "error" else None
    if isinstance(error, distributed.scheduler.KilledWorker):
        return Outcome(shard, b"", problem=f"{LOST} controllers were lost while they worked at it")
    return Outcome(shard, b"", problem=str(error) or type(error).__name__ if error else f"it was {future.status}")


def stop(run: str) -> None:
    """Called on every worker: have the shards of ``run`` end."""
    STOPPED.add(run)


def carry_out(run: str, name: str, sealed: Sealed) -> tuple[str, int, bytes]:
    """The task: carry a shard out; return who did, at which attempt, and the whole stream."""
    here = distributed.get_worker()
    attempt = int(time.time() * 1000)  # told apart, and the later one is greater: a lost worker counts nothing
    teller = _Teller(here, run, name, attempt)
    worker.carry_out(sealed.content, teller.tell, lambda: run in STOPPED)
    teller.flush()
    if not teller.ended:
        raise KubesmithError("ansible-runner ended without a word of how")
    return here.address, attempt, bytes(teller.stream)


class _Teller:
    """Collects a shard's lines, and sends them on together every now and then."""

    def __init__(self, here: distributed.Worker, run: str, name: str, attempt: int) -> None:
        self.stream = bytearray()
        self.ended = False
        self._send: Callable[[bytes], None] = lambda lines: here.log_event(run, (name, attempt, here.address, lines))
        self._waiting = bytearray()
        self._sent = time.monotonic()

    def tell(self, line: bytes) -> None:
        self.stream += line
        self._waiting += line
        self.ended = self.ended or b'"eof"' in line
        if time.monotonic() - self._sent > FLUSH:
            self.flush()

    def flush(self) -> None:
        if self._waiting:
            self._send(bytes(self._waiting))
        self._waiting.clear()
        self._sent = time.monotonic()
