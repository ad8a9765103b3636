"""Keys of secrets: steps of a rotation as pure functions, and what etcd's bytes say."""

import base64
import json

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import encryption
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import ApiError
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError
from ansible_collections.kubesmith.cluster.plugins.modules import encryption_keys


def key(name, letter="a"):
    return {"name": name, "secret": base64.b64encode(letter.encode() * 32).decode()}


def config(*keys, resources=("secrets",), kind="secretbox"):
    return {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": list(resources), "providers": [{kind: {"keys": list(keys)}}, {"identity": {}}]}],
    }


def names(found):
    return [row["name"] for row in encryption.keys(found)]


def test_a_whole_rotation():
    old = config(key("key1"))
    new = encryption.made(old)
    assert (new["name"], len(base64.b64decode(new["secret"]))) == ("key2", 32)
    reads = encryption.present(old, new)
    assert names(reads) == ["key1", "key2"]
    assert encryption.present(reads, new) == reads
    writes = encryption.first(reads, "key2")
    assert names(writes) == ["key2", "key1"]
    assert encryption.writer(writes) == "secretbox:key2"
    assert names(encryption.only(writes, "key2")) == ["key2"]
    assert names(old) == ["key1"], "no step changes what it was given"


def test_the_newest_is_the_one_with_the_highest_number():
    assert encryption.newest(config(key("key10"), key("key9")))["name"] == "key10"
    assert encryption.made(config(key("mine")))["name"] == "key1"


def test_another_key_of_the_same_name_is_refused():
    with pytest.raises(CommandError, match="another key of the name key1"):
        encryption.present(config(key("key1")), key("key1", "b"))


@pytest.mark.parametrize("step", [encryption.first, encryption.only])
def test_a_key_that_is_not_there_is_refused(step):
    with pytest.raises(CommandError, match="has no key 'key3': key1"):
        step(config(key("key1")), "key3")


def test_a_digest_tells_keys_apart():
    one, other = encryption.told(config(key("a"), key("b", "b")))
    assert one["digest"] != other["digest"]
    assert key("a")["secret"] not in json.dumps([one, other])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: EncryptionConfiguration\n", "JSON"),
        ("{}", "JSON"),
        (json.dumps(config()), "a provider with keys first"),
        (json.dumps(config(key("a"), resources=["secrets", "events"])), r"more than .*\['events'\]"),
    ],
)
def test_a_configuration_of_another_kind_is_refused(tmp_path, text, message):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(CommandError, match=message):
        encryption.load(str(file))
    assert file.read_text() == text


def test_what_is_written_is_for_root_only(tmp_path):
    file = tmp_path / "config.yaml"
    encryption.save(str(file), config(key("a")))
    assert file.stat().st_mode & 0o777 == 0o600
    assert encryption.load(str(file)) == config(key("a"))


def test_the_bytes_say_who_wrote_them():
    assert encryption.written_by(b"k8s:enc:secretbox:v1:key2:\x00\xff:a") == "secretbox:key2"
    assert encryption.written_by(b"k8s\x00\n\x0c\n\x02v1\x12\x06Secret") == "plain"
    assert encryption.written_by(b"") == "plain"


class Server:
    """An API server whose objects change, go, or are refused."""

    def __init__(self, errors=()):
        self.errors, self.put = dict(errors), []

    def find(self, path):
        return None if path.endswith("/gone") else {"path": path}

    def request(self, _method, path, item):
        if path in self.errors:
            raise ApiError("no", self.errors[path])
        self.put.append(item["path"])


def test_what_is_gone_or_changes_meanwhile_is_no_error():
    server = Server({"/api/v1/namespaces/a/secrets/busy": 409})
    encryption.rewrite([("secrets", "a/one"), ("secrets", "a/gone"), ("secrets", "a/busy")], server)
    assert server.put == ["/api/v1/namespaces/a/secrets/one"]
    with pytest.raises(ApiError):
        encryption.rewrite([("secrets", "a/x")], Server({"/api/v1/namespaces/a/secrets/x": 500}))


@pytest.fixture
def node(tmp_path, monkeypatch):
    """Return a control plane of files: its configuration, and a list of what was restarted."""
    file = tmp_path / "config.yaml"
    encryption.save(str(file), config(key("key1")))
    restarts = []
    monkeypatch.setattr(encryption, "path", lambda: str(file))
    monkeypatch.setattr(encryption, "in_use", lambda _place: True)
    monkeypatch.setattr(encryption, "restart", lambda place, _timeout: restarts.append(place))
    monkeypatch.setattr(encryption, "stored", lambda _config: {"secretbox:key1": 3, "plain": 1})
    return file, restarts


def step(check_mode=False, **wanted):
    usual = {"state": "look", "key": None, "name": None, "reveal": False, "count": False, "timeout": 5}
    return encryption_keys.step(usual | wanted, check_mode)


def test_a_step_is_taken_once(node):
    file, restarts = node
    assert step(state="new")["actions"] == ["keys: key1 → key1, key2", "restart kube-apiserver"]
    assert step(state="new")["changed"] is False, "the one of before is used"
    assert names(json.loads(file.read_text())) == ["key1", "key2"]
    assert len(restarts) == 1


def test_check_mode_changes_nothing(node):
    file, restarts = node
    text = file.read_text()
    assert step(check_mode=True, state="new")["changed"] is True
    assert (file.read_text(), restarts) == (text, [])


def test_a_key_that_is_needed_is_not_dropped(node):
    step(state="present", key=key("key2", "b"))
    step(state="first", name="key2")
    with pytest.raises(CommandError, match="needed yet, and stays: secretbox:key1 wrote 3"):
        step(state="only", name="key2")
    assert names(json.loads(node[0].read_text())) == ["key2", "key1"]


def test_no_answer_holds_a_key_unless_it_is_asked_for(node):
    secret = key("key1")["secret"]
    assert secret not in json.dumps(step())
    assert secret in json.dumps(step(reveal=True))


def test_an_api_server_that_is_older_than_the_file_is_restarted(node, monkeypatch):
    monkeypatch.setattr(encryption, "in_use", lambda _place: False)
    assert step(state="present", key=key("key1"))["actions"] == ["restart kube-apiserver"]
