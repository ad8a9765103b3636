"""What the control plane knows of the worker that joined."""

from __future__ import annotations

import json
from typing import Any

testinfra_hosts = ["ansible://kube_control_plane"]
KUBECTL = "kubectl --kubeconfig /etc/kubernetes/admin.conf"


def address_of_the_worker(host: Any) -> str:
    return str(host.backend.ansible_runner.inventory["_meta"]["hostvars"]["w1"]["kubesmith_node_address"])


def test_the_cluster_has_the_worker_with_its_address_label_and_taint(host: Any) -> None:
    node = json.loads(host.check_output(f"{KUBECTL} get node w1 -o json"))
    addresses = {row["type"]: row["address"] for row in node["status"]["addresses"]}
    assert addresses["InternalIP"] == address_of_the_worker(host)
    assert node["metadata"]["labels"]["tier"] == "gold"
    assert {"key": "dedicated", "value": "gpu", "effect": "NoSchedule"} in node["spec"]["taints"]
    assert node["status"]["nodeInfo"]["containerRuntimeVersion"].startswith("containerd://2.")


def test_the_kubelet_refuses_who_does_not_say_who_they_are(host: Any) -> None:
    address = address_of_the_worker(host)
    code = "import ssl, urllib.request as r, urllib.error as e\\ntry: r.urlopen('https://{}:10250/pods', context="
    code += "ssl._create_unverified_context()); print(200)\\nexcept e.HTTPError as error: print(error.code)"
    assert host.check_output(f'printf "{code.format(address)}" | python3 -') == "401"
