"""Run a playbook through ansible-runner and turn its events into a Result."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import ansible_runner

from kubesmith import paths
from kubesmith.errors import KubesmithError
from kubesmith.ui import PhaseTime, Ui

KEPT_RUNS = 10
POLL = 0.01  # seconds; at Ansible's own 0.001 a play of strategy free that waits takes half a processor from the nodes
ENDING = 10.0  # seconds that Ansible gets to end its workers when it is interrupted
#: A machine that vanished is noticed after half a minute, not after the quarter of an hour that TCP takes.
SSH_ARGS = "-o ControlMaster=auto -o ControlPersist=300s -o ServerAliveInterval=5 -o ServerAliveCountMax=6"
NO_TRACEBACK = "(traceback unavailable)"  # what Ansible puts where there is nothing to tell
FINISHED = {"runner_on_ok": "ok", "runner_on_failed": "failed", "runner_on_skipped": "skipped"}


@dataclass(frozen=True)
class Failure:
    """A task that failed on a host, or a host that could not be reached (``task`` is then the first one tried)."""

    host: str
    play: str
    task: str
    message: str
    detail: str = ""
    unreachable: bool = False


@dataclass(frozen=True)
class HostCount:
    """How a host's tasks ended. ``evaluated`` counts every task that the host went through, skipped ones too."""

    evaluated: int = 0
    changed: int = 0
    skipped: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Result:
    """The outcome of one playbook: ``status`` is ansible-runner's word (successful, failed, canceled)."""

    status: str
    hosts: Mapping[str, HostCount]
    failures: tuple[Failure, ...]
    plays: tuple[PhaseTime, ...]
    log: Path

    @property
    def ok(self) -> bool:
        """Tell whether every host went through; a run that reached no host at all did not."""
        return self.status == "successful" and not self.failures and bool(self.hosts)

    @property
    def changed(self) -> int:
        """Return the number of tasks that changed something, over all hosts."""
        return sum(host.changed for host in self.hosts.values())


@dataclass(frozen=True)
class TaskResult:
    """What a module answered on a host; ``start`` and ``end`` are the controller's clock, in ISO 8601.

    ``action`` is the module's full name, ``answer`` its whole answer: whoever collects it says what may be kept of it.
    """

    host: str
    role: str
    task: str
    action: str
    answer: Mapping[str, Any]
    start: str
    end: str


