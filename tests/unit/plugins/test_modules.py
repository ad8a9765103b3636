"""Modules: what they answer, in check mode too, and the pure parts of the others."""

import json

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.kubesmith.cluster.plugins.action import kubeconfig
from ansible_collections.kubesmith.cluster.plugins.module_utils import node
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, Result
from ansible_collections.kubesmith.cluster.plugins.modules import (
    bundle_images,
    files,
    host_prepare,
    kube_nodes,
    kubeadm_join,
)


@pytest.fixture
def call(capsys):
    """Return a function that runs a module and returns its answer."""

    def run(module, check=False, **arguments):
        with patch_module_args({**arguments, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            module.main()
        return json.loads(capsys.readouterr().out)

    return run


class TestFiles:
    def rows(self, folder, **more):
        return [{"path": str(folder / "a.conf"), "content": "Managed by kubesmith\n", "mode": "0600", **more}]

    def test_writes_once_and_then_leaves_alone(self, call, tmp_path):
        first = call(files, files=self.rows(tmp_path))
        assert (first["changed"], first["changed_files"]) == (True, [str(tmp_path / "a.conf")])
        assert (tmp_path / "a.conf").stat().st_mode & 0o777 == 0o600
        assert call(files, files=self.rows(tmp_path))["changed"] is False

    def test_check_mode_shows_and_does_nothing(self, call, tmp_path):
        answer = call(files, check=True, files=self.rows(tmp_path))
        assert answer["changed"] is True
        assert answer["diff"][0]["after"] == "Managed by kubesmith\n"
        assert list(tmp_path.iterdir()) == []

    def test_a_changed_mode_is_a_change(self, call, tmp_path):
        call(files, files=self.rows(tmp_path))
        (tmp_path / "a.conf").chmod(0o644)
        assert call(files, files=self.rows(tmp_path))["changed"] is True

    def test_an_invalid_file_leaves_every_file_as_it_was(self, call, tmp_path):
        rows = self.rows(tmp_path) + self.rows(tmp_path / "sub", validate="grep -q 'nothing like it' %s")
        answer = call(files, files=rows)
        assert answer["failed"] is True
        assert "is not valid, the old one stays" in answer["msg"]
        assert list(tmp_path.iterdir()) == []

    def test_a_valid_file_is_written(self, call, tmp_path):
        assert call(files, files=self.rows(tmp_path, validate="grep -q Managed %s"))["changed"] is True

    def test_a_validator_that_is_not_there_yet_only_counts_outside_check_mode(self, call, tmp_path):
        rows = self.rows(tmp_path, validate="/no/such/program %s")
        assert call(files, check=True, files=rows)["changed"] is True
        assert call(files, files=rows)["failed"] is True

    def test_only_unwanted_files_of_ours_are_purged(self, call, tmp_path):
        for name, text in (("old", "# Managed by kubesmith"), ("foreign", "mine")):
            (tmp_path / f"{name}.conf").write_text(text)
        pattern = str(tmp_path / "*.conf")
        answer = call(files, files=self.rows(tmp_path), purge=[pattern])
        assert sorted(answer["changed_files"]) == [str(tmp_path / "a.conf"), str(tmp_path / "old.conf")]
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.conf", "foreign.conf"]


class TestHostPrepare:
    @pytest.fixture(autouse=True)
    def host(self, tmp_path, monkeypatch):
        for name in ("FSTAB", "HOSTS", "MODULES_LOAD", "SYSCTL"):
            monkeypatch.setattr(host_prepare, name, str(tmp_path / name))
        (tmp_path / "HOSTS").write_text("127.0.0.1 localhost\n127.0.1.1 w1\n")
        (tmp_path / "ip_forward").write_text("0\n")
        monkeypatch.setattr(host_prepare.host, "sysctl_path", lambda key: str(tmp_path / key.rsplit(".", 1)[-1]))
        self.folder = tmp_path

    def prepare(self, call, check=False, **more):
        return call(host_prepare, check=check, swap="keep", modules=[], hosts={"w1": "10.0.0.2"}, **more)

    def test_live_and_persisted_and_then_nothing_more(self, call):
        answer = self.prepare(call)
        assert "net.ipv4.ip_forward: 0 → 1" in answer["actions"]
        assert (self.folder / "ip_forward").read_text() == "1"
        assert "net.ipv4.ip_forward = 1" in (self.folder / "SYSCTL").read_text()
        assert "127.0.1.1" not in (self.folder / "HOSTS").read_text()
        assert self.prepare(call)["changed"] is False

    def test_check_mode_changes_nothing(self, call):
        before = {path.name: path.read_text() for path in self.folder.iterdir()}
        answer = self.prepare(call, check=True)
        assert answer["changed"] is True
        assert {path.name: path.read_text() for path in self.folder.iterdir()} == before

    def test_a_sysctl_that_the_kernel_has_not_is_an_error_with_its_name(self, call):
        answer = self.prepare(call, sysctls={"net.nosuch": 1})
        assert answer["failed"] is True
        assert "no sysctl net.nosuch" in answer["msg"]

    def test_what_is_no_longer_wanted_goes(self, call):
        self.prepare(call)
        answer = call(host_prepare, swap="keep", modules=[], sysctls={}, hosts={})
        assert answer["changed"] is True
        assert not (self.folder / "SYSCTL").exists()
        assert (self.folder / "HOSTS").read_text() == "127.0.0.1 localhost\n"


WANTED = {
    "endpoint": "10.0.0.1:6443",
    "token": "abcdef.0123456789abcdef",
    "ca_cert_hashes": ["sha256:aa"],
    "node_name": "w1",
    "node_address": "10.0.0.2",
    "labels": {},
    "taints": ["a=b:NoSchedule"],
    "ignore_preflight_errors": ["Swap"],
    "kubelet_extra_args": {},
    "timeout": 60,
}


def test_a_join_pins_the_ca():
    found = kubeadm_join.configuration(WANTED)
    assert found["discovery"]["bootstrapToken"]["caCertHashes"] == ["sha256:aa"]
    assert "unsafeSkipCAVerification" not in json.dumps(found)
    assert found["nodeRegistration"]["taints"] == [{"key": "a", "value": "b", "effect": "NoSchedule"}]
    assert found["nodeRegistration"]["ignorePreflightErrors"] == ["Swap"]


@pytest.mark.parametrize("lacking", ["endpoint", "token", "ca_cert_hashes"])
def test_a_join_without_all_it_needs_is_refused(lacking):
    with pytest.raises(CommandError, match=f"joining needs {lacking}:"):
        kubeadm_join.refuse_incomplete({**WANTED, lacking: type(WANTED[lacking])()})


def test_a_failed_join_does_not_tell_the_token(monkeypatch):
    monkeypatch.setattr(kubeadm_join.kubeadm, "journal", lambda unit, lines: "journal")
    result = Result(1, "", f"error: token {WANTED['token']} is wrong")
    message = kubeadm_join.explained("kubeadm join failed", result, WANTED)
    assert WANTED["token"] not in message
    assert "is wrong" in message


def test_labels_and_taints_that_a_node_lacks():
    found = {
        "metadata": {"labels": {"a": "1", "b": "2"}},
        "spec": {"taints": [{"key": "t", "value": "v", "effect": "NoSchedule"}]},
    }
    assert kube_nodes.lacking_labels(found, {"a": 1, "b": "3", "c": ""}) == {"b": "3", "c": ""}
    assert kube_nodes.lacking_taints(found, ["t=v:NoSchedule", "t=v:NoExecute"]) == ["t=v:NoExecute"]


KUBECONFIG = """apiVersion: v1
clusters: [{cluster: {certificate-authority-data: QQ==, server: "https://old:6443"}, name: kubernetes}]
contexts: [{context: {cluster: kubernetes, user: kubernetes-admin}, name: kubernetes-admin@kubernetes}]
current-context: kubernetes-admin@kubernetes
kind: Config
users: [{name: kubernetes-admin, user: {client-key-data: QQ==}}]
"""


def test_a_kubeconfig_gets_names_of_its_own():
    found = yaml.safe_load(kubeconfig.rewritten(KUBECONFIG, "https://10.0.0.1:6443", "lab"))
    assert found["clusters"][0] == {
        "name": "lab",
        "cluster": {"certificate-authority-data": "QQ==", "server": "https://10.0.0.1:6443"},
    }
    assert found["contexts"][0] == {"name": "lab", "context": {"cluster": "lab", "user": "lab-admin"}}
    assert (found["current-context"], found["users"][0]["name"]) == ("lab", "lab-admin")


def test_a_kubeconfig_is_private_even_where_a_public_one_was(tmp_path):
    target = tmp_path / "new" / "kubeconfig"
    kubeconfig.write_private(target, "one")
    target.chmod(0o644)
    kubeconfig.write_private(target, "two")
    assert (target.read_text(), target.stat().st_mode & 0o777) == ("two", 0o600)
    assert [path.name for path in target.parent.iterdir()] == ["kubeconfig"]


ADDRESSES = json.dumps(
    [
        {"ifname": "lo", "mtu": 65536, "addr_info": [{"local": "127.0.0.1"}]},
        {"ifname": "eth0", "mtu": 1500, "addr_info": [{"local": "10.0.0.2"}, {"local": "fe80::1"}]},
        {"ifname": "vxlan.calico", "mtu": 1450, "addr_info": [{"local": "10.244.0.1"}]},
        {"ifname": "cali123", "mtu": 1450, "addr_info": []},
        {},
    ]
)


def test_interfaces_of_pods_and_tunnels_are_left_out():
    assert node.interfaces(ADDRESSES) == {"eth0": {"mtu": 1500, "addresses": ["10.0.0.2", "fe80::1"]}}
    assert node.interfaces("") == {}


def test_os_release_and_memory():
    assert node.os_release('ID=debian\nVERSION_ID="12"\n# comment=x\n') == {"ID": "debian", "VERSION_ID": "12"}
    assert node.memory_mib("MemTotal:       2048000 kB\n") == 2000
    assert node.memory_mib("") == 0


def test_an_unfit_host_says_what_to_do(monkeypatch):
    monkeypatch.setattr(node.os, "geteuid", lambda: 1000)
    found = node.problems({"systemd": False})
    assert len(found) == 2
    assert any("ansible_become" in problem for problem in found)


def test_gathering_changes_nothing_and_works_on_a_bare_host():
    facts = node.gather(versions=True)
    assert facts["member"] in ("absent", "partial", "complete")
    assert set(facts["versions"]) == {"containerd", "runc", "kubelet", "kubeadm"}
    assert facts["cpus"] > 0


def test_an_import_that_takes_too_long_says_so(monkeypatch, tmp_path):
    slow = tmp_path / "ctr"
    slow.write_text("#!/bin/sh\ncat >/dev/null; exec sleep 30\n")
    slow.chmod(0o755)
    monkeypatch.setattr(bundle_images, "CTR", str(slow))
    with (tmp_path / "lock").open("w") as lock, pytest.raises(CommandError, match="no end within 1 s,"):
        bundle_images.import_archive([], {}, {}, 1, lock.fileno())
