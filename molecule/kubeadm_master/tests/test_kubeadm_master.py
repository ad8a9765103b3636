"""The role kubeadm_master alone."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

testinfra_hosts = ["ansible://all"]
KUBECTL = "kubectl --kubeconfig /etc/kubernetes/admin.conf"


def kubectl(host: Any, words: str) -> Any:
    return json.loads(host.check_output(f"{KUBECTL} {words} -o json"))


def test_the_api_server_says_that_all_of_it_is_ready(host: Any) -> None:
    said = host.check_output(f"{KUBECTL} get --raw=/readyz?verbose")
    assert "readyz check passed" in said
    assert "[-]" not in said


def test_the_control_planes_pods_run(host: Any) -> None:
    pods = kubectl(host, "get pods -n kube-system -l tier=control-plane")["items"]
    assert sorted(pod["metadata"]["labels"]["component"] for pod in pods) == [
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
    ]
    assert {pod["status"]["phase"] for pod in pods} == {"Running"}


def test_the_kubelet_will_run_after_a_boot(host: Any) -> None:
    assert host.service("kubelet").is_running
    assert host.service("kubelet").is_enabled


def test_the_node_announces_the_address_that_it_was_given(host: Any) -> None:
    (node,) = kubectl(host, "get nodes")["items"]
    addresses = {row["type"]: row["address"] for row in node["status"]["addresses"]}
    assert addresses["InternalIP"] == host.ansible.get_variables()["kubesmith_node_address"]
    assert node["metadata"]["name"] == addresses["Hostname"] == "cp1"


def test_the_node_has_its_labels_its_taint_and_its_part_of_the_pods_network(host: Any) -> None:
    (node,) = kubectl(host, "get nodes")["items"]
    assert node["metadata"]["labels"]["tier"] == "gold"
    assert "node-role.kubernetes.io/control-plane" in {taint["key"] for taint in node["spec"]["taints"]}
    assert node["spec"]["podCIDR"].startswith("10.200.")


def test_the_certificate_holds_the_further_names(host: Any) -> None:
    text = host.check_output("openssl x509 -in /etc/kubernetes/pki/apiserver.crt -noout -ext subjectAltName")
    assert "DNS:api.example.org" in text


def test_the_kubeconfig_on_this_machine_is_private_and_works(host: Any) -> None:
    variables = host.ansible.get_variables()
    file = Path(variables["kubeadm_master_kubeconfig"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    program = Path(variables["kubeadm_master_bundle"]) / "bin" / "kubectl"
    command = [str(program), "get", "nodes", "-o", "name", "--request-timeout=20s"]
    done = subprocess.run(
        command, env=os.environ | {"KUBECONFIG": str(file)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "node/cp1\n"


def test_no_token_outlives_a_quarter_of_an_hour(host: Any) -> None:
    """kubeadm init makes one, by default for a day; who can read it could join a machine."""
    ttl = re.findall(r'"expires": "([^"]+)"', host.check_output("kubeadm token list -o json"))
    left = [datetime.fromisoformat(expires) - datetime.now(UTC) for expires in ttl]
    assert all(time < timedelta(minutes=15) for time in left)
    assert len(ttl) == len(host.check_output("kubeadm token list").splitlines()[1:])


@pytest.mark.parametrize("file", ["admin.conf", "super-admin.conf", "pki/ca.key", "pki/sa.key"])
def test_secrets_are_roots_alone(host: Any, file: str) -> None:
    found = host.file(f"/etc/kubernetes/{file}")
    assert (found.user, found.mode) == ("root", 0o600)


def test_etcd_serves_only_who_has_a_certificate(host: Any) -> None:
    address = host.ansible.get_variables()["kubesmith_node_address"]
    pki = "/etc/kubernetes/pki/etcd"
    with_one = f"--cacert={pki}/ca.crt --cert={pki}/healthcheck-client.crt --key={pki}/healthcheck-client.key"
    assert host.run(f"etcdctl --endpoints=https://{address}:2379 {with_one} endpoint health").rc == 0
    assert host.run(f"etcdctl --endpoints=https://{address}:2379 --cacert={pki}/ca.crt endpoint health").rc != 0