@dataclass
class Watch:
    """Collects events; the state of a run in progress. ``log`` gets a row for each task and host, without values."""

    ui: Ui
    log: TextIO
    collect: Callable[[TaskResult], None] | None = None
    hosts: dict[str, dict[str, int]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    plays: list[tuple[str, float]] = field(default_factory=list)
    progress: Any = None
    phase: Any = None
    next: str = ""  # play that has been announced and has no task yet

    def handle(self, event: dict[str, Any]) -> bool:
        """Take one event. Returns False so that ansible-runner keeps no copy: results may hold what is private."""
        kind, data = event.get("event", ""), event.get("event_data", {})
        if kind == "playbook_on_play_start":
            self.close()
            self.next = str(data.get("name", ""))
        elif kind == "runner_on_start":
            self._task_start(data)
        elif kind in FINISHED or kind == "runner_on_unreachable":
            self._finished(kind, data)
        elif kind == "playbook_on_stats":
            self.close()
        return False

    def _task_start(self, data: Mapping[str, Any]) -> None:
        if self.next:  # only now: tags may have left nothing of a play
            self._play(self.next)
            self.next = ""
        if self.progress:
            self.progress.update(str(data.get("host")), _task(data))

    def _play(self, name: str) -> None:
        self.plays.append((name, time.monotonic()))
        self.phase = self.ui.phase(name.lower().replace(" ", "-"), name)
        self.progress = self.phase.__enter__()

    def close(self, error: BaseException | None = None) -> None:
        """End the current play's phase."""
        if self.phase is None:
            return
        phase, self.phase = self.phase, None
        failed = error or (KubesmithError("failed") if self.failures else None)
        with contextlib.suppress(KubesmithError):
            phase.__exit__(type(failed) if failed else None, failed, None)

    def forgive(self) -> None:
        """Drop failures that a rescue dealt with: Ansible counts them in its outcome, not in its events."""
        self.failures.clear()
        for count in self.hosts.values():
            count["failed"] = 0

    def _finished(self, kind: str, data: dict[str, Any]) -> None:
        host = str(data.get("host"))
        result = data.get("res") or {}
        count = self.hosts.setdefault(host, dict.fromkeys(("evaluated", "changed", "skipped", "failed"), 0))
        count["evaluated"] += 1
        changed = kind == "runner_on_ok" and bool(result.get("changed"))
        count["changed"] += changed
        count["skipped"] += kind == "runner_on_skipped"
        if kind == "runner_on_unreachable" or (kind == "runner_on_failed" and not data.get("ignore_errors")):
            count["failed"] += 1
            self.failures.append(_failure(host, data, result, unreachable=kind == "runner_on_unreachable"))
        if self.collect and kind == "runner_on_ok":
            self.collect(_answer(host, data, result))
        self._write(host, kind, data, changed)

    def row(self) -> dict[str, Any]:
        """Return what a task's row has besides what every row has."""
        return {}

    def _write(self, host: str, kind: str, data: Mapping[str, Any], changed: bool) -> None:
        row = {
            "host": host,
            "play": data.get("play"),
            "role": data.get("role"),
            "task": data.get("task"),
            "status": kind.removeprefix("runner_on_"),
            "changed": changed,
            "start": data.get("start"),
            "seconds": data.get("duration"),
            **self.row(),
        }
        self.log.write(json.dumps(row) + "\n")
        self.show(row, f"{host}: changed: {_task(data)}" if changed else "")

    def show(self, row: dict[str, Any], text: str) -> None:
        """Show that a task ended on a host; ``text`` is for who wants to see what changed."""
        self.ui.event("task", **row)
        if text and self.ui.verbosity:
            self.ui.line(f"      {text}")


def _answer(host: str, data: Mapping[str, Any], result: Mapping[str, Any]) -> TaskResult:
    words = {key: str(data.get(key) or "") for key in ("role", "task", "start", "end")}
    return TaskResult(host, action=str(data.get("task_action", "")), answer=result, **words)


def _task(data: Mapping[str, Any]) -> str:
    role, task = data.get("role"), str(data.get("task", ""))
    return f"{role}: {task}" if role else task


def _failure(host: str, data: Mapping[str, Any], result: Mapping[str, Any], *, unreachable: bool) -> Failure:
    message = str(result.get("msg") or result.get("reason") or "no message")
    detail = str(result.get("stderr") or result.get("module_stderr") or result.get("exception") or "").strip()
    detail = "" if detail == NO_TRACEBACK else detail
    return Failure(host, str(data.get("play", "")), _task(data), message.strip(), detail, unreachable)


def environment(state: Path, verbosity: int = 0) -> dict[str, str]:
    """Return the settings of every Ansible run that the wrapper starts, whatever the current folder holds."""
    temporary = paths.make_private(state / "tmp")
    # Named, so that no other one is found; this setting has no variable of the environment.
    (temporary / "ansible.cfg").write_text(f"[defaults]\ninternal_poll_interval = {POLL}\n")
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "/usr/bin:/bin")]),
        "ANSIBLE_CONFIG": str(temporary / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(paths.COLLECTIONS),
        "ANSIBLE_INVENTORY_ENABLED": "kubesmith.cluster.spec,ansible.builtin.yaml,ansible.builtin.ini",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "ANSIBLE_HOST_KEY_CHECKING": "true",
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_FORKS": "20",
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_SSH_ARGS": SSH_ARGS,
        "ANSIBLE_PYTHON_INTERPRETER": "auto_silent",
        "ANSIBLE_INJECT_FACT_VARS": "false",
        "ANSIBLE_LOCAL_TEMP": str(temporary),
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "true",
        "ANSIBLE_VERBOSITY": str(max(0, verbosity - 1)),
        "LC_ALL": "C.UTF-8",
    }


