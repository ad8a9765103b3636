"""A backup opened: what is whole is read, what is not is refused by name, and nothing is left behind."""

from __future__ import annotations

import io
import json
import os
import tempfile
from pathlib import Path

import pyrage
import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import backup as node

from kubesmith.backups import archive, key, store
from kubesmith.errors import InputError, KubesmithError
from kubesmith.ui import Ui

NAME = "lab-20261125T001530000Z-cp1"
META = {
    "schema": 1,
    "id": NAME,
    "cluster": "lab",
    "authority": "ab" * 32,
    "created": "2026-11-25T00:15:30Z",
    "node": "cp1",
    "reason": "asked for",
    "kubernetes": "1.37.2",
    "etcd": "3.7.0",
    "snapshot": {"hash": "0a0b0c0d", "revision": 7, "keys": 3, "bytes": 9, "storage": "3.7.0"},
}
FILES = {"etcd.db": b"data" * 1000, "cluster.yml": b"cluster: {name: lab}\n", "etc/kubernetes/pki/ca.key": b"secret"}


def entries(files):
    return iter([(name, 0o600, io.BytesIO(content)) for name, content in files.items()])


def written(folder, recipient, files=FILES, meta=META, described=True):
    """Write a backup as a node does, but for the program age, and return its file."""
    packed = io.BytesIO()
    node.pack(packed, meta, entries(files))
    file = folder / f"{NAME}{node.SUFFIX}"
    file.write_bytes(pyrage.encrypt(packed.getvalue(), [recipient]))
    if described:
        more = {"bytes": file.stat().st_size, "sha256": node.files.sha256(file)}
        (folder / f"{NAME}.json").write_text(json.dumps(meta | more))
    return file


@pytest.fixture
def identity(tmp_path):
    place = tmp_path / "keys" / "key.txt"
    key.make(place)
    return place


@pytest.fixture
def file(tmp_path, identity):
    return written(tmp_path, key.load(identity).to_public())


def read(file, identity):
    with archive.opened(store.at(file), identity) as one:
        return dict(one.meta), {name: (one.folder / name).read_bytes() for name in FILES}


def test_what_was_packed_is_there_again_and_goes_afterwards(file, identity, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    meta, found = read(file, identity)
    assert (meta["id"], found) == (NAME, FILES)
    assert list(tmp_path.glob("kubesmith-backup-*")) == []


def test_a_file_without_its_description_is_enough(tmp_path, identity):
    file = written(tmp_path, key.load(identity).to_public(), described=False)
    renamed = file.rename(tmp_path / f"other{node.SUFFIX}")
    assert read(renamed, identity)[1] == FILES


def damaged(file, change):
    file.write_bytes(change(file.read_bytes()))
    return file


TRUNCATED = {
    "the end is missing": lambda raw: raw[:-50],
    "most is missing": lambda raw: raw[:100],
    "nothing is left": lambda raw: b"",
}
ALTERED = {
    "in the middle": lambda raw: raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 1]) + raw[len(raw) // 2 + 1 :],
    "in the head": lambda raw: raw[:30] + bytes([raw[30] ^ 1]) + raw[31:],
    "all of it": lambda raw: os.urandom(len(raw)),
}


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize(("word", "change"), [*(("truncated", c) for c in TRUNCATED.values())])
def test_a_truncated_one_is_refused(file, identity, word, change, described):
    damaged(file, change)
    if not described:
        file.with_name(f"{NAME}.json").unlink()
    with pytest.raises(InputError, match=f"{NAME}.*{word}"):
        read(file, identity)


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("change", ALTERED.values(), ids=ALTERED)
def test_an_altered_one_is_refused(file, identity, change, described):
    damaged(file, change)
    if not described:
        file.with_name(f"{NAME}.json").unlink()
    with pytest.raises(InputError, match=rf"{NAME}.*(altered|another key)"):
        read(file, identity)


def test_a_wrong_key_is_refused(file, tmp_path):
    other = tmp_path / "other.txt"
    key.make(other)
    with pytest.raises(InputError, match=r"other\.txt: it was encrypted for another key"):
        read(file, other)


def test_a_description_of_another_backup_is_refused(file, identity, tmp_path):
    other = NAME.replace("cp1", "cp2")
    for suffix in (node.SUFFIX, ".json"):
        (tmp_path / f"{NAME}{suffix}").rename(tmp_path / f"{other}{suffix}")
    with pytest.raises(InputError, match=f"the file of backup {other} holds another one: {NAME}"):
        read(tmp_path / f"{other}{node.SUFFIX}", identity)


