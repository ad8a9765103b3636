"""Copies away from this machine: a real client against moto's S3, and sftp's words where no host answers."""

import urllib.request

import pytest
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import BackupTarget
from moto.server import ThreadedMotoServer

from kubesmith.backups import targets
from kubesmith.errors import InputError


@pytest.fixture(scope="module")
def endpoint():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/backups", method="PUT"), timeout=10)
    yield f"http://{host}:{port}"
    server.stop()


def target(url, **more):
    return targets.make(BackupTarget.model_validate({"url": url, **more}))


@pytest.fixture
def login(monkeypatch):
    monkeypatch.setenv("S3_SECRET", "planted-secret-word")
    return {"auth": {"username": "key", "password_env": "S3_SECRET"}}


def test_s3_keeps_lists_gives_and_drops(endpoint, login, tmp_path):
    there = target("s3://backups/lab/x", endpoint=endpoint, **login)
    assert there.names() == []
    for name, content in (("a.json", b"{}"), ("a.tar.gz.age", b"y" * (12 << 20))):
        (tmp_path / name).write_bytes(content)
        there.put(tmp_path / name)
    assert sorted(there.names()) == ["a.json", "a.tar.gz.age"]
    (tmp_path / "back").mkdir()
    there.get(["a.tar.gz.age"], tmp_path / "back")
    assert (tmp_path / "back" / "a.tar.gz.age").read_bytes() == b"y" * (12 << 20)
    assert target("s3://backups", endpoint=endpoint, **login).names() == [], "a folder's own files only"
    there.remove(["a.json", "never-there"])
    assert there.names() == ["a.tar.gz.age"]


@pytest.mark.parametrize(("url", "said"), [("s3://none", "NoSuchBucket: The specified bucket does not exist")])
def test_s3_says_why_in_its_own_words(endpoint, login, url, said, tmp_path):
    (tmp_path / "a.json").write_text("{}")
    for call in (
        lambda one: one.names(),
        lambda one: one.put(tmp_path / "a.json"),
        lambda one: one.get(["x"], tmp_path),
    ):
        with pytest.raises(targets.TargetError, match=f"{url}: {said}") as caught:
            call(target(url, endpoint=endpoint, **login))
        assert "planted-secret-word" not in str(caught.value)


def test_a_password_that_is_not_there_is_told(endpoint):
    with pytest.raises(InputError, match="S3_SECRET is not set"):
        target("s3://backups", endpoint=endpoint, auth={"username": "key", "password_env": "S3_SECRET"})


def test_ssh_asks_openssh_and_says_why(tmp_path):
    there = target("ssh://nobody@127.0.0.1:1/srv/backups", key="/nowhere/key", known_hosts="/nowhere/hosts")
    with pytest.raises(targets.TargetError, match=r"ssh://nobody@127\.0\.0\.1:1/srv/backups: ") as caught:
        there.names()
    assert "-oStrictHostKeyChecking=yes" in there._command
    assert "sftp" in caught.value.fix


@pytest.mark.parametrize(("url", "folder"), [("ssh://h/srv/b", "/srv/b"), ("ssh://h/~/b", "b")])
def test_a_folder_is_absolute_or_of_the_login(url, folder):
    assert target(url).folder == folder
