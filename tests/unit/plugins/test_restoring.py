"""How data changes places in a restore, whatever moment an earlier one was stopped at."""

import io
import tarfile

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import etcd_data as etcd
from ansible_collections.kubesmith.cluster.plugins.module_utils import restoring
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError


@pytest.fixture(autouse=True)
def node(tmp_path, monkeypatch):
    data = tmp_path / "etcd"
    (data / "member").mkdir(parents=True)
    (data / "member" / "db").write_text("own")
    monkeypatch.setattr(etcd, "DATA", str(data))
    monkeypatch.setattr(restoring, "WORK", data / ".restore")
    monkeypatch.setattr(restoring, "ENCRYPTION", tmp_path / "encryption")
    monkeypatch.setattr(restoring, "ASIDE", tmp_path / "aside")
    monkeypatch.setattr(restoring, "MANIFESTS", tmp_path / "manifests")
    return tmp_path


def archive(folder, **more):
    path = folder / "shared.tar"
    with tarfile.open(path, "w") as packed:
        for name, text in {"etcd.db": "snapshot", "etc/kubernetes/encryption/config.yaml": "old key", **more}.items():
            row = tarfile.TarInfo(name)
            row.size, row.mode = len(text), 0o600
            packed.addfile(row, io.BytesIO(text.encode()))
    return str(path)


def prepared(node, monkeypatch):
    def made(_snapshot, folder, _name, _cluster):
        new = restoring.Path(folder) / "member"
        new.mkdir(parents=True)
        (new / "db").write_text("restored")

    monkeypatch.setattr(etcd, "restore", made)
    restoring.prepare(archive(node), "cp1", {"cp1": "https://cp1:2380"})


def database(node):
    return (node / "etcd/member/db").read_text()


def test_preparing_touches_nothing_that_is_in_use(node, monkeypatch):
    prepared(node, monkeypatch)
    assert database(node) == "own"
    assert not (node / "etcd/.restore/etcd.db").exists()


def test_data_and_encryption_change_places_and_come_back(node, monkeypatch):
    (node / "encryption").mkdir()
    (node / "encryption/config.yaml").write_text("new key")
    prepared(node, monkeypatch)
    for _twice in range(2):
        restoring.exchange()
        assert database(node) == "restored"
        assert (node / "encryption/config.yaml").read_text() == "old key"
    restoring.put_back()
    assert database(node) == "own"
    assert (node / "encryption/config.yaml").read_text() == "new key"


def test_between_the_two_names_nothing_is_lost(node, monkeypatch):
    prepared(node, monkeypatch)
    (node / "etcd/.restore/old").mkdir()
    (node / "etcd/member").rename(node / "etcd/.restore/old/member")
    prepared(node, monkeypatch)
    assert database(node) == "own"
    restoring.exchange()
    assert database(node) == "restored"


def test_what_fails_while_it_is_prepared_leaves_nothing(node, monkeypatch):
    def refused(*_given):
        raise CommandError("no")

    monkeypatch.setattr(etcd, "restore", refused)
    with pytest.raises(CommandError):
        restoring.prepare(archive(node), "cp1", {"cp1": "x"})
    assert [path.name for path in (node / "etcd").iterdir()] == ["member"]
    with pytest.raises(CommandError, match="which no restore needs"):
        restoring.prepare(archive(node, **{"etc/shadow": "x"}), "cp1", {"cp1": "x"})


def test_undo_of_what_was_only_prepared_stops_nothing(node, monkeypatch):
    prepared(node, monkeypatch)
    monkeypatch.setattr(restoring, "stop", pytest.fail)
    restoring.undo(1)
    assert [path.name for path in (node / "etcd").iterdir()] == ["member"]


@pytest.mark.parametrize(
    ("address", "url"), [("192.0.2.1", "https://192.0.2.1:2380"), ("fd00::1", "https://[fd00::1]:2380")]
)
def test_a_peer_address_is_kubeadms(address, url):
    assert restoring.peer(address) == url
