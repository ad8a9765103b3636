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


WIDE = """
[kube_control_plane]
n1 ansible_host=10.3.0.1 ansible_port=2222
[kube_node:children]
kube_control_plane
[kube_node]
n2 ansible_ssh_host=10.3.0.2 node_taints='["a=b:NoSchedule"]' rack=7
[bastion]
jump ansible_host=192.0.2.99 ansible_user=ops
[etcd]
db1 ansible_host=10.3.0.9
"""
CLUSTER_WIDE = {
    "ansible_become_password": "hunter2",
    "containerd_registry_auth": [{"registry": "r", "username": "u", "password": "hunter2"}],
    "download_url": "http://u:hunter2@files/",
    "http_proxy": "http://u:hunter2@proxy:3128",
    "no_proxy": "10.0.0.0/8, .example.org",
    "containerd_registries_mirrors": [
        {"prefix": "docker.io", "mirrors": [{"host": "https://m:5000", "skip_verify": True}]},
        {"prefix": "quay.io", "mirrors": []},
    ],
    "kubernetes_audit": True,
    "loadbalancer_apiserver": {"address": "10.3.0.99", "port": 6443},
}


@pytest.fixture
def wide(tmp_path: Path) -> kubespray.Imported:
    (tmp_path / "hosts").write_text(WIDE)
    for group, variables in {"all": CLUSTER_WIDE, "kube_control_plane": {"kube_pods_subnet": "10.77.0.0/16"}}.items():
        folder = tmp_path / "group_vars" / group
        folder.mkdir(parents=True)
        (folder / "some.yml").write_text(yaml.safe_dump(variables))
    return kubespray.read(tmp_path)


def test_a_wide_inventory_becomes_its_cluster(wide: kubespray.Imported, tmp_path: Path) -> None:
    made = read_back(wide, tmp_path)
    assert [(node.name, node.role, node.address, node.port) for node in made.nodes] == [
        ("n1", "control-plane", "10.3.0.1", 2222),
        ("n2", "worker", "10.3.0.2", None),
    ]
    assert made.access.bastion == "ops@192.0.2.99"
    assert made.network.pods == "10.77.0.0/16", "said of the control planes alone, meant for the cluster"
    assert made.cluster.endpoint == "10.3.0.99"
    assert made.features.audit_log and made.features.schedule_control_planes
    (registry,) = made.runtime.registries
    assert (registry.upstream, registry.mirrors[0].url, registry.mirrors[0].skip_verify) == (
        "docker.io",
        "https://m:5000",
        True,
    )
    assert made.runtime.proxy.http == "http://proxy:3128"
    assert made.runtime.proxy.no_proxy == ("10.0.0.0/8", ".example.org")


def test_every_variable_is_told_and_no_secret_is(wide: kubespray.Imported) -> None:
    told = "\n".join([wide.text(), *wide.kept, *wide.translated, *wide.ignored])
    assert "hunter2" not in told
    assert [name for name in CLUSTER_WIDE if name not in told] == []
    assert "n2: rack: 7" in wide.ignored, "a variable of one node"
    assert "db1 of group etcd: it is no node" in wide.ignored


def test_values_that_cannot_be_are_told_by_the_rules(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(
        "[kube-master]\na ansible_host=10.1.0.1 ansible_port=abc\n"
        "[kube-node]\nb ansible_host=h.example.org node_labels=x\n"
    )
    with pytest.raises(InputError) as caught:
        kubespray.read(tmp_path)
    assert [line.removeprefix(f"{tmp_path}: ") for line in str(caught.value).splitlines()[1:]] == [
        "nodes[0].port: 'abc' is not a whole number",
        "nodes[1].address: b has no address; provider ssh needs the address of each node",
        "nodes[1].labels: 'x' is not a mapping",
    ]


def test_a_vault_without_its_password_is_told(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(OLD)
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "all.yml").write_text("$ANSIBLE_VAULT;1.1;AES256\n3030\n")
    with pytest.raises(InputError, match="no vault secrets found") as caught:
        kubespray.read(tmp_path)
    assert "ANSIBLE_VAULT_PASSWORD_FILE" in caught.value.fix


def test_no_control_plane(tmp_path: Path) -> None:
    (tmp_path / "inventory.ini").write_text("[kube_node]\nn ansible_host=10.1.0.2\n")
    with pytest.raises(InputError, match="no control plane"):
        kubespray.read(tmp_path)


def test_a_virtual_address_and_a_patch_that_is_not_built(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(OLD)
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "all.yml").write_text("kube_vip_address: 10.1.0.99\nkube_version: 1.36.0\n")
    made = read_back(kubespray.read(tmp_path), tmp_path)
    assert made.cluster.vip == "10.1.0.99"
    assert made.cluster.kubernetes.startswith("1.36.")
