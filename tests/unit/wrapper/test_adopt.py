"""A running cluster, as the API server tells it, becomes a cluster file; and where the two differ is told."""

import copy

import pytest
import yaml
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import VERSIONS, Spec

from kubesmith import adopt, cli
from kubesmith.commands import adopt as command
from kubesmith.errors import InputError
from kubesmith.ui import Ui

NOW = "2026-11-25T00:00:00Z"


def node(name, address, *, plane=False, labels=None, taints=()):
    role = {"node-role.kubernetes.io/control-plane": ""} if plane else {}
    info = {"kubeletVersion": f"v{VERSIONS[-1]}", "containerRuntimeVersion": "containerd://1.7.24"}
    return {
        "kind": "Node",
        "metadata": {
            "name": name,
            "creationTimestamp": NOW,
            "labels": {"kubernetes.io/hostname": name, "beta.kubernetes.io/os": "linux", **role, **(labels or {})},
        },
        "spec": {"taints": list(taints)},
        "status": {"addresses": [{"type": "InternalIP", "address": address}], "nodeInfo": info},
    }


CONFIG = """
clusterName: Old Cluster
controlPlaneEndpoint: api.example.org:6443
networking: {podSubnet: 10.32.0.0/16, serviceSubnet: 10.97.0.0/16, dnsDomain: home.arpa}
apiServer:
  certSANs: [api.example.org]
  extraArgs: [{name: audit-log-path, value: /var/log/own.log}, {name: v, value: "2"}]
"""
KUBELET = """
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
clusterDNS: [10.97.0.10]
failSwapOn: false
maxPods: 55
oddSetting: 1
imageMinimumGCAge: 0s
logging: {flushFrequency: 0, verbosity: 0}
memorySwap: {}
"""
TAINT = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
UNREACHABLE = {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}
GPU = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
LIVE = adopt.Live(
    VERSIONS[-1],
    [
        node("w1", "10.0.0.2", labels={"tier": "front"}, taints=[GPU, UNREACHABLE]),
        node("cp1", "10.0.0.1", plane=True, taints=[TAINT]),
    ],
    [{"metadata": {"name": "calico-node", "namespace": "kube-system"}}],
    {
        "kubeadm-config": {"ClusterConfiguration": CONFIG},
        "kubelet-config": {"kubelet": KUBELET},
        "kube-proxy": {"config.conf": "mode: ''\nconntrack: {maxPerCore: 0, min: null}\n"},
    },
    [{"spec": {"cidr": "10.32.0.0/16", "vxlanMode": "CrossSubnet", "ipipMode": "Never"}}],
)


def changed(**records):
    return adopt.Live(LIVE.version, LIVE.nodes, LIVE.sets, {**LIVE.records, **records}, LIVE.pools)


def described(live=LIVE, reach=None):
    found = adopt.describe(live, reach or adopt.Reach())
    adopt.checked(found)
    return found


def spec(**over):
    return Spec.model_validate({**described().data, **over})


def test_every_setting_arrives():
    data = described(reach=adopt.Reach(user="debian", key="/k")).data
    assert data["cluster"] == {"name": "old-cluster", "kubernetes": VERSIONS[-1], "endpoint": "api.example.org"}
    assert (data["provider"], data["adopted"], data["access"]) == ("ssh", "keep", {"user": "debian", "key": "/k"})
    assert data["nodes"] == [
        {"name": "cp1", "role": "control-plane", "address": "10.0.0.1"},
        {"name": "w1", "address": "10.0.0.2", "labels": {"tier": "front"}, "taints": ["gpu=yes:NoSchedule"]},
    ]
    assert data["network"] == {
        "pods": "10.32.0.0/16",
        "services": "10.97.0.0/16",
        "dns_domain": "home.arpa",
        "proxy": "iptables",
        "calico": {"encapsulation": "vxlan"},
    }
    assert data["kubeadm"] == {
        "kubelet": {"failSwapOn": False, "maxPods": 55},
        "proxy": {"conntrack": {"maxPerCore": 0}},
        "cert_sans": ["api.example.org"],
    }


def test_what_no_cluster_file_can_say_is_told():
    found = described()
    assert any("vxlanMode CrossSubnet of 10.32.0.0/16 → vxlan" in row for row in found.translated)
    for words in ("oddSetting: is not a setting", "--audit-log-path=/var/log/own.log", "--v=2"):
        assert any(words in row for row in found.ignored), words


