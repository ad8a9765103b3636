"""What is put on a node before kubeadm runs: patches, and the key that encrypts secrets."""

import json

from ansible_collections.kubesmith.cluster.plugins.module_utils import kubeadm
from ansible_collections.kubesmith.cluster.plugins.modules import kubeadm_init, kubeadm_join


def test_patches_are_the_only_files_of_their_folder(tmp_path):
    (tmp_path / "etcd.yaml").write_text("of an earlier run")
    kubeadm.write_patches(tmp_path, {"etcd+json": [{"op": "add", "path": "/a", "value": 1}]})
    assert [path.name for path in tmp_path.iterdir()] == ["etcd+json.json"]
    assert json.loads((tmp_path / "etcd+json.json").read_text())[0]["op"] == "add"


def test_a_key_is_random_private_and_never_replaced(tmp_path):
    one, other = tmp_path / "one" / "config.yaml", tmp_path / "other" / "config.yaml"
    for path in (one, other):
        kubeadm_init.write_encryption(path)
    first = one.read_text()
    assert first != other.read_text()
    assert one.stat().st_mode & 0o777 == 0o600
    kubeadm_init.write_encryption(one)
    assert one.read_text() == first


def test_a_join_names_the_patches_only_if_there_are_any():
    wanted = {"endpoint": "e", "token": "t", "ca_cert_hashes": [], "node_name": "n", "node_address": "1.2.3.4"}
    wanted |= {"labels": {}, "taints": [], "ignore_preflight_errors": [], "kubelet_extra_args": {}, "timeout": 1}
    assert "patches" not in kubeadm_join.configuration(wanted | {"patches": {}})
    made = kubeadm_join.configuration(wanted | {"patches": {"kubeletconfiguration": {"maxPods": 5}}})
    assert made["patches"] == {"directory": "/etc/kubernetes/patches"}
