"""Whether a unit runs with older files than those in place."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import systemd
from ansible_collections.kubesmith.cluster.plugins.modules.unit import plan


def state(**changes):
    started = int((time.monotonic() - 100) * 1e6)
    found = {
        "LoadState": "loaded",
        "ActiveState": "active",
        "UnitFileState": "enabled",
        "NeedDaemonReload": "no",
        "MainPID": "0",
        "ExecMainStartTimestampMonotonic": str(started),
        "FragmentPath": "",
        "DropInPaths": "",
    }
    return {**found, **changes}


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "config"
    file.touch()
    return file


def age(file, seconds):
    then = time.time() - seconds
    os.utime(file, (then, then))


def test_a_file_newer_than_the_process_makes_it_stale(config):
    age(config, 200)
    assert systemd.stale_reason(state(), [str(config)]) == ""
    age(config, 50)
    assert systemd.stale_reason(state(), [str(config)]) == f"{config} changed"


def test_unit_files_and_drop_ins_count_as_watched(config):
    age(config, 50)
    assert systemd.stale_reason(state(FragmentPath=str(config)), [])
    assert systemd.stale_reason(state(DropInPaths=f"/none {config}"), [])


def test_what_does_not_run_is_not_stale(config):
    assert systemd.stale_reason(state(ActiveState="inactive"), [str(config)]) == ""


def test_absent_files_and_units_that_never_started_are_not_stale(config):
    assert systemd.stale_reason(state(), ["/does/not/exist"]) == ""
    assert systemd.stale_reason(state(ExecMainStartTimestampMonotonic="0"), [str(config)]) == ""


def test_a_replaced_program_is_noticed(tmp_path):
    program = tmp_path / "sleep"
    shutil.copy("/bin/sleep", program)
    program.chmod(0o755)
    with subprocess.Popen([program, "60"]) as process:
        try:
            assert not systemd.program_replaced(str(process.pid))
            new = tmp_path / "new"
            new.write_bytes(program.read_bytes())
            new.replace(program)
            assert systemd.program_replaced(str(process.pid))
        finally:
            process.kill()


def test_no_process_is_not_replaced():
    assert not systemd.program_replaced("0")
    assert not systemd.program_replaced("")


def texts(steps):
    return [text for text, _verb in steps if text]


def test_a_unit_as_wanted_needs_nothing():
    assert plan(state(), True, []) == []


def test_a_new_unit_is_enabled_and_started():
    new = state(ActiveState="inactive", UnitFileState="disabled")
    assert texts(plan(new, True, [])) == ["enable", "start"]
    assert texts(plan(new, False, [])) == ["enable"]


def test_a_unit_that_is_not_installed_would_be_enabled_and_started_after_a_reload():
    steps = plan(state(LoadState="not-found", ActiveState="inactive", UnitFileState=""), True, [])
    assert steps[0] == ("", ["daemon-reload"])
    assert texts(steps) == ["enable", "start"]


def test_a_stale_unit_is_restarted_with_its_reason(config):
    age(config, 50)
    assert texts(plan(state(), True, [str(config)])) == [f"restart: {config} changed"]


def test_a_changed_unit_file_reloads_before_the_restart():
    steps = plan(state(NeedDaemonReload="yes"), True, [])
    assert [verb for _text, verb in steps] == [["daemon-reload"], ["restart"]]


def test_start_time_is_wall_clock():
    assert systemd.start_time("5000000", now=1000.0, monotonic=25.0) == 980.0
    assert systemd.start_time("", 0, 0) is None


def test_what_restarts_a_running_unit_is_told(config):
    running = state(MainPID=str(os.getpid()), FragmentPath="/u/a.service", DropInPaths="/u/1.conf /u/2.conf")
    program = str(Path("/proc/self/exe").readlink())
    assert systemd.watched_files(running, [str(config)]) == [
        *(program, "/u/a.service", "/u/1.conf", "/u/2.conf", str(config)),
    ]
    assert systemd.watched_files(state(ActiveState="inactive"), [str(config)]) == []
