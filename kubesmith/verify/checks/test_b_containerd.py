"""B: does containerd run, as the kubelet needs it?"""

import pytest


def _version(text):
    return text.removeprefix("v")


def test_containerd_runs_and_starts_at_boot(node, facts):
    """B1: containerd is active and enabled"""
    state = facts["services"]["containerd"]
    assert (state["ActiveState"], state["UnitFileState"]) == ("active", "enabled")


def test_containerd_has_the_wanted_version(node, facts):
    """B2: containerd is the version of the bundle"""
    wanted = facts["bundle"].get("versions", {}).get("containerd")
    if not wanted:
        pytest.skip("no bundle on this node says which version is wanted")
    assert _version(facts["containerd_version"]) == _version(wanted)


def test_containerd_leaves_cgroups_to_systemd(node, facts):
    """B3: containerd uses the systemd cgroup driver"""
    assert facts["containerd_config"]["SystemdCgroup"] == "true"


def test_sandboxes_use_the_pause_image_kubeadm_wants(node, facts, cluster):
    """B4: the sandbox image is the pause image of this kubeadm, and it is on the node"""
    image = facts["containerd_config"]["sandbox"]
    assert image in facts["images"]
    assert image.rpartition(":")[2] == cluster.facts(cluster.api.name)["pause_wanted"].rpartition(":")[2]


def test_cri_answers(node, facts):
    """B5: containerd's CRI plugins are loaded"""
    plugins = facts["cri_plugins"]
    assert "io.containerd.grpc.v1.cri" in plugins
    assert {name: state for name, state in plugins.items() if state != "ok"} == {}


def test_runtime_and_network_are_ready(node, cluster):
    """B6: the kubelet finds runtime and network ready"""
    ready = next(c for c in cluster.api_node(node.name)["status"]["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("True", "KubeletReady"), ready["message"]


def test_socket_is_roots(node, facts):
    """B7: only root may talk to containerd"""
    assert facts["containerd_socket"] == "660 0:0"


def test_sandboxes_stay_alive(node, facts, cluster):
    """B9: no running pod has lost its sandbox more than once since the kubelet last tidied up"""
    running = {_name(pod) for pod in cluster.of_kind("Pod") if pod["status"]["phase"] == "Running"}
    assert {pod: dead for pod, dead in facts["dead_sandboxes"].items() if dead > 1 and pod in running} == {}


def _name(pod):
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"


def test_registries_answer(node, facts):
    """B10: every registry mirror that containerd is given answers"""
    answers = facts["mirrors"]
    if not answers:
        pytest.skip("no registry is configured: images come from the bundle")
    assert {url: code for url, code in answers.items() if code not in ("200", "401")} == {}
