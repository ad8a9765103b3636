"""C: does the kubelet run, and is it closed to strangers?"""

import pytest

from kubesmith.verify import certificates
from kubesmith.verify.expected import shortened

SOCKET = "unix:///run/containerd/containerd.sock"
SAME_ERROR = 10  # an error that comes this often in a minute, and still does, is not going away


def test_kubelet_runs_and_starts_at_boot(node, facts):
    """C1: the kubelet is active and enabled"""
    state = facts["services"]["kubelet"]
    assert (state["ActiveState"], state["UnitFileState"]) == ("active", "enabled")


def test_kubelet_is_healthy(node, facts):
    """C2: the kubelet's health probe says ok"""
    assert facts["kubelet_healthz"] == "ok"


def test_kubelet_has_the_wanted_version(node, facts, cluster):
    """C3: the kubelet is the version of the inventory, and not newer than the API server nor three minors older"""
    wanted = str(node.variables.get("kubesmith_kubernetes", "")).removeprefix("v")
    if wanted[:1].isdigit():
        assert shortened(facts["kubelet_version"], wanted) == wanted
    kubelet, server = (
        tuple(map(int, v.lstrip("v").split(".")[:2])) for v in (facts["kubelet_version"], cluster.objects["version"])
    )
    assert (server[0], server[1] - 3) <= kubelet <= server


def test_pods_are_in_systemds_cgroups(node, facts, cluster):
    """C4: the kubelet uses the systemd cgroup driver, and the pods' cgroups show it"""
    assert cluster.configz(node.name)["cgroupDriver"] == "systemd"
    assert facts["pods_cgroups"] == ["kubepods.slice"]


def test_kubelet_rotates_its_certificate(node, cluster):
    """C5: the kubelet renews its client certificate by itself"""
    assert cluster.configz(node.name).get("rotateCertificates", False) is True


def test_kubelet_certificate_is_the_nodes_own(node, facts, cluster):
    """C6: the kubelet's certificate names this node, comes from the cluster's CA, and is valid for a week or more"""
    certificate = certificates.parse(facts["kubelet_certificate"])
    assert certificates.organization(certificate) == "system:nodes"
    assert certificates.common_name(certificate) == f"system:node:{node}"
    assert certificates.signed_by(certificate, certificates.parse(facts["ca"])) is True
    assert certificates.days_left(certificate) >= 7


def test_node_is_registered_with_its_address(node, cluster):
    """C7: the API server knows the node by the address in the inventory"""
    addresses = [a["address"] for a in cluster.api_node(node.name)["status"]["addresses"] if a["type"] == "InternalIP"]
    assert node.address in addresses


def test_kubelet_refuses_strangers(node, facts):
    """C8: the kubelet's API answers 401 without credentials"""
    assert facts["kubelet_anonymous"] == 401


def test_kubelet_has_no_open_read_only_port(node, facts):
    """C9: nothing listens on port 10255"""
    assert facts["kubelet_read_only_port"] == []


def test_kubelet_has_no_standing_error(node, facts):
    """C10: the kubelet does not log the same error over and over"""
    assert {text: times for text, times in facts["kubelet_errors"].items() if times >= SAME_ERROR} == {}


@pytest.mark.parametrize("unit", ["kubelet", "containerd"])
def test_service_is_not_restarted_meanwhile(node, facts, later, unit):
    """C11: neither kubelet nor containerd is restarted while the proofs run"""
    assert later["services"][unit]["NRestarts"] == facts["services"][unit]["NRestarts"]


def test_kubelet_uses_containerd(node, cluster):
    """C12: the kubelet talks to containerd's socket"""
    seen = cluster.configz(node.name)["containerRuntimeEndpoint"]
    assert seen.replace("unix:///var/run/", "unix:///run/") == SOCKET, seen  # one is a link to the other