@contextlib.contextmanager
def _interruptible() -> Iterator[list[bool]]:
    """Turn ^C and SIGTERM into a flag: ansible-runner then ends its child cleanly instead of leaving it behind."""
    flag = [False]

    def raised(_number: int, _frame: object) -> None:
        flag[0] = True

    before = {number: signal.signal(number, raised) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def playbook(
    name: str,
    *,
    inventory: Path,
    state: Path,
    ui: Ui,
    check: bool = False,
    limit: str = "",
    tags: str = "",
    variables: Mapping[str, Any] | None = None,
    kept_in: str = "runs",
    collect: Callable[[TaskResult], None] | None = None,
) -> Result:
    """Run the playbook ``name`` (a FQCN or a path) on ``inventory``; each of its plays shows as a phase of ``ui``.

    The run's folder, ``STATE/KEPT_IN/TIME``, keeps ``tasks.jsonl`` (a row per task and host: times and outcome, no
    values) and Ansible's own output. ``variables`` go before the inventory's. ``collect`` is called with the answer of
    each module that did not fail. Raises KeyboardInterrupt if the run was interrupted.
    """
    folder = run_folder(state, kept_in)
    parts = ["--check --diff" if check else "", f"--tags {tags}" if tags else "", _variables(folder, variables or {})]
    line = " ".join(part for part in parts if part)
    log_file = folder / "tasks.jsonl"
    with log_file.open("w") as log, _interruptible() as interrupted:
        watch = Watch(ui, log, collect)
        began = time.monotonic()
        runner = ansible_runner.run(
            private_data_dir=str(folder),
            playbook=name,
            inventory=str(inventory),
            envvars=environment(state, ui.verbosity),
            cmdline=line or None,
            limit=limit or None,
            ident="ansible",
            quiet=True,
            suppress_env_files=True,
            settings={"suppress_ansible_output": True, "idle_timeout": 1800},
            event_handler=watch.handle,
            status_handler=lambda status, **_more: _forget_environment(folder, status["status"]),
            cancel_callback=lambda: interrupted[0] and _ended_children(),
        )
        watch.close(KeyboardInterrupt() if interrupted[0] else None)
        if interrupted[0]:
            raise KeyboardInterrupt
    _unexplained(runner, watch, folder)
    if runner.status == "successful":
        watch.forgive()
    hosts = {host: HostCount(**count) for host, count in watch.hosts.items()}
    plays = _plays(watch.plays, began, time.monotonic())
    return Result(str(runner.status), hosts, tuple(watch.failures), plays, folder)


def _forget_environment(folder: Path, status: str) -> None:
    """Take the environment, in which passwords may be, out of the file that ansible-runner writes before it starts.

    It knows no way to leave it out. ``running`` comes after that file and before Ansible.
    """
    file = folder / "artifacts" / "ansible" / "command"
    if status != "starting" and file.exists():
        row = json.loads(file.read_text())
        if row.pop("env", None) is not None:
            file.write_text(json.dumps(row))


def _ended_children() -> bool:
    """Ask our Ansible to end, wait until it did, and return True.

    Ansible's workers live in sessions of their own. Asked, it ends them and what they run; ansible-runner's own way, to
    kill it at once, would leave a module at work on a node while the next run begins.
    """
    for process in Path("/proc").glob("[0-9]*"):
        if _parent(process) == os.getpid() and b"ansible-playbook" in _read(process / "cmdline"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process.name), signal.SIGTERM)
            ends = time.monotonic() + ENDING
            while _parent(process) == os.getpid() and time.monotonic() < ends:
                time.sleep(0.05)
    return True


def _parent(process: Path) -> int:
    """Return the parent's process id; 0 for a process that has ended, whether its parent has noticed or not."""
    state, _space, rest = _read(process / "stat").rpartition(b")")[2].strip().partition(b" ")
    return 0 if state in (b"", b"Z") else int(rest.split()[0])


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # it ended meanwhile
        return b""


def _variables(folder: Path, variables: Mapping[str, Any]) -> str:
    """Return the option that hands variables over, out of a private file: a command line is seen by everybody."""
    if not variables:
        return ""
    file = folder / "variables.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps(dict(variables)))
    return f"--extra-vars @{shlex.quote(str(file))}"


def _plays(starts: list[tuple[str, float]], began: float, ended: float) -> tuple[PhaseTime, ...]:
    ends = [*(start for _, start in starts[1:]), ended][: len(starts)]
    return tuple(
        PhaseTime(name, start - began, end - start, True) for (name, start), end in zip(starts, ends, strict=True)
    )


def _unexplained(runner: Any, watch: Watch, folder: Path) -> None:
    """Raise for a run that failed without a failed task: a syntax error, an inventory that is refused."""
    if runner.status == "successful" or watch.failures:
        return
    output = folder / "artifacts" / "ansible" / "stdout"
    errors = folder / "artifacts" / "ansible" / "stderr"
    text = "\n".join(file.read_text().strip() for file in (output, errors) if file.exists())
    raise KubesmithError(f"Ansible ended with {runner.status} before any task: {text[-2000:]}", fix=f"see {folder}")


def run_folder(state: Path, kept_in: str) -> Path:
    """Make a fresh folder for a run: ansible-runner keeps old values where it finds a used one."""
    runs = paths.make_private(state / kept_in)
    for old in sorted(runs.iterdir())[: -KEPT_RUNS + 1]:
        shutil.rmtree(old, ignore_errors=True)
    stamp = time.strftime("%Y%m%dT%H%M%S") + f".{time.time_ns() % 1_000_000_000:09d}"
    return paths.make_private(runs / stamp)
