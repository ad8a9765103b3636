"""How far kubeadm got on a node, and what its output means."""

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import kubeadm
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import Result


def make(root, *paths, text=""):
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


ROTATED = "client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem\n"
MANIFESTS = [f"etc/kubernetes/manifests/{name}.yaml" for name in kubeadm.CONTROL_PLANE]


@pytest.fixture
def member(tmp_path):
    make(tmp_path, "etc/kubernetes/kubelet.conf", text=ROTATED)
    make(tmp_path, "var/lib/kubelet/pki/kubelet-client-current.pem", "var/lib/kubelet/config.yaml")
    make(tmp_path, "etc/kubernetes/pki/ca.crt")
    return tmp_path


def test_a_bare_host_is_nothing_even_with_programs_and_a_configuration(tmp_path):
    make(tmp_path, "usr/local/bin/kubeadm", "etc/kubernetes/kubeadm.yml")
    (tmp_path / "etc/kubernetes/manifests").mkdir()
    assert kubeadm.membership(tmp_path) == kubeadm.ABSENT
    assert kubeadm.control_plane(tmp_path) == kubeadm.ABSENT


def test_a_joined_worker_is_a_complete_member_and_no_control_plane(member):
    assert kubeadm.membership(member) == kubeadm.COMPLETE
    assert kubeadm.control_plane(member) == kubeadm.ABSENT


def test_a_finished_init_is_a_complete_control_plane(member):
    make(member, *MANIFESTS, "etc/kubernetes/admin.conf")
    assert kubeadm.control_plane(member) == kubeadm.COMPLETE


@pytest.mark.parametrize(
    "left",
    [
        ["etc/kubernetes/pki/ca.crt"],
        ["etc/kubernetes/admin.conf"],
        ["etc/kubernetes/bootstrap-kubelet.conf"],
        ["var/lib/kubelet/config.yaml"],
        ["var/lib/etcd/member/snap/db"],
        MANIFESTS[:1],
    ],
)
def test_anything_that_kubeadm_leaves_in_the_middle_is_partial(tmp_path, left):
    make(tmp_path, *left)
    assert kubeadm.membership(tmp_path) == kubeadm.PARTIAL


def test_an_init_killed_before_it_finalised_the_kubelet_is_partial(tmp_path):
    make(tmp_path, "etc/kubernetes/kubelet.conf", text="client-certificate-data: LS0t\n")
    make(tmp_path, "var/lib/kubelet/pki/kubelet-client-current.pem", *MANIFESTS, "etc/kubernetes/admin.conf")
    assert kubeadm.membership(tmp_path) == kubeadm.PARTIAL
    assert kubeadm.control_plane(tmp_path) == kubeadm.PARTIAL


def test_a_join_killed_after_the_bootstrap_is_partial(member):
    make(member, "etc/kubernetes/bootstrap-kubelet.conf")
    assert kubeadm.membership(member) == kubeadm.PARTIAL


def test_a_lost_manifest_makes_a_control_plane_partial_but_the_node_stays_a_member(member):
    make(member, *MANIFESTS[1:-1], "etc/kubernetes/admin.conf")
    assert kubeadm.control_plane(member) == kubeadm.PARTIAL
    assert kubeadm.membership(member) == kubeadm.COMPLETE


def test_external_etcd_needs_no_etcd_manifest(member):
    make(member, *MANIFESTS[1:], "etc/kubernetes/admin.conf")
    assert kubeadm.control_plane(member) == kubeadm.COMPLETE


PREFLIGHT = """[init] Using Kubernetes version: v1.37.2
[preflight] Some fatal errors occurred:
\t[ERROR Port-6443]: Port 6443 is in use
\t[ERROR NumCPU]: the number of available CPUs 1 is less than the required 2
[preflight] If you know what you are doing, you can make a check non-fatal
error: error execution phase preflight: preflight checks failed
"""


def test_all_preflight_errors_are_the_first_error():
    assert kubeadm.first_error(PREFLIGHT).splitlines() == [
        "[ERROR Port-6443]: Port 6443 is in use",
        "[ERROR NumCPU]: the number of available CPUs 1 is less than the required 2",
    ]


def test_the_first_error_is_not_the_last():
    said = (
        "[certs] ok\nE1123 14:00:00.1 1 x.go:1] disk is full\nerror: error execution phase etcd\nTo see the stack trace"
    )
    assert kubeadm.first_error(said).startswith("E1123")
    assert kubeadm.first_error("nothing special\nlast words\n\n") == "last words"
    assert kubeadm.first_error("") == "no output"


def test_secrets_are_taken_out():
    assert kubeadm.redact("token abc.def refused, abc.def", "abc.def", "") == "token <redacted> refused, <redacted>"


def test_a_registration_names_the_address_and_the_socket():
    found = kubeadm.registration("w1", "10.0.0.5", {}, [], [], {"v": 2})
    assert found["criSocket"] == "unix:///run/containerd/containerd.sock"
    assert found["kubeletExtraArgs"] == [
        {"name": "node-ip", "value": "10.0.0.5"},
        {"name": "config-dir", "value": "/etc/kubernetes/kubelet.conf.d"},
        {"name": "v", "value": "2"},
    ]
    assert found["taints"] == []
    assert "ignorePreflightErrors" not in found


def test_labels_that_a_kubelet_may_not_give_itself_are_left_out():
    labels = {"tier": "front", "node-role.kubernetes.io/worker": "", "topology.kubernetes.io/zone": "a"}
    found = kubeadm.registration("w1", "10.0.0.5", labels, [], [], {})
    assert {"name": "node-labels", "value": "tier=front,topology.kubernetes.io/zone=a"} in found["kubeletExtraArgs"]


@pytest.mark.parametrize(
    ("key", "may"),
    [
        ("tier", True),
        ("example.org/tier", True),
        ("notkubernetes.io/x", True),
        ("x.node.kubernetes.io/y", True),
        ("node-restriction.kubernetes.io/x", False),
        ("kubernetes.io/x", False),
        ("a.k8s.io/x", False),
    ],
)
def test_which_labels_a_kubelet_may_give_itself(key, may):
    assert kubeadm.may_label_itself(key) == may


def test_taints():
    assert kubeadm.parse_taint("a/b=c:NoSchedule") == {"key": "a/b", "value": "c", "effect": "NoSchedule"}
    assert kubeadm.parse_taint("a:NoExecute") == {"key": "a", "effect": "NoExecute"}


def test_a_failure_is_explained_by_its_first_error_and_without_the_coloured_list(monkeypatch):
    monkeypatch.setattr(kubeadm, "journal", lambda unit, lines: "kubelet: last words")
    said = "\x1b[0;37mCONFIG_X\x1b[0m: enabled\n" + PREFLIGHT
    text = kubeadm.explain("kubeadm init failed", Result(1, said, ""))
    assert text.startswith("kubeadm init failed: [ERROR Port-6443]: Port 6443 is in use\n")
    assert "CONFIG_X" not in text
    assert text.endswith("kubelet: last words")


def test_a_killed_kubeadm_is_called_killed(monkeypatch):
    monkeypatch.setattr(kubeadm, "journal", lambda unit, lines: "-- No entries --")
    text = kubeadm.explain("kubeadm init failed", Result(-9, "[certs] done", "[WARNING x]"))
    assert text.startswith("kubeadm init failed: killed by signal 9\n")
    assert "No entries" not in text
