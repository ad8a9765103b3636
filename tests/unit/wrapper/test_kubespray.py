"""kubespray's inventories, in new and old group names, become cluster files; nothing is dropped in silence."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import spec

from kubesmith import kubespray
from kubesmith.errors import InputError

NEW = """
[kube_control_plane]
node1 ansible_host=192.0.2.12 ip=10.3.0.1 etcd_member_name=etcd1
[etcd:children]
kube_control_plane
[kube_node]
node2 ansible_host=192.0.2.15 ip=10.3.0.4
node3 ansible_host=192.0.2.16 ip=10.3.0.5 node_labels='{"tier": "front"}'
"""
OLD = """
[kube-master]
m ansible_host=10.1.0.1
[etcd]
m
[kube-node]
n ansible_host=10.1.0.2
[k8s-cluster:children]
kube-master
kube-node
"""
VARIABLES = {
    "kube_version": "v1.29.0",
    "kube_pods_subnet": "10.233.64.0/18",
    "kube_service_addresses": "10.233.0.0/18",
    "kube_proxy_mode": "ipvs",
    "kubelet_max_pods": 200,
    "enable_nodelocaldns": True,
}


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    (tmp_path / "inventory.ini").write_text(NEW)
    variables = tmp_path / "group_vars" / "all"
    variables.mkdir(parents=True)
    (variables / "all.yml").write_text(yaml.safe_dump(VARIABLES))
    return tmp_path


def read_back(imported: kubespray.Imported, folder: Path) -> spec.Spec:
    file = folder / "cluster.yml"
    file.write_text(imported.text())
    made: spec.Spec = spec.read(file)
    return made


def test_values_arrive_and_each_variable_is_accounted_for(inventory: Path) -> None:
    imported = kubespray.read(inventory)
    made = read_back(imported, inventory)
    assert [(node.name, node.role, node.address, node.host) for node in made.nodes][:2] == [
        ("node1", "control-plane", "10.3.0.1", "192.0.2.12"),
        ("node2", "worker", "10.3.0.4", "192.0.2.15"),
    ]
    assert made.nodes[2].labels == {"tier": "front"}
    assert made.kubeadm.kubelet == {"maxPods": 200}
    told = " ".join([*imported.kept, *imported.translated, *imported.ignored])
    assert [name for name in VARIABLES if name not in told] == []
    assert any("enable_nodelocaldns" in line for line in imported.ignored)


def test_old_group_names(tmp_path: Path) -> None:
    (tmp_path / "hosts.ini").write_text(OLD)
    made = read_back(kubespray.read(tmp_path), tmp_path)
    assert [(node.name, node.role) for node in made.nodes] == [("m", "control-plane"), ("n", "worker")]


def test_a_lab_of_the_same_shape_takes_no_address_along(inventory: Path) -> None:
    made = read_back(kubespray.read(inventory, lab=True), inventory)
    assert made.provider == "podman" and made.lab
    assert [(node.name, node.address, node.host) for node in made.nodes] == [
        (name, None, None) for name in ("node1", "node2", "node3")
    ]
    assert made.network.pods == "10.233.64.0/18"


def test_no_control_plane(tmp_path: Path) -> None:
    (tmp_path / "inventory.ini").write_text("[kube_node]\nn ansible_host=10.1.0.2\n")
    with pytest.raises(InputError, match="no control plane"):
        kubespray.read(tmp_path)
