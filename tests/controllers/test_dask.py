"""A real scheduler and real workers, started by the command line, with TLS; the hosts are this machine itself."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kubesmith import paths
from kubesmith.controllers import certificates, engines, shards
from kubesmith.controllers.shards import Shard
from kubesmith.errors import InputError

RUNNER = [sys.executable, str(paths.PACKAGE.parent / "runner.py"), "controllers"]
#: Once for each host: a line before a wait, an effect that is made only where it is not there, and a line behind it.
PLAYBOOK = """
- hosts: kube_node
  gather_facts: false
  tasks:
    - ansible.builtin.shell:
        cmd: "echo {{ inventory_hostname }} $PPID >>{{ folder }}/begun; sleep {{ seconds }}"
      changed_when: false
    - ansible.builtin.shell:
        cmd: "echo {{ inventory_hostname }} >>{{ folder }}/effects; touch {{ folder }}/{{ inventory_hostname }}"
        creates: "{{ folder }}/{{ inventory_hostname }}"
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(true: Callable[[], bool], what: str, seconds: float = 240) -> None:
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, what
        time.sleep(0.1)


class Mesh:
    """A scheduler and its workers as processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.tls = folder / "tls"
        certificates.make(self.tls)
        self.port, self.folder = free_port(), folder
        self.address = f"tls://127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.start("scheduler", "--listen", f"127.0.0.1:{self.port}", "--dashboard", "127.0.0.1:0")

    def start(self, *words: str, tls: Path | None = None) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{words[0]}-{len(self.processes)}.log").open("wb")
        command = [*RUNNER, *words, "--tls", str(tls or self.tls)]
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self.processes.append(process)
        return process

    def worker(self, tls: Path | None = None) -> subprocess.Popen[bytes]:
        return self.start("worker", self.address, "--at-once", "1", tls=tls)

    def engine(self, tls: Path | None = None) -> engines.Engine:
        return engines.named(self.address, tls or self.tls)

    def wait_for_workers(self, count: int) -> engines.Engine:
        engine: list[engines.Engine] = []

        def there() -> bool:
            with contextlib.suppress(InputError):
                engine[:] = engine or [self.engine()]
                return engine[0].places("1.37.2") >= count
            return False

        until(there, f"{count} workers: {self.logs()}")
        return engine[0]

    def logs(self) -> str:
        return "\n".join(f"{file.name}:\n{file.read_text()[-800:]}" for file in sorted(self.folder.glob("*.log")))

    def end(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    pytest.importorskip("distributed")
    made = Mesh(tmp_path)
    yield made
    made.end()


def shard(number: int, folder: Path, seconds: float) -> Shard:
    hosts = [f"h{number}{letter}" for letter in "ab"]
    variables = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    variables |= {"folder": str(folder), "seconds": str(seconds)}
    inventory = {"kube_node": {"hosts": dict.fromkeys(hosts, variables)}}
    playbook = folder / "play.yml"
    playbook.write_text(PLAYBOOK)
    payload = shards.transmitted(f"shard-{number}", inventory, {}, str(playbook))
    return Shard(f"shard-{number}", tuple(hosts), payload)


def lines(file: Path) -> list[str]:
    return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []


def test_a_lost_workers_shard_is_run_elsewhere_and_no_host_twice_with_effects(mesh: Mesh, tmp_path: Path) -> None:
    doomed = mesh.worker()
    engine = mesh.wait_for_workers(1)
    assert engine.places("1.37.2") == 1
    heard: list[tuple[str, int]] = []
    results = engine.run(
        [shard(number, tmp_path, 3) for number in range(2)],
        lambda name, attempt, _who, _lines: heard.append((name, attempt)),
    )

    def kill_in_the_middle() -> None:
        until(lambda: len(lines(tmp_path / "begun")) >= 1, f"nothing began: {mesh.logs()}")
        mesh.worker()
        os.killpg(doomed.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_in_the_middle)
    killer.start()
    outcomes = {outcome.shard.name: outcome for outcome in results}
    killer.join()
    engine.close()
    assert sorted(outcomes) == ["shard-0", "shard-1"]
    assert all(outcome.stream.rstrip().endswith(b'{"eof": true}') for outcome in outcomes.values()), mesh.logs()
    assert sorted(lines(tmp_path / "effects")) == ["h0a", "h0b", "h1a", "h1b"], "each once, none forgotten"
    assert len(lines(tmp_path / "begun")) > 4, "the lost shard was begun twice"
    assert {name for name, _attempt in heard} == {"shard-0", "shard-1"}, "events come while it runs"


def test_who_has_another_certificate_is_let_in_nowhere(mesh: Mesh, tmp_path: Path) -> None:
    other = tmp_path / "other"
    certificates.make(other)
    stranger = mesh.worker(other)
    friend = mesh.worker()
    engine = mesh.wait_for_workers(1)
    with pytest.raises(InputError, match="do not trust each other"):
        mesh.engine(other)
    time.sleep(2)
    assert engine.places("1.37.2") == 1
    engine.close()
    assert friend.poll() is None
    assert "certificate" in mesh.logs().lower() or "ssl" in mesh.logs().lower(), stranger.poll()
