"""Spec and machines → groups and variables."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import inventory, load, spec

LAB = "cluster: {name: lab}\nprovider: podman\nworkers: 2\n"
METAL = """\
cluster: {name: m, endpoint: api.example.org}
access: {user: admin, key: /k/id, bastion: jump@10.0.0.1:2222, known_hosts: /k/kno wn}
nodes:
  - {name: cp1, role: control-plane, address: 192.168.10.11}
  - {name: w1, address: 192.168.10.21, host: w1.example.org, port: 2200, user: root, labels: {tier: gold},
     taints: ["gpu=yes:NoSchedule"]}
"""


def build(text: str, machines: list[dict[str, Any]] | None = None) -> inventory.Inventory:
    made = spec.check(load.parse(text.encode(), "f"), "f")
    return inventory.build(made, machines or [], state="/state/x", bundle="/b")


def machine(name: str, address: str, **over: object) -> dict[str, Any]:
    return {
        "name": name,
        "address": address,
        "ssh_host": address,
        "ssh_port": 22,
        "ssh_user": "root",
        "ssh_config": "/state/x/ssh_config",
        "container": True,
    } | over


W3 = machine("w3", "10.9.0.5")
LAB_MACHINES = [machine("cp1", "10.9.0.2"), machine("w1", "10.9.0.3"), machine("w2", "10.9.0.4")]


def test_nodes_are_grouped_by_role_in_the_files_order() -> None:
    assert build(LAB).groups == {"kube_control_plane": ["cp1"], "kube_node": ["w1", "w2"]}


def test_a_machine_that_was_not_made_leads_nowhere() -> None:
    """A bare name could be somebody's real machine."""
    hosts = build(LAB).hosts
    assert {host: variables["ansible_host"] for host, variables in hosts.items()} == {
        "cp1": "cp1.not-made.invalid",
        "w1": "w1.not-made.invalid",
        "w2": "w2.not-made.invalid",
    }


def test_a_made_machine_is_reached_as_its_provider_says() -> None:
    host = build(LAB, [machine("w1", "10.9.0.3", ssh_host="127.0.0.1", ssh_port=2201, ssh_config="/a b/c")]).hosts["w1"]
    assert host["ansible_host"] == "127.0.0.1"
    assert host["ansible_port"] == 2201
    assert host["ansible_become"] is False
    assert host["ansible_ssh_common_args"] == "-F '/a b/c' -o HostKeyAlias=w1"
    assert host["kubeadm_worker_node_address"] == "10.9.0.3"


def test_a_machine_of_ones_own_is_reached_as_the_file_says() -> None:
    hosts = build(METAL).hosts
    assert hosts["cp1"]["ansible_host"] == "192.168.10.11"
    assert hosts["cp1"]["ansible_user"] == "admin"
    assert hosts["cp1"]["ansible_become"] is True
    assert hosts["cp1"]["ansible_ssh_private_key_file"] == "/k/id"
    assert hosts["cp1"]["ansible_ssh_common_args"] == "-o UserKnownHostsFile='/k/kno wn' -J jump@10.0.0.1:2222"
    assert (hosts["w1"]["ansible_host"], hosts["w1"]["ansible_port"]) == ("w1.example.org", 2200)
    assert hosts["w1"]["ansible_become"] is False


def test_labels_and_taints_are_those_of_the_nodes_own_role() -> None:
    hosts = build(METAL).hosts
    assert hosts["w1"]["kubeadm_worker_labels"] == {"tier": "gold"}
    assert hosts["w1"]["kubeadm_worker_taints"] == ["gpu=yes:NoSchedule"]
    assert "kubeadm_worker_labels" not in hosts["cp1"]
    # No taint in the file leaves kubeadm's own default; an empty list would take it away.
    assert "kubeadm_master_taints" not in hosts["cp1"]


def test_what_the_cluster_says_reaches_the_roles() -> None:
    text = METAL + "network: {pods: 10.200.0.0/16, dns_domain: k8s.local, calico: {encapsulation: none, mtu: 1400}}\n"
    variables = build(text).variables
    assert variables["kubeadm_master_pod_cidr"] == variables["calico_pod_cidr"] == "10.200.0.0/16"
    assert variables["kubeadm_master_dns_domain"] == "k8s.local"
    assert variables["kubeadm_master_endpoint"] == "api.example.org:6443"
    assert variables["kubeadm_master_kubeconfig"] == "/state/x/kubeconfig"
    assert (variables["calico_encapsulation"], variables["calico_mtu"]) == ("none", 1400)
    assert {variables[f"{role}_bundle"] for role in ("containerd", "kubeadm_master", "kubeadm_worker", "calico")} == {
        "/b"
    }


def test_only_container_nodes_get_the_settings_of_container_nodes() -> None:
    metal, lab = build(METAL).variables, build(LAB, LAB_MACHINES).variables
    assert metal["kubeadm_master_kubelet_config"] == {}
    assert metal["kubeadm_master_proxy_config"] == {"mode": "nftables"}
    assert metal["containerd_restrict_oom_score_adj"] is False
    assert lab["kubeadm_master_kubelet_config"]["featureGates"] == {"KubeletInUserNamespace": True}
    assert lab["kubeadm_master_proxy_config"]["conntrack"] == {"maxPerCore": 0}
    assert lab["containerd_restrict_oom_score_adj"] is True
    assert build(LAB, LAB_MACHINES).hosts["w1"]["containerd_host"]["swap"] == "keep"


