"""Shards over a Receptor mesh, as AWX has one: ``receptorctl`` submits each to a node and follows its stream.

Receptor itself is not to be had where this was written; docs/controllers.md says what was tested and what was not.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import Empty, SimpleQueue

from kubesmith.controllers.engines import Outcome, Told
from kubesmith.controllers.shards import Shard
from kubesmith.errors import InputError, KubesmithError

WORK = "kubesmith"  # the work type, which a node's receptor.conf has: runner.py controllers shard
ATTEMPTS = 3
PROGRAM = "receptorctl"


class ReceptorEngine:
    """The ``nodes`` of the mesh that the receptor at ``socket`` is part of; ``folder`` is private, for payloads."""

    def __init__(self, socket: str, nodes: Sequence[str], folder: Path) -> None:
        """Raise InputError where receptorctl is missing, or a node is not reached or has no work type of ours."""
        self.nodes, self.folder = list(nodes), folder
        program = shutil.which(PROGRAM)
        if program is None:
            raise InputError(f"{PROGRAM} is not on PATH", fix="python3 -m pip install receptorctl")
        self._command = [program, "--socket", socket]
        self._check(json.loads(self._asked("status", "--json") or "{}"))

    def places(self, kubernetes: str) -> int:
        """Return the number of nodes: each works at one shard at once."""
        return len(self.nodes)

    def run(self, shards: Sequence[Shard], told: Told) -> Iterator[Outcome]:
        """Have each shard carried out by whichever node is free; one whose node fails goes to another."""
        free: SimpleQueue[str] = SimpleQueue()
        for node in self.nodes:
            free.put(node)
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            waiting = {pool.submit(self._attempts, shard, free, told) for shard in shards}
            try:
                while waiting:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            except BaseException:
                _drop(waiting)
                raise

    def close(self) -> None:
        """Nothing is held open."""

    def _check(self, status: dict[str, object]) -> None:
        known = status.get("KnownConnectionCosts") or {}
        reached = set(known) if isinstance(known, dict) else set()
        if lost := sorted(set(self.nodes) - reached - {str(status.get("NodeID"))}):
            raise InputError(
                f"the mesh does not reach {', '.join(lost)}", fix=f"it reaches {', '.join(sorted(reached))}"
            )

    def _attempts(self, shard: Shard, free: SimpleQueue[str], told: Told) -> Outcome:
        problem = ""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                node = free.get(timeout=7200)
            except Empty:
                break
            try:
                stream = self._submitted(shard, node, attempt, told)
                if b'"eof"' in stream:
                    return Outcome(shard, stream, node, attempt)
                problem = f"the stream of {node} ended early"
            except KubesmithError as error:
                problem = f"{node}: {error}"
            finally:
                free.put(node)
        return Outcome(shard, b"", problem=problem, attempt=ATTEMPTS + 1)

    def _submitted(self, shard: Shard, node: str, attempt: int, told: Told) -> bytes:
        """Submit a shard, follow its stream to the end, and release the work unit: it holds keys."""
        with tempfile.NamedTemporaryFile(dir=self.folder) as payload:
            payload.write(shard.payload)
            payload.flush()
            said = self._asked("work", "submit", WORK, "--node", node, "--payload", payload.name)
        unit = said.split()[-1]  # "Unit ID: t1BlAB18"
        stream = bytearray()
        try:
            with subprocess.Popen([*self._command, "work", "results", unit], stdout=subprocess.PIPE) as results:
                assert results.stdout is not None
                for line in results.stdout:
                    stream += line
                    told(shard.name, attempt, node, line)
        finally:
            self._asked("work", "release", unit)
        return bytes(stream)

    def _asked(self, *words: str) -> str:
        done = subprocess.run([*self._command, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            raise KubesmithError(f"{PROGRAM} {words[0]} failed: {(done.stderr or done.stdout).strip()[-300:]}")
        return done.stdout.strip()


def _drop(waiting: set[Future[Outcome]]) -> None:
    for future in waiting:
        future.cancel()