def test_another_patch_of_a_minor_is_told_and_differs_later():
    older = adopt.Live(VERSIONS[-1].rsplit(".", 1)[0] + ".0", *list(vars(LIVE).values())[1:])
    assert described(older).data["cluster"]["kubernetes"] == VERSIONS[-1]
    assert [row.text for row in adopt.differences(spec(), older)] == [
        f"cluster.kubernetes is {older.version} in the cluster, {VERSIONS[-1]} in the cluster file"
    ]


def test_a_minor_that_is_not_built_is_refused():
    with pytest.raises(InputError, match=r"runs Kubernetes 1\.20\.1; this release knows"):
        described(adopt.Live("1.20.1", *list(vars(LIVE).values())[1:]))


def test_a_cluster_without_kubeadms_records_is_refused():
    with pytest.raises(InputError, match="kubeadm did not build this cluster"):
        described(changed(**{"kubeadm-config": {}}))


def test_another_network_plugin_and_ipvs_are_told():
    live = adopt.Live(LIVE.version, LIVE.nodes, [{"metadata": {"name": "cilium", "namespace": "kube-system"}}], {}, [])
    live = adopt.Live(
        *list(vars(live).values())[:3], {**LIVE.records, "kube-proxy": {"config.conf": "mode: ipvs"}}, live.pools
    )
    found = described(live)
    assert any("not Calico (daemon sets: cilium)" in row for row in found.ignored)
    assert any("mode ipvs" in row for row in found.ignored)


def test_directly_after_adopt_nothing_differs():
    assert adopt.differences(spec(), LIVE) == []


def test_each_difference_is_told_with_both_values():
    network = {**described().data["network"], "proxy": "nftables", "calico": {"encapsulation": "ipip"}}
    texts = [row.text for row in adopt.differences(spec(network=network), LIVE)]
    assert texts == [
        "network.proxy is iptables in the cluster, nftables in the cluster file",
        "network.calico.encapsulation is vxlan in the cluster, ipip in the cluster file",
    ]


def test_nodes_that_only_one_side_has_are_told():
    nodes = copy.deepcopy(described().data["nodes"])
    nodes[1] |= {"name": "w9"}
    nodes[0] |= {"address": "10.0.0.9"}
    rows = [(row.node, row.text) for row in adopt.differences(spec(nodes=nodes), LIVE)]
    assert ("w1", "is a node of the cluster, and the cluster file does not have it") in rows
    assert ("w9", "is in the cluster file, and no node of the cluster") in rows
    assert ("cp1", "its address is 10.0.0.1 in the cluster, 10.0.0.9 in the cluster file") in rows


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "one of the two"),
        (["--kubeconfig", "/a", "--host", "b"], "one of the two"),
        (["--kubeconfig", "/nowhere/admin.conf"], "/nowhere/admin.conf is no file"),
        (["--host", "x", "--key", "/nowhere/id"], "/nowhere/id is no file"),
    ],
)
def test_bad_input_is_refused_before_anything_is_read(words, message, capsys):
    assert cli.main(["adopt", *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_an_existing_file_is_not_written_over(tmp_path):
    for name in ("admin.conf", "cluster.yml"):
        (tmp_path / name).write_text("x")
    with pytest.raises(InputError, match="exists"):
        command.run(command.Source(tmp_path / "admin.conf"), adopt.Reach(), tmp_path / "cluster.yml", Ui())
    assert (tmp_path / "cluster.yml").read_text() == "x"


def test_a_cluster_of_that_name_with_another_ca_is_not_written_over(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBESMITH_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(command, "_flat", lambda _file: yaml.safe_dump({"clusters": []}))
    monkeypatch.setattr(command.adopt, "look", lambda _kubeconfig: LIVE)
    monkeypatch.setattr(command, "known_ca", str)
    (tmp_path / "state/old-cluster").mkdir(parents=True)
    (tmp_path / "state/old-cluster/kubeconfig").write_text("other")
    (tmp_path / "admin.conf").write_text("x")
    with pytest.raises(InputError, match="another cluster old-cluster already"):
        command.run(command.Source(tmp_path / "admin.conf"), adopt.Reach(), tmp_path / "cluster.yml", Ui())
    assert not (tmp_path / "cluster.yml").exists()
