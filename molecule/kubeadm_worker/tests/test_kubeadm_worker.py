"""The role kubeadm_worker alone, seen from the worker."""

from __future__ import annotations

from typing import Any

testinfra_hosts = ["ansible://kube_node"]


def test_the_kubelet_is_well_and_will_run_after_a_boot(host: Any) -> None:
    assert host.service("kubelet").is_enabled
    said = host.check_output(
        "python3 -c \"import urllib.request as r; print(r.urlopen('http://127.0.0.1:10248/healthz').read().decode())\""
    )
    assert said == "ok"


def test_the_kubelets_identity_is_the_nodes_own(host: Any) -> None:
    file = "/var/lib/kubelet/pki/kubelet-client-current.pem"
    subject = host.check_output(f"openssl x509 -in {file} -noout -subject -nameopt sep_multiline")
    assert "O=system:nodes" in subject
    assert "CN=system:node:w1" in subject


def test_a_worker_holds_no_key_of_the_cluster(host: Any) -> None:
    found = host.check_output("find /etc/kubernetes -name '*.key' -o -name 'admin.conf' -o -name 'super-admin.conf'")
    assert found == ""


def test_the_token_cannot_be_read_on_the_worker(host: Any) -> None:
    """What kubeadm used to join is gone, or has lost its use."""
    assert host.run("grep -rE 'token: *[a-z0-9]{6}\\.[a-z0-9]{16}' /etc/kubernetes /tmp /root").rc == 1
