"""Replacing files whole or not at all."""

import errno
import hashlib
from pathlib import Path

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import files


def digest(content):
    return hashlib.sha256(content).hexdigest()


def test_put_makes_folders_and_sets_the_mode_whatever_was_there(tmp_path):
    target = tmp_path / "a" / "b.conf"
    files.put(target, "one", 0o600)
    assert (target.read_text(), files.mode_of(target)) == ("one", 0o600)
    target.chmod(0o777)
    files.put(target, "two", 0o644)
    assert (target.read_text(), files.mode_of(target)) == ("two", 0o644)
    assert [path.name for path in target.parent.iterdir()] == ["b.conf"]


def test_put_does_not_follow_a_link_planted_in_its_place(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f".secret{files.SUFFIX}").symlink_to(victim)
    files.put(tmp_path / "secret", "key", 0o600)
    assert victim.read_text() == "precious"
    assert (tmp_path / "secret").read_text() == "key"


def test_a_busy_target_is_rewritten_in_place(tmp_path, monkeypatch):
    target = tmp_path / "hosts"
    target.write_text("old")
    inode = target.stat().st_ino

    def busy(self, other):
        raise OSError(errno.EBUSY, "busy")

    monkeypatch.setattr(Path, "replace", busy)
    files.put(target, "new", 0o644)
    assert target.read_text() == "new"
    assert target.stat().st_ino == inode
    assert [path.name for path in tmp_path.iterdir()] == ["hosts"]


def test_a_copy_is_checked_by_its_digest(tmp_path):
    source = tmp_path / "source"
    source.write_bytes(b"program")
    assert files.copy_checked(source, tmp_path / "bin" / "program", digest(b"program"), 0o755)
    assert (tmp_path / "bin" / "program").read_bytes() == b"program"
    assert files.mode_of(tmp_path / "bin" / "program") == 0o755


def test_a_changed_source_leaves_the_old_file_alone(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"tampered")
    target.write_bytes(b"good")
    assert not files.copy_checked(source, target, digest(b"program"), 0o755)
    assert target.read_bytes() == b"good"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "target"]


def test_absent_files_are_no_error(tmp_path):
    assert files.sha256(tmp_path / "no") is None
    assert files.sha256(tmp_path) is None
    assert files.read(tmp_path / "no") is None
    assert files.mode_of(tmp_path / "no" / "no") is None
    files.remove(tmp_path / "no")


def test_sha256_of_a_large_file(tmp_path):
    content = bytes(range(256)) * 10000
    (tmp_path / "large").write_bytes(content)
    assert files.sha256(tmp_path / "large") == digest(content)


@pytest.mark.parametrize(("before", "after"), [(None, "x"), ("x", None)])
def test_a_difference_says_what_is_absent(before, after):
    entry = files.difference("/etc/x", before, after)
    assert ("(absent)" in entry["before_header"]) == (before is None)
    assert ("(absent)" in entry["after_header"]) == (after is None)


def test_rows_are_one_difference():
    (entry,) = files.rows_difference("files", {"/bin/a": ("absent", "sha256 1"), "/bin/b": ("sha256 0", "sha256 2")})
    assert entry["before"] == "/bin/a: absent\n/bin/b: sha256 0\n"
    assert entry["after"] == "/bin/a: sha256 1\n/bin/b: sha256 2\n"
    assert files.rows_difference("files", {}) == []
