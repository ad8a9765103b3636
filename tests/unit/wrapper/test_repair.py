"""What is sick, how many may be, and which steps are taken."""

import json

import pytest
from ansible_collections.kubesmith.cluster.plugins.modules import node_repair

from kubesmith.parts import AVAILABLE, DEGRADED, PROGRESSING, Part
from kubesmith.repair import REBOOT, REJOIN, RESTART, Sick, allowed, sick, steps, too_many, well


@pytest.mark.parametrize(("nodes", "most"), [(1, 1), (2, 1), (9, 1), (10, 2), (14, 2), (100, 20)])
def test_a_fifth_may_be_sick_and_always_one(nodes, most):
    assert allowed(nodes) == most
    rows = [Sick(f"w{n}", False, ["x"]) for n in range(most + 1)]
    assert too_many(rows[:most], nodes) == ""
    assert f"{most + 1} of {nodes} nodes are sick, more than a fifth (here {most})" in too_many(rows, nodes)


def test_each_side_can_tell_that_a_node_is_sick():
    parts = [
        Part("cp1", "kubelet", AVAILABLE, ""),
        Part("w1", "kubelet", DEGRADED, "", "Kubelet stopped posting node status."),
        Part("w2", "CNI", PROGRESSING, ""),
        Part("w3", "kube-proxy", DEGRADED, "", "not its own"),
        Part("w4", "CNI", DEGRADED, "", "CrashLoopBackOff"),
    ]
    seen = {"cp1": [], "w2": [], "w3": [], "w4": [], "w5": ["containerd is failed"]}
    found = sick(["cp1"], ["w1", "w2", "w3", "w4", "w5"], seen, {"w1": "timed out"}, parts)
    assert found == [
        Sick("w1", False, ["SSH: timed out", "kubelet: Kubelet stopped posting node status."], False),
        Sick("w4", False, ["CNI: CrashLoopBackOff"]),
        Sick("w5", False, ["containerd is failed"]),
    ]


def test_a_node_is_well_when_all_of_its_own_parts_are():
    parts = [Part("w1", "kubelet", AVAILABLE, ""), Part("w1", "CNI", PROGRESSING, "")]
    assert not well("w1", parts)
    assert not well("w9", parts)
    assert well("w1", [parts[0]])


def reasons(row, **over):
    given = {"planes": 1, "well_planes": 0, "adopted": False, "provider": "podman"} | over
    return dict(steps(row, **given))


def test_a_worker_takes_every_step():
    assert reasons(Sick("w1", False, ["x"])) == {RESTART: "", REBOOT: "", REJOIN: ""}


def test_a_node_that_ssh_does_not_reach_is_started_by_its_provider_only():
    gone = Sick("w1", False, ["x"], reached=False)
    assert reasons(gone) == {RESTART: "SSH does not reach it", REBOOT: "", REJOIN: ""}
    assert reasons(gone, provider="ssh")[REBOOT] == "SSH does not reach it"


def test_a_control_plane_is_not_joined_anew_and_keeps_the_majority():
    row = Sick("cp2", True, ["x"])
    assert reasons(row)[REJOIN].startswith("a control plane is not joined anew")
    assert reasons(row, planes=3, well_planes=1)[REBOOT] == "etcd would lose its majority"
    assert reasons(row, planes=3, well_planes=2)[REBOOT] == ""


def test_programs_of_other_hands_are_not_replaced():
    assert reasons(Sick("w1", False, ["x"]), adopted=True)[REJOIN].startswith("adopted: keep")


class TestNode:
    def test_the_network_is_what_the_configuration_names(self, tmp_path):
        assert node_repair.network_reasons(str(tmp_path)) == ["network plug-in: /etc/cni/net.d has no configuration"]
        config = {"plugins": [{"type": "calico", "ipam": {"type": "calico-ipam"}, "policy": {"type": "k8s"}}]}
        (tmp_path / "etc/cni/net.d").mkdir(parents=True)
        (tmp_path / "etc/cni/net.d/10-calico.conflist").write_text(json.dumps(config))
        (tmp_path / "opt/cni/bin").mkdir(parents=True)
        (tmp_path / "opt/cni/bin/calico").touch()
        lacking = ["network plug-in: /opt/cni/bin lacks calico-ipam, loopback"]
        assert node_repair.network_reasons(str(tmp_path)) == lacking
        for name in ("calico-ipam", "loopback"):
            (tmp_path / "opt/cni/bin" / name).touch()
        assert node_repair.network_reasons(str(tmp_path)) == []

    def test_a_damaged_configuration_is_no_bug(self):
        assert node_repair.kubelet_plugins("{") == ["loopback"]

    @pytest.mark.parametrize(
        ("load", "active", "told"),
        [
            ("loaded", "active", []),
            ("loaded", "failed", ["kubelet is failed"]),
            ("masked", "inactive", ["kubelet: its unit is masked"]),
            ("not-found", "inactive", ["kubelet: its unit is not-found"]),
        ],
    )
    def test_a_unit_is_told_with_its_state(self, load, active, told):
        assert node_repair.unit_reasons("kubelet", {"LoadState": load, "ActiveState": active}) == told

    def test_containerd_is_restarted_only_if_it_is_what_is_wrong(self, monkeypatch):
        monkeypatch.setattr(node_repair.systemd, "properties", lambda _name: {"UnitFileState": "enabled"})
        assert node_repair.restart({"kubelet": ["x"]}, True) == ["restart kubelet"]
        assert node_repair.restart({"containerd": ["x"]}, True) == ["restart containerd", "restart kubelet"]
