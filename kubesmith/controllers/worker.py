"""What a controller does with a shard: unpack it, run it by ``ansible-runner worker``, and tell what happens."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from kubesmith import __version__, execute, paths
from kubesmith.controllers.shards import code_digest

#: Of a module's answer only what is told or counted travels: events are many.
ANSWER = ("changed", "msg", "stderr", "module_stderr", "exception", "reason")
DATA = ("host", "play", "role", "task", "task_action", "duration", "start", "end", "name", "ignore_errors")
#: Events that a run over controllers counts or shows.
TOLD = {
    *("runner_on_start", "runner_on_ok", "runner_on_failed", "runner_on_skipped", "runner_on_unreachable"),
    "playbook_on_stats",
}
ENDING = 15.0  # seconds that a run gets to end after it was asked to


def describe(kubernetes: str) -> dict[str, str]:
    """Return what must be the same on all controllers: the version, the code, and the digest of a Kubernetes' bundle.

    The digest is empty where there is no bundle.
    """
    file = paths.bundle(kubernetes) / "bundle.json"
    digest = json.loads(file.read_text())["digest"] if file.exists() else ""
    return {"version": __version__, "code": code_digest(), "bundle": str(digest)}


def carry_out(payload: bytes, tell: Callable[[bytes], None], stopped: Callable[[], bool] = lambda: False) -> None:
    """Run a shard's ``payload``; call ``tell`` with each line of ansible-runner's stream, the last of which is its end.

    The folder with the private keys is only root's and is removed, whatever happens. Events come without what nobody
    reads (``ANSWER``); artifacts stay here. ``stopped`` is asked now and then whether to end early.
    """
    with tempfile.TemporaryDirectory(prefix="kubesmith-shard-") as folder, _process(Path(folder)) as process:
        threading.Thread(target=_feed, args=(process.stdin, payload), daemon=True).start()
        watcher = threading.Thread(target=_stop_when, args=(process, stopped), daemon=True)
        watcher.start()
        assert process.stdout is not None
        for line in _lines(process.stdout):
            tell(line)
        process.wait()
        watcher.join()


@contextlib.contextmanager
def _process(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start ``ansible-runner worker`` in a session of its own; it does not outlive this process, nor the body."""
    state = paths.make_private(folder / "state")
    environment = os.environ | execute.environment(state) | {"KUBESMITH_BUNDLES": str(paths.bundle().parent)}
    guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    command = [*guard, sys.executable, "-m", "ansible_runner", "worker", "--private-data-dir", str(folder / "run")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _feed(target: IO[bytes] | None, payload: bytes) -> None:
    assert target is not None
    with contextlib.suppress(BrokenPipeError):
        target.write(payload)
        target.close()


def _stop_when(process: subprocess.Popen[bytes], stopped: Callable[[], bool]) -> None:
    """End the run once ``stopped`` says so: ansible-runner ends Ansible when it is asked to."""
    while process.poll() is None:
        if stopped():
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ENDING)
            process.kill()
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a worker's stream that are told: slim events, outcomes, the end; no artifacts."""
    for line in stream:
        try:
            row = json.loads(line)
        except ValueError:
            continue  # what some library prints is not for us
        if "zipfile" in row:
            _skip(stream, row["zipfile"])
        elif "event" in row:
            if slim := slimmed(row):
                yield slim
        elif "status" in row:
            known = {key: row[key] for key in ("status", "job_explanation") if key in row}  # not the environment
            yield json.dumps(known).encode() + b"\n"
        elif "eof" in row:
            yield line


def _skip(stream: IO[bytes], size: int) -> None:
    """Read over an archive of ``size`` bytes, which is sent in base 64: four characters for each three bytes."""
    left = (size + 2) // 3 * 4
    while left > 0 and (part := stream.read(min(left, 65536))):
        left -= len(part)


def slimmed(event: dict[str, Any]) -> bytes:
    """Return an event's line with what is told or counted, nothing for other events."""
    if event["event"] not in TOLD:
        return b""
    data = event.get("event_data", {})
    kept = {key: data[key] for key in DATA if key in data}
    answer = data.get("res") or {}
    kept["res"] = {key: answer[key] for key in ANSWER if key in answer}
    row = {"event": event["event"], "uuid": event["uuid"], "counter": event["counter"], "event_data": kept}
    return json.dumps(row).encode() + b"\n"
