"""The store holds a component whole or not at all, whatever happens to the process that makes it."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from kubesmith.bundle.store import Store, link, locked


def fill(folder: Path) -> dict:
    (folder / "bin").mkdir()
    (folder / "bin" / "tool").write_bytes(b"content")
    return {"component": {"name": "tool"}}


def python(code: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "store")


def test_what_was_put_is_found_again(store):
    assert store.get("tool", "k1") is None
    made = store.put("tool", "k1", fill)
    found = store.get("tool", "k1")
    assert found == made
    assert (found.path / "bin" / "tool").read_bytes() == b"content"
    assert store.get("tool", "k2") is None


def test_a_failure_leaves_nothing_that_counts(store):
    def half(folder: Path) -> dict:
        fill(folder)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.put("tool", "k1", half)
    assert store.get("tool", "k1") is None
    store.sweep()
    assert list(store.root.iterdir()) == []


def test_after_kill_9_in_the_middle_the_next_run_finishes(store):
    killed = python(f"""
        import os, signal
        from pathlib import Path
        from kubesmith.bundle.store import Store, locked
        def half(folder):
            (folder / "bin").mkdir()
            (folder / "bin" / "tool").write_bytes(b"con")
            os.kill(os.getpid(), signal.SIGKILL)
        with locked(Path({str(store.root.parent / "lock")!r}), print):
            Store(Path({str(store.root)!r})).put("tool", "k1", half)
    """)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert list(store.root.iterdir()) != []
    with locked(store.root.parent / "lock", lambda pid: pytest.fail(f"locked by {pid}")):
        store.sweep()
        assert store.get("tool", "k1") is None
        store.put("tool", "k1", fill)
    assert store.get("tool", "k1") is not None


def test_a_changed_file_makes_the_component_absent(store):
    made = store.put("tool", "k1", fill)
    (made.path / "bin" / "tool").write_bytes(b"CONTENT")
    assert store.get("tool", "k1") is None
    assert not made.path.exists()


def test_a_missing_file_makes_the_component_absent(store):
    made = store.put("tool", "k1", fill)
    (made.path / "bin" / "tool").unlink()
    assert store.get("tool", "k1") is None


def test_a_touched_file_with_the_same_bytes_is_still_good(store):
    made = store.put("tool", "k1", fill)
    os.utime(made.path / "bin" / "tool")
    assert store.get("tool", "k1") is not None


def test_a_warm_look_reads_no_content(store, monkeypatch):
    store.put("tool", "k1", fill)
    monkeypatch.setattr("kubesmith.bundle.store.file_sha256", lambda path: pytest.fail(f"read {path}"))
    assert store.get("tool", "k1") is not None


def test_a_second_build_waits_and_is_told_for_whom(tmp_path):
    lock = tmp_path / "lock"
    holder = python(f"""
        import sys, time
        from pathlib import Path
        from kubesmith.bundle.store import locked
        with locked(Path({str(lock)!r}), print):
            print("held", flush=True)
            time.sleep(0.5)
    """)
    assert holder.stdout.readline() == "held\n"
    told = []
    with locked(lock, told.append) as waited:
        assert waited
    assert told == [str(holder.pid)]
    holder.communicate()
    with locked(lock, told.append) as waited:
        assert not waited


def test_link_shares_the_bytes_where_it_can(tmp_path):
    source = tmp_path / "a"
    source.write_bytes(b"x")
    link(source, tmp_path / "deep" / "b")
    assert (tmp_path / "deep" / "b").samefile(source)


def test_link_copies_where_the_file_system_cannot(tmp_path, monkeypatch):
    source = tmp_path / "a"
    source.write_bytes(b"x")

    def refuse(*_args):
        raise OSError

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    link(source, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"x"
    assert not (tmp_path / "b").samefile(source)