def test_an_emulated_control_plane_gets_time() -> None:
    slow = [row | {"emulated": True} for row in LAB_MACHINES]
    file = LAB + "kubeadm: {patches: {etcd: {metadata: {}}}}\n"
    patches = build(file, slow).variables["kubeadm_master_patches"]
    parts = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    flags = {f"{part}00+json" for part in parts if part != "kube-apiserver"}
    assert set(patches) == flags | {f"{part}00+strategic" for part in parts} | {"etcd"}
    for target, patch in patches.items():
        assert spec.PATCH.fullmatch(target)
        if target.endswith("+strategic"):
            assert patch["spec"]["containers"][0]["livenessProbe"]["failureThreshold"] > 100
    assert set(build(file, LAB_MACHINES).variables["kubeadm_master_patches"]) == {"etcd"}


def test_patches_of_the_file_win_over_our_own_and_merge_with_them() -> None:
    text = LAB + "kubeadm: {kubelet: {maxPods: 50, featureGates: {Other: true}}, proxy: {conntrack: {maxPerCore: 1}}}\n"
    variables = build(text, LAB_MACHINES).variables
    assert variables["kubeadm_master_kubelet_config"]["maxPods"] == 50
    assert variables["kubeadm_master_kubelet_config"]["featureGates"] == {"KubeletInUserNamespace": True, "Other": True}
    assert variables["kubeadm_master_proxy_config"]["conntrack"] == {"maxPerCore": 1}


def known(made: inventory.Inventory, host: str) -> dict[str, str]:
    hosts: dict[str, str] = made.hosts[host]["containerd_host"]["hosts"]
    return hosts


def test_a_node_knows_the_address_of_its_own_name_and_of_no_other() -> None:
    """Names of others would have to be written on every node whenever one comes or goes."""
    assert known(build(LAB, LAB_MACHINES), "w2") == {"w2": "10.9.0.4"}
    assert known(build(METAL), "cp1") == {"cp1": "192.168.10.11"}


def test_a_worker_that_is_added_changes_nothing_for_the_others() -> None:
    """Else the next run would change every old node, and a scale-out would take the longer the more there are."""
    proxy = "runtime: {proxy: {http: 'http://proxy.example:3128'}}\n"
    two, three = build(LAB + proxy, LAB_MACHINES), build(LAB.replace("2", "3") + proxy, [*LAB_MACHINES, W3])
    assert three.variables == two.variables
    assert {name: three.hosts[name] for name in two.hosts} == two.hosts


HA = "cluster: {name: lab}\nprovider: podman\ncontrol_planes: 3\nworkers: 1\n"
HA_MACHINES = [machine(f"cp{i}", f"10.9.0.1{i}", vip="10.9.0.9") for i in (1, 2, 3)] + [machine("w1", "10.9.0.51")]


@pytest.mark.parametrize(
    ("text", "vip"),
    [
        (HA, "10.9.0.9"),
        (HA.replace("control_planes: 3", "control_planes: 1"), ""),
        (HA.replace("{name: lab}", "{name: lab, endpoint: api.example.org}"), ""),
        (HA.replace("{name: lab}", "{name: lab, vip: 10.9.0.7}") + "network: {nodes: 10.9.0.0/24}\n", "10.9.0.7"),
    ],
)
def test_several_control_planes_share_an_address(text: str, vip: str) -> None:
    machines = [row for row in HA_MACHINES if "control_planes: 3" in text or row["name"] in ("cp1", "w1")]
    made = build(text, machines)
    assert made.variables.get("kubeadm_master_vip", "") == vip
    assert made.variables.get("kubeadm_master_vip_port") == (8443 if vip else None)
    # The role works it out: an ordinary inventory that has both would be refused.
    assert made.variables.get("kubeadm_master_endpoint", "") == ("api.example.org:6443" if "endpoint" in text else "")


@pytest.mark.parametrize(
    ("base", "over", "result"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}),
        ({"a": {"x": 1}}, {"a": 3}, {"a": 3}),
        ({"a": 3}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"a": [1]}, {"a": [2]}, {"a": [2]}),
    ],
)
def test_merging(base: dict[str, Any], over: dict[str, Any], result: dict[str, Any]) -> None:
    before = repr(base)
    assert inventory.merged(base, over) == result
    assert repr(base) == before


def test_a_group_gives_its_nodes_kubelet_settings_and_how_many_an_upgrade_may_take() -> None:
    text = "cluster: {name: m}\nprovider: ssh\n"
    text += "groups: {gpu: {kubelet: {maxPods: 30, featureGates: {A: true}}, max_unavailable: 25%}}\n"
    text += "nodes:\n  - {name: cp1, role: control-plane, address: 10.0.0.1}\n"
    text += "  - {name: g1, address: 10.0.0.2, group: gpu, kubelet: {maxPods: 40, featureGates: {B: false}}}\n"
    hosts = build(text).hosts
    assert hosts["g1"]["kubeadm_worker_kubelet_settings"] == {"maxPods": 40, "featureGates": {"A": True, "B": False}}
    assert (hosts["g1"]["kubesmith_group"], hosts["g1"]["kubesmith_max_unavailable"]) == ("gpu", "25%")
    assert not {"kubesmith_group", "kubeadm_master_kubelet_settings"} & set(hosts["cp1"])


@pytest.mark.parametrize(
    ("wanted", "nodes", "number"), [(1, 5, 1), (3, 2, 2), ("25%", 9, 2), ("1%", 9, 1), ("100%", 9, 9)]
)
def test_a_share_of_a_group_is_at_least_one_node(wanted: object, nodes: int, number: int) -> None:
    assert spec.Group(max_unavailable=wanted).at_once(nodes) == number
