"""Commands and locks."""

import os
import subprocess
import time

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import process


@pytest.fixture(autouse=True)
def locks(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "LOCKS", str(tmp_path / "locks"))


def test_results():
    result = process.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (result.rc, result.out, result.err, result.said) == (3, "out\n", "err\n", "out\n\nerr")
    assert process.run(["cat"], stdin="text").out == "text"
    assert process.run(["/no/such/program"]).rc == 127


def test_a_timeout_keeps_what_was_said():
    result = process.run(["sh", "-c", "echo begun; exec sleep 30"], timeout=0.5)
    assert result.rc == 124
    assert "begun" in result.out
    assert "no end within" in result.err


def test_must_raises_with_what_was_said():
    assert process.must(["echo", "fine"]) == "fine\n"
    with pytest.raises(process.CommandError, match="disk is full"):
        process.must(["sh", "-c", "echo disk is full >&2; exit 1"])


def test_a_lock_is_held_once_and_given_back():
    with process.lock("x", 1):
        with pytest.raises(process.CommandError, match="still busy with x"), process.lock("x", 0):
            pass
        with process.lock("y", 0):
            pass
    with process.lock("x", 0):
        pass


def test_a_child_that_outlives_the_run_still_holds_the_lock():
    with process.lock("x", 0) as handle:
        child = subprocess.Popen(["sleep", "60"], pass_fds=(handle,))
    try:
        with pytest.raises(process.CommandError), process.lock("x", 0):
            pass
        child.kill()
        child.wait()
        start = time.monotonic()
        with process.lock("x", 5):
            assert time.monotonic() - start < 1
    finally:
        child.kill()


def test_no_lock_leaks_into_ordinary_children():
    with process.lock("x", 0) as handle:
        listing = process.run(["ls", "-l", "/proc/self/fd"]).out
    assert "kubesmith-x.lock" not in listing
    with pytest.raises(OSError):
        os.fstat(handle)


def test_who_only_looks_takes_no_lock_and_leaves_no_file(monkeypatch, tmp_path):
    monkeypatch.setattr(process, "LOCKS", str(tmp_path / "lock"))
    with process.lock("x", 0, only_look=True):
        assert not (tmp_path / "lock").exists()