@pytest.mark.parametrize("name", ["etc/kubernetes/../../../tmp/x", "/etc/passwd", "x", "etc/kubernetes/", "etc/shadow"])
def test_a_file_that_no_backup_holds_is_refused(tmp_path, identity, name):
    file = written(tmp_path, key.load(identity).to_public(), FILES | {name: b"x"})
    with pytest.raises(InputError, match="which no backup holds"):
        read(file, identity)


def test_a_digest_that_does_not_fit_is_refused(tmp_path, identity, monkeypatch):
    add = node._add
    monkeypatch.setattr(
        node, "_add", lambda *given: add(*given) if given[1] != "etcd.db" else (add(*given), "0" * 64)[1]
    )
    file = written(tmp_path, key.load(identity).to_public())
    with pytest.raises(InputError, match=r"damaged inside: etcd\.db"):
        read(file, identity)


def test_a_newer_format_is_refused(tmp_path, identity):
    file = written(tmp_path, key.load(identity).to_public(), meta=META | {"schema": 2}, described=False)
    with pytest.raises(InputError, match="a newer kubesmith wrote it"):
        read(file, identity)


def test_what_etcd_does_not_take_is_refused(file, identity, tmp_path):
    program = tmp_path / "bundle" / "bin" / "etcdutl"
    program.parent.mkdir(parents=True)
    with archive.opened(store.at(file), identity) as one:
        with pytest.raises(KubesmithError, match="there is no"):
            archive.inspect(one, tmp_path / "bundle")
        program.write_text("#!/bin/sh\necho 'Error: snapshot missing hash' >&2\nexit 1\n")
        program.chmod(0o755)
        with pytest.raises(InputError, match="etcdutl refuses its snapshot: Error: snapshot missing hash"):
            archive.inspect(one, tmp_path / "bundle")
        program.write_text("""#!/bin/sh\necho '{"hash": 1, "revision": 7, "totalKey": 3, "version": "3.7.0"}'\n""")
        with pytest.raises(InputError, match="the hash of its snapshot is 00000001, and was 0a0b0c0d"):
            archive.inspect(one, tmp_path / "bundle")


def test_the_key_is_made_once_private_and_refused_when_it_is_not(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KUBESMITH_DATA", str(tmp_path))
    first = key.recipient("lab", Ui())
    said = capsys.readouterr().out
    assert str(key.file("lab")) in said.replace("\n", "")
    assert "nobody can read them" in said
    assert "AGE-SECRET" not in said
    assert key.recipient("lab", Ui()) == first
    assert capsys.readouterr().out == ""
    assert key.file("lab").stat().st_mode & 0o777 == 0o600
    key.file("lab").chmod(0o640)
    with pytest.raises(InputError, match="mode 0640, others can read it"):
        key.load(key.file("lab"))
    for text in ("", "# only a comment\n", "AGE-SECRET-KEY-1XYZ\n"):
        key.file("lab").write_text(text)
        key.file("lab").chmod(0o600)
        with pytest.raises(InputError, match="holds no private key of age"):
            key.load(key.file("lab"))
    key.file("lab").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        key.load(key.file("lab"))


def test_which_backup_is_meant(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBESMITH_DATA", str(tmp_path))
    folder = store.folder("lab")
    folder.mkdir(parents=True)
    public = pyrage.x25519.Identity.generate().to_public()
    file = written(folder, public)
    (folder / "damaged.json").write_text("{")
    assert [backup.id for backup in store.backups("lab")] == [NAME]
    assert store.find("lab", "latest").file == store.find("lab", NAME).file == store.find("lab", str(file)).file == file
    for wrong in ("none", str(tmp_path), "../x"):
        with pytest.raises(InputError, match="there is no backup"):
            store.find("lab", wrong)
    other = tmp_path / "x.txt"
    other.write_text("")
    with pytest.raises(InputError, match="does not end in"):
        store.find("lab", str(other))


def test_the_oldest_go(tmp_path):
    for number in range(5):
        name = f"lab-{number}"
        (tmp_path / f"{name}.json").write_text(json.dumps({"id": name, "cluster": "lab", "created": str(number)}))
        (tmp_path / f"{name}{node.SUFFIX}").write_bytes(b"")
    (tmp_path / "other-0.json").write_text(json.dumps({"id": "other-0", "cluster": "other", "created": "0"}))
    assert node.prune(tmp_path, "lab", 2) == ["lab-0", "lab-1", "lab-2"]
    left = sorted(path.name for path in Path(tmp_path).iterdir())
    assert left == sorted(["other-0.json", *(f"lab-{n}{s}" for n in (3, 4) for s in (".json", node.SUFFIX))])
