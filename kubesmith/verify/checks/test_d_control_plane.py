"""D: is the control plane whole?"""

import base64

import pytest
import yaml

from kubesmith.verify import certificates
from kubesmith.verify.expected import shortened

ROLE = "node-role.kubernetes.io/control-plane"
BALANCER = "kubesmith-balancer"
PARTS = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"]


def test_static_pods_are_declared(control_plane, facts, cluster):
    """D1: etcd, API server, controller manager and scheduler are static pods, and the balancer of a shared address"""
    assert facts["manifests"] == sorted([*PARTS, *([BALANCER] if cluster.vip else [])])


def test_static_pods_run(control_plane, cluster):
    """D2: all parts of the control plane are Ready"""
    pods = {
        pod["metadata"]["name"]: pod for pod in cluster.of_kind("Pod") if pod["metadata"]["namespace"] == "kube-system"
    }
    wanted = [*PARTS, *([BALANCER] if cluster.vip else [])]
    ready = [part for part in wanted if _is_ready(pods.get(f"{part}-{control_plane}"))]
    assert ready == wanted


def _is_ready(pod):
    conditions = pod["status"].get("conditions", []) if pod else []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def test_api_server_can_be_asked(cluster):
    """D3: kubectl on a control plane gets answers"""
    assert cluster.api_error == ""


def test_api_server_is_ready(control_plane, facts):
    """D3: every readiness check of the API server passes"""
    assert [line for line in facts["readyz"] if line.startswith("[-]")] == []
    assert facts["readyz"][-1] == "readyz check passed"


@pytest.mark.parametrize("part", ["scheduler", "controller_manager"])
def test_part_is_healthy(control_plane, facts, part):
    """D4: scheduler and controller manager say that they are healthy"""
    assert facts[f"{part}_healthz"] == "ok"


@pytest.mark.parametrize("part", ["kube-scheduler", "kube-controller-manager"])
def test_part_has_a_leader(cluster, part):
    """D5: scheduler and controller manager have a leader that renewed its lease in the last 15 seconds"""
    lease = cluster.objects["leases"][part]
    assert lease["holder"], f"nobody leads: {part} has given its lease back, or never held it"
    assert lease["age"] < 15


def test_api_server_has_the_wanted_version(cluster):
    """D6: the API server is the version of the inventory"""
    wanted = str(cluster.api.variables.get("kubesmith_kubernetes", "")).removeprefix("v")
    if not wanted[:1].isdigit():
        pytest.skip(f"the inventory asks for no certain version ({wanted or 'none'})")
    assert shortened(cluster.objects["version"], wanted) == wanted


def test_control_plane_is_marked(control_plane, cluster):
    """D7: control planes carry their label, and the taint that keeps ordinary pods away"""
    item = cluster.api_node(control_plane.name)
    assert ROLE in item["metadata"]["labels"], f"{control_plane} has no label {ROLE}"
    wanted = control_plane.variables.get("kubeadm_master_taints", [f"{ROLE}:NoSchedule"])
    taints = [f"{taint['key']}:{taint['effect']}" for taint in item["spec"].get("taints", [])]
    assert [taint for taint in wanted if taint.replace("=:", ":") not in taints] == []


@pytest.mark.parametrize(
    ("setting", "variable"),
    [
        ("networking.podSubnet", "kubeadm_master_pod_cidr"),
        ("networking.serviceSubnet", "kubeadm_master_service_cidr"),
        ("networking.dnsDomain", "kubeadm_master_dns_domain"),
    ],
)
def test_cluster_is_configured_as_wanted(cluster, setting, variable):
    """D8: the cluster's own record of its networks says what the inventory says"""
    wanted = cluster.api.variables.get(variable)
    if wanted is None:
        pytest.skip(f"the inventory does not say ({variable})")
    recorded = yaml.safe_load(cluster.objects["config_maps"]["kubeadm-config"]["ClusterConfiguration"])
    section, key = setting.split(".")
    assert recorded[section][key] == wanted


def test_kubelets_are_configured_alike(cluster):
    """D8: every kubelet runs with the cluster's DNS and domain"""
    recorded = yaml.safe_load(cluster.objects["config_maps"]["kubelet-config"]["kubelet"])
    live = {node: cluster.configz(node) for node in cluster.healthy}
    wanted = dict.fromkeys(live, (recorded["clusterDNS"], recorded["clusterDomain"]))
    assert {node: (config["clusterDNS"], config["clusterDomain"]) for node, config in live.items()} == wanted


def test_audit_log_is_written(control_plane, facts):
    """D13: the API server writes its audit log, if the inventory wants that"""
    if not control_plane.variables.get("kubeadm_master_features", {}).get("audit_log", True):
        pytest.skip("the inventory does not want it")
    assert facts["audit_age"] is not None, "there is no audit log, or it is empty"
    assert facts["audit_age"] < 600, "kubelets report every five minutes at least, and that is a change"


def test_newcomers_find_the_cluster(control_plane, facts):
    """D9: cluster-info can be read without credentials and holds the cluster's CA"""
    code, body = facts["cluster_info"]
    assert code == 200
    kubeconfig = yaml.safe_load(yaml.safe_load(body)["data"]["kubeconfig"])
    embedded = base64.b64decode(kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    assert certificates.fingerprint(certificates.parse(embedded)) == certificates.fingerprint(
        certificates.parse(facts["ca"])
    )


def test_node_is_ready(node, cluster):
    """D10: the node is Ready and lacks neither memory, disk nor processes"""
    conditions = {c["type"]: c["status"] for c in cluster.api_node(node.name)["status"]["conditions"]}
    wanted = {"Ready": "True", "MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False"}
    assert {name: conditions.get(name) for name in wanted} == wanted


def test_cluster_has_these_nodes_and_no_others(cluster):
    """D10: the cluster's nodes are those of the inventory"""
    assert sorted(item["metadata"]["name"] for item in cluster.of_kind("Node")) == sorted(cluster.nodes)


def test_api_server_survives_the_loss_of_a_control_plane(cluster):
    """D11: every control plane serves the API by itself"""
    if len(cluster.control_planes) == 1:
        pytest.skip("there is one control plane")
    answers = {node.name: cluster.facts(node.name)["cluster_info"][0] for node in cluster.control_planes}
    assert answers == dict.fromkeys(answers, 200)


def test_shared_address_is_on_one_control_plane(cluster):
    """D11: the address that the control planes share is on one of them"""
    if not cluster.vip:
        pytest.skip("no address is shared")
    links = {node.name: cluster.facts(node.name)["links"] for node in cluster.reachable}
    holders = [name for name, rows in links.items() if any(cluster.vip in link["addresses"] for link in rows)]
    assert len(holders) == 1, f"{cluster.vip} is on {', '.join(holders) or 'none'}"
    assert holders[0] in [node.name for node in cluster.control_planes]


def test_endpoint_answers(node, facts, cluster):
    """D11: the node reaches an API server that is ready by the address that does not depend on one of them"""
    if len(cluster.control_planes) == 1 and not cluster.vip:
        pytest.skip("there is one control plane")
    assert facts["endpoint"][0] == 200, facts["endpoint"][1]


def test_node_runs_containerd(node, facts, cluster):
    """D12: the API server sees containerd, in the version that is installed"""
    version = facts["containerd_version"].removeprefix("v")
    assert cluster.api_node(node.name)["status"]["nodeInfo"]["containerRuntimeVersion"] == f"containerd://{version}"
