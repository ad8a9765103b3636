"""Settings of one node's kubelet: the file, the folder that it reads, and the way back from bad ones."""

import json
from pathlib import Path

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import kubelet
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError
from ansible_collections.kubesmith.cluster.plugins.modules import kubelet_settings

FLAGS = 'KUBELET_KUBEADM_ARGS="--node-ip=10.0.0.1 --node-labels=a=b"\n'


@pytest.fixture
def node(monkeypatch, tmp_path):
    """A node whose kubelet runs without a folder of settings; what it is made to do is in ``asked``."""
    flags, folder = tmp_path / "kubeadm-flags.env", tmp_path / "kubelet.conf.d"
    flags.write_text(FLAGS)
    state = {"MainPID": "1", "ActiveState": "active", "ExecMainStartTimestampMonotonic": "0"}
    asked = []
    monkeypatch.setattr(kubelet, "FLAGS", str(flags))
    monkeypatch.setattr(kubelet_settings.kubeadm, "KUBELET_SETTINGS", str(folder))
    monkeypatch.setattr(kubelet_settings.kubeadm, "membership", lambda: "complete")
    monkeypatch.setattr(kubelet_settings.systemd, "properties", lambda _unit: state)
    monkeypatch.setattr(kubelet_settings.kubelet, "arguments", lambda _pid: ["kubelet"])
    monkeypatch.setattr(kubelet_settings.before, "note", lambda _paths: None)
    monkeypatch.setattr(kubelet_settings, "must", lambda args, **_more: asked.append(args[1]))
    monkeypatch.setattr(kubelet_settings, "journal", lambda _unit, _lines: "x y kubelet[3]: E1124 invalid maxPods")
    monkeypatch.setattr(kubelet_settings, "healthy", lambda _settings, _timeout: True)
    return type("Node", (), {"flags": flags, "file": folder / kubelet.NAME, "asked": asked})


def test_a_node_that_is_a_member_already_gets_the_folder_too(node):
    answer = kubelet_settings.work({"maxPods": 50}, 5, False)
    assert answer["actions"] == [f"write {node.file}", f"write {node.flags}", "restart kubelet"]
    assert json.loads(node.file.read_text())["maxPods"] == 50
    assert kubelet.folder([], node.flags.read_text()) == str(node.file.parent)
    assert node.asked == ["restart"]


def test_without_settings_nothing_is_touched(node):
    assert kubelet_settings.work({}, 5, False)["actions"] == []
    assert node.flags.read_text() == FLAGS


def test_check_mode_tells_and_writes_nothing(node):
    answer = kubelet_settings.work({"maxPods": 50}, 5, True)
    assert (answer["changed"], node.file.exists(), node.asked) == (True, False, [])


def test_bad_settings_are_taken_back(node, monkeypatch):
    kubelet_settings.work({"maxPods": 50}, 5, False)
    good = node.file.read_text()
    monkeypatch.setattr(kubelet_settings, "healthy", lambda settings, _timeout: not settings)
    with pytest.raises(CommandError, match=r"the earlier ones are back, and it runs: E1124 invalid maxPods"):
        kubelet_settings.work({"maxPods": -1}, 5, False)
    assert node.file.read_text() == good


def test_before_a_join_only_the_file_is_written(node, monkeypatch):
    monkeypatch.setattr(kubelet_settings.kubeadm, "membership", lambda: "absent")
    assert kubelet_settings.work({"maxPods": 50}, 5, False)["actions"] == [f"write {node.file}"]
    assert (node.file.exists(), node.flags.read_text(), node.asked) == (True, FLAGS, [])


def test_before_a_join_the_folder_is_made(node, monkeypatch):
    monkeypatch.setattr(kubelet_settings.kubeadm, "membership", lambda: "absent")
    assert kubelet_settings.work({}, 5, False)["actions"] == []
    assert node.file.parent.is_dir()


def test_settings_that_are_taken_away_are_removed_and_the_kubelet_restarted(node):
    kubelet_settings.work({"maxPods": 50}, 5, False)
    assert kubelet_settings.work({}, 5, False)["actions"][0] == f"remove {node.file}"
    assert not node.file.exists()


@pytest.mark.parametrize(
    ("running", "flags", "wanted"),
    [
        (["kubelet", "--config-dir=/a"], FLAGS, "/a"),
        (["kubelet", "--config-dir", "/b"], "", "/b"),
        ([], 'KUBELET_KUBEADM_ARGS="--x=1 --config-dir=/c"\n', "/c"),
        (["kubelet", "--config=/x"], FLAGS, ""),
    ],
)
def test_the_folder_is_the_one_that_the_kubelet_reads(running, flags, wanted):
    assert kubelet.folder(running, flags) == wanted


def test_arguments_of_kubeadm_stay_beside_the_folder():
    assert kubelet.with_folder(FLAGS, "/d") == FLAGS.replace('a=b"', 'a=b --config-dir=/d"')
    assert kubelet.with_folder("", "/d") == 'KUBELET_KUBEADM_ARGS="--config-dir=/d"\n'


@pytest.mark.parametrize(
    ("config", "settings", "wanted"),
    [
        ("", {}, "http://127.0.0.1:10248/healthz"),
        ("healthzPort: 10300\nhealthzBindAddress: 0.0.0.0\n", {}, "http://127.0.0.1:10300/healthz"),
        ("", {"healthzPort": 0}, None),
        ("", {"healthzBindAddress": "::1"}, "http://[::1]:10248/healthz"),
    ],
)
def test_health_is_asked_where_the_kubelet_tells_it(config, settings, wanted):
    assert kubelet.health_address(config, settings) == wanted


def test_an_interrupted_run_is_made_good(tmp_path):
    state = {"ExecMainStartTimestampMonotonic": "1"}
    file = tmp_path / kubelet.NAME
    with_folder = kubelet.with_folder("", str(tmp_path))
    assert kubelet.stale(state, ["kubelet"], with_folder, str(file)) == "it runs without --config-dir"
    file.write_text("{}")
    assert Path(file).exists()
    assert kubelet.stale(state, [f"--config-dir={tmp_path}"], "", str(file)) == f"{file} changed"
