"""Running the tools that build: output to a log, the last lines in the error, nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kubesmith.errors import KubesmithError

TAIL = 15
GRACE = 5


class Runner:
    """Starts tools, and can stop all of them at once; one object for each build."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        line: Callable[[str], None] | None = None,
    ) -> None:
        """Run ``command``, its output going to ``logs/name.log`` and line by line to ``line``.

        KubesmithError with the last lines and the log's path if it fails. The tool dies with this process, even if
        that is killed (it runs under ``setpriv --pdeathsig`` where there is one).
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{name}.log"
        tail: deque[str] = deque(maxlen=TAIL)
        with log.open("a") as sink:
            process = self._start(command, env, cwd)
            try:
                for text in process.stdout or ():
                    sink.write(text)
                    tail.append(text.rstrip())
                    if line:
                        line(text.strip())
                code = process.wait()
            finally:
                self._finish(process)
        if self._stopped:
            raise KubesmithError(f"{name}: stopped", fix="Run it again: what is finished is kept.")
        if code:
            raise KubesmithError(
                f"{name}: '{_short(command)}' ended with exit code {code}:\n" + "\n".join(tail),
                fix=f"The whole output is in {log}; run it again once the cause is gone, what is finished is kept.",
            )

    def _start(self, command: Sequence[str], env: Mapping[str, str] | None, cwd: Path | None) -> subprocess.Popen[str]:
        guard = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        process = subprocess.Popen(
            [*guard, *command],
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        with self._lock:
            self._running.add(process)
            if self._stopped:
                _signal(process, signal.SIGKILL)
        return process

    def _finish(self, process: subprocess.Popen[str]) -> None:
        if process.poll() is None:
            _signal(process, signal.SIGKILL)
            process.wait()
        with self._lock:
            self._running.discard(process)

    def stop(self) -> None:
        """Stop every tool that runs, with its children; those that do not listen are killed."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            _signal(process, signal.SIGTERM)
        for process in running:
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[str], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _short(command: Sequence[str]) -> str:
    text = " ".join(command)
    return text if len(text) <= 120 else text[:117] + "..."


def output(command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Return what ``command`` prints; KubesmithError with its complaint if it fails."""
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        complaint = (done.stderr or done.stdout).strip()[-1000:]
        raise KubesmithError(f"'{_short(command)}' ended with exit code {done.returncode}: {complaint}")
    return done.stdout
