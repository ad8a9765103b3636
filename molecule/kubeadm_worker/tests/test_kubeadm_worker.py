"""The role kubeadm_worker alone, seen from the worker, and from the control plane that it joined."""

from __future__ import annotations

import json
from typing import Any

import pytest

KUBECTL = "kubectl --kubeconfig /etc/kubernetes/admin.conf"


@pytest.fixture
def worker(host: Any) -> Any:
    """The worker; skips the control plane, which this role has no part in."""
    if "kube_node" not in host.ansible.get_variables()["group_names"]:
        pytest.skip("this is the control plane")
    return host


@pytest.fixture
def control_plane(host: Any) -> Any:
    """The control plane; it knows what joined."""
    if "kube_control_plane" not in host.ansible.get_variables()["group_names"]:
        pytest.skip("this is the worker")
    return host


def test_the_kubelet_is_well_and_will_run_after_a_boot(worker: Any) -> None:
    assert worker.service("kubelet").is_enabled
    said = worker.check_output(
        "python3 -c \"import urllib.request as r; print(r.urlopen('http://127.0.0.1:10248/healthz').read().decode())\""
    )
    assert said == "ok"


def test_the_kubelets_identity_is_the_nodes_own(worker: Any) -> None:
    file = "/var/lib/kubelet/pki/kubelet-client-current.pem"
    subject = worker.check_output(f"openssl x509 -in {file} -noout -subject -nameopt sep_multiline")
    assert "O=system:nodes" in subject
    assert "CN=system:node:w1" in subject


def test_a_worker_holds_no_key_of_the_cluster(worker: Any) -> None:
    found = worker.check_output("find /etc/kubernetes -name '*.key' -o -name 'admin.conf' -o -name 'super-admin.conf'")
    assert found == ""


def test_the_token_cannot_be_read_on_the_worker(worker: Any) -> None:
    """What kubeadm used to join is gone, or has lost its use."""
    assert worker.run("grep -rE 'token: *[a-z0-9]{6}\\.[a-z0-9]{16}' /etc/kubernetes /tmp /root").rc == 1


def test_the_cluster_has_the_worker_with_its_address_label_and_taint(control_plane: Any) -> None:
    node = json.loads(control_plane.check_output(f"{KUBECTL} get node w1 -o json"))
    addresses = {row["type"]: row["address"] for row in node["status"]["addresses"]}
    every = control_plane.ansible.get_variables()["containerd_host"]["hosts"]
    assert addresses["InternalIP"] == every["w1"]
    assert node["metadata"]["labels"]["tier"] == "gold"
    assert {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"} in node["spec"]["taints"]
    assert node["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://2.")


def test_the_kubelet_refuses_who_does_not_say_who_they_are(control_plane: Any) -> None:
    address = control_plane.ansible.get_variables()["containerd_host"]["hosts"]["w1"]
    code = "import ssl, urllib.request as r, urllib.error as e\\ntry: r.urlopen('https://{}:10250/pods', context="
    code += "ssl._create_unverified_context()); print(200)\\nexcept e.HTTPError as error: print(error.code)"
    assert control_plane.check_output(f'printf "{code.format(address)}" | python3 -') == "401"
