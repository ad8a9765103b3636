"""Tools that build: what they say is kept, and none outlives the build."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kubesmith.bundle.process import Runner, output
from kubesmith.errors import KubesmithError


def wait_for(condition, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_lines_go_to_the_caller_and_to_the_log(tmp_path):
    lines = []
    Runner(tmp_path).run("tool", ["sh", "-c", "echo one; echo two >&2"], line=lines.append)
    assert lines == ["one", "two"]
    assert (tmp_path / "tool.log").read_text() == "one\ntwo\n"


def test_a_failure_shows_the_last_lines_and_the_log(tmp_path):
    with pytest.raises(KubesmithError) as caught:
        Runner(tmp_path).run("tool", ["sh", "-c", "seq 100; exit 3"])
    text = str(caught.value)
    assert "ended with exit code 3" in text
    assert text.endswith("\n99\n100")
    assert "\n50\n" not in text
    assert str(tmp_path / "tool.log") in caught.value.fix


def test_stop_ends_a_tool_with_its_children_and_every_later_one(tmp_path):
    runner = Runner(tmp_path)
    pids = tmp_path / "pids"
    failures = []

    def work() -> None:
        try:
            runner.run("tool", ["sh", "-c", f"sleep 60 & echo $$ $! > {pids}; wait"])
        except KubesmithError as error:
            failures.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    assert wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    runner.stop()
    thread.join(10)
    assert failures == ["tool: stopped"]
    assert not any(alive(int(pid)) for pid in pids.read_text().split())
    with pytest.raises(KubesmithError, match="stopped"):
        runner.run("tool", ["sleep", "60"])


def test_a_tool_dies_with_a_build_that_is_killed(tmp_path):
    pid = tmp_path / "pid"
    code = "from pathlib import Path; from kubesmith.bundle.process import Runner;"
    code += f"Runner(Path({str(tmp_path)!r})).run('tool', ['sh', '-c', 'echo $$ > {pid}; exec sleep 60'])"
    build = subprocess.Popen([sys.executable, "-c", code])
    assert wait_for(lambda: pid.exists() and pid.read_text().strip() != "")
    os.kill(build.pid, signal.SIGKILL)
    build.wait()
    assert wait_for(lambda: not alive(int(pid.read_text())))


def test_output_returns_what_is_printed_or_says_what_went_wrong():
    assert output(["echo", "x"]) == "x\n"
    with pytest.raises(KubesmithError, match="exit code 1: broken"):
        output(["sh", "-c", "echo broken >&2; exit 1"])
