"""A real ansible-runner on this machine, and what becomes of its events."""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
import time
from pathlib import Path

import pytest

from kubesmith import execute
from kubesmith.errors import KubesmithError
from kubesmith.ui import Ui

INVENTORY = """\
all:
  vars: {ansible_connection: local, ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  hosts:
    a: {}
    b: {}
    gone: {ansible_connection: ssh, ansible_host: gone.invalid, ansible_ssh_common_args: -o ConnectTimeout=1}
"""


class Place:
    """A folder with an inventory, in which plays are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inventory = folder / "hosts.yml"
        self.inventory.write_text(INVENTORY)
        self.ui = Ui(as_json=True)

    def run(self, tasks: str, hosts: str = "a:b", **options: bool) -> execute.Result:
        play = self.folder / "play.yml"
        body = "\n".join(f"    {line}" for line in tasks.splitlines())
        play.write_text(f"- name: First play\n  hosts: {hosts}\n  gather_facts: false\n  tasks:\n{body}\n")
        return execute.playbook(str(play), inventory=self.inventory, state=self.folder / "state", ui=self.ui, **options)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


COUNTED = """\
- name: Changes
  ansible.builtin.command: "true"
- name: Is as it was
  ansible.builtin.command: "true"
  changed_when: false
- name: Only on a
  ansible.builtin.debug:
  when: inventory_hostname == 'a'
- name: May fail
  ansible.builtin.command: "false"
  ignore_errors: true
  changed_when: false
- name: Is tried until it works
  ansible.builtin.command: "true"
  register: tried
  changed_when: false
  until: tried.attempts | default(1) >= 2
  retries: 3
  delay: 0
- name: Is rescued
  block:
    - name: Fails
      ansible.builtin.command: "false"
      changed_when: false
  rescue:
    - name: Mends
      ansible.builtin.debug:
"""


def test_tasks_are_counted_and_a_failure_that_was_dealt_with_is_none(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    result = place.run(COUNTED)
    assert result.ok, result.failures
    assert result.changed == 2
    assert {name: (count.changed, count.skipped, count.failed) for name, count in result.hosts.items()} == {
        "a": (1, 0, 0),
        "b": (1, 1, 0),
    }
    assert result.hosts["a"].evaluated == result.hosts["b"].evaluated == 7
    rows = [json.loads(line) for line in (result.log / "tasks.jsonl").read_text().splitlines()]
    assert len(rows) == 14
    assert {row["play"] for row in rows} == {"First play"}
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events if event["event"].startswith("phase")] == ["phase_start", "phase_end"]


def test_failed_and_unreachable_hosts_are_told_with_their_words(place: Place) -> None:
    tasks = """\
- name: Is reached
  ansible.builtin.command: "true"
- name: Fails on a
  ansible.builtin.fail: {msg: a is wrong}
  when: inventory_hostname == 'a'
"""
    result = place.run(tasks, hosts="a:b:gone")
    assert not result.ok
    failures = {failure.host: failure for failure in result.failures}
    assert sorted(failures) == ["a", "gone"]
    assert (failures["a"].task, failures["a"].message, failures["a"].unreachable) == ("Fails on a", "a is wrong", False)
    assert failures["gone"].unreachable
    assert "gone.invalid" in failures["gone"].message
    assert result.hosts["b"].failed == 0
    assert "traceback" not in failures["a"].detail
    assert [phase.ok for phase in place.ui.times] == [False]


def test_check_mode_changes_nothing(place: Place) -> None:
    made = place.folder / "made"
    result = place.run(
        f"- name: Make\n  ansible.builtin.copy: {{content: x, dest: {made}, mode: '0600'}}\n", check=True
    )
    assert result.ok
    assert result.changed == 2
    assert not made.exists()


def test_a_play_without_hosts_is_no_success(place: Place) -> None:
    result = place.run("- ansible.builtin.debug:\n", hosts="nobody")
    assert not result.ok
    assert result.hosts == {}


@pytest.mark.parametrize("tasks", ["- no.such.module: {}\n", "- ansible.builtin.debug: {\n"])
def test_what_fails_before_any_task_is_told_in_ansibles_words(place: Place, tasks: str) -> None:
    with pytest.raises(KubesmithError, match=r"(?s)Ansible ended with failed before any task: .*\S") as caught:
        place.run(tasks)
    assert str(place.folder / "state" / "runs") in caught.value.fix


def test_an_inventory_that_is_refused_is_told(place: Place) -> None:
    place.inventory.write_text("plugin: kubesmith.cluster.spec\ncluster: {name: a}\nlab: 1\n")
    with pytest.raises(KubesmithError, match="lab: 1 is not true or false"):
        place.run("- ansible.builtin.debug:\n")


def interrupt_after(marker: Path) -> None:
    """Send SIGTERM to this process once ``marker`` is written."""
    for _attempt in range(600):
        if marker.exists() and marker.read_text().strip():
            break
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)


def runs(process: int) -> bool:
    """Tell whether a process runs; one that ended and waits for its parent to notice does not."""
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


def test_an_interrupt_ends_ansible_and_is_passed_on(place: Place) -> None:
    marker = place.folder / "child"
    before = signal.getsignal(signal.SIGTERM)  # ansible-runner itself leaves its own, where a test calls it directly
    watcher = threading.Thread(target=interrupt_after, args=(marker,))
    watcher.start()
    with pytest.raises(KeyboardInterrupt):
        place.run(f"- ansible.builtin.shell: echo $$ > {marker}; exec sleep 300\n", hosts="a")
    watcher.join()
    assert not runs(int(marker.read_text()))
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_a_run_leaves_is_private_and_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "KEPT_RUNS", 2)
    for _round in range(3):
        place.run("- ansible.builtin.command: echo not-to-be-kept\n", hosts="a")
    runs = place.folder / "state" / "runs"
    assert len(list(runs.iterdir())) == 2
    for folder, _folders, files in os.walk(runs):
        assert stat.S_IMODE(Path(folder).stat().st_mode) == 0o700 or runs != Path(folder).parent
        for file in files:
            assert "not-to-be-kept" not in (Path(folder) / file).read_text()


def test_a_password_in_the_environment_reaches_ansible_and_stays_in_no_file(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY_PASSWORD", "Tr0ub4dor-execute")
    secret = "{{ lookup('ansible.builtin.env', 'REGISTRY_PASSWORD') == 'Tr0ub4dor-' ~ 'execute' }}"
    result = place.run(f'- name: Knows it\n  ansible.builtin.assert:\n    that: "{secret}"')
    assert result.ok
    files = [file for file in (place.folder / "state").rglob("*") if file.is_file()]
    assert (result.log / "artifacts" / "ansible" / "command") in files
    assert [file for file in files if b"Tr0ub4dor-execute" in file.read_bytes()] == []


def test_the_environment_does_not_follow_the_current_folder(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.folder / "ansible.cfg").write_text("[defaults]\ngathering = nonsense\n")
    monkeypatch.chdir(place.folder)
    monkeypatch.setenv("ANSIBLE_GATHERING", "nonsense")
    assert place.run("- ansible.builtin.debug:\n", hosts="a").ok
