"""Calico's manifest with a cluster's settings."""

import pytest
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import calico

MANIFEST = """---
kind: CustomResourceDefinition
metadata:
  name: ippools
spec: {strange:   spacing}
---
kind: ConfigMap
apiVersion: v1
metadata:
  name: calico-config
data:
  calico_backend: "vxlan"
  veth_mtu: "0"
  cni_network_config: |-
    {"mtu": __CNI_MTU__, "ipam": {"type": "calico-ipam"}}
---
kind: DaemonSet
apiVersion: apps/v1
metadata:
  name: calico-node
spec:
  template:
    spec:
      initContainers:
        - {name: upgrade-ipam}
        - {name: install-cni}
        - {name: mount-bpffs}
      containers:
        - name: calico-node
          image: calico-node:v1
          volumeMounts: [{mountPath: /var/lib/calico, name: a}, {mountPath: /lib/modules, name: b}]
          env:
            - name: IP
              value: "autodetect"
            - name: CALICO_IPV4POOL_VXLAN
              value: "CrossSubnet"
            - name: FELIX_VXLANMTU
              valueFrom: {configMapKeyRef: {name: calico-config, key: veth_mtu}}
          livenessProbe: {exec: {command: [/bin/calico-node, -felix-live]}}
          readinessProbe: {exec: {command: [/bin/calico-node, -felix-ready]}}
---
kind: Deployment
metadata: {name: calico-kube-controllers}
spec:
  template:
    spec:
      containers:
        - name: calico-kube-controllers
          readinessProbe: {exec: {command: [check-status, -r]}}
"""
SETTINGS = {
    "encapsulation": "vxlan",
    "pod_cidr": "10.244.0.0/16",
    "mtu": 1450,
    "block_size": "26",
    "node_address_detection": "kubernetes-internal-ip",
}


def parts(**changes):
    documents = calico.objects(MANIFEST, {**SETTINGS, **changes})
    node = documents[-2]["spec"]["template"]["spec"]["containers"][0]
    return documents[1]["data"], {row["name"]: row.get("value") for row in node["env"]}, node


def test_settings_arrive():
    config, environment, _ = parts()
    assert (config["calico_backend"], config["veth_mtu"]) == ("vxlan", "1450")
    assert config["cni_network_config"] == '{"mtu": __CNI_MTU__, "ipam": {"type": "calico-ipam"}}'
    assert environment["CALICO_IPV4POOL_CIDR"] == "10.244.0.0/16"
    assert environment["CALICO_IPV4POOL_BLOCK_SIZE"] == "26"
    assert environment["IP_AUTODETECTION_METHOD"] == "kubernetes-internal-ip"
    assert (environment["CALICO_IPV4POOL_VXLAN"], environment["CALICO_IPV4POOL_IPIP"]) == ("Always", "Never")


def test_no_variable_is_there_twice():
    _, environment, node = parts()
    assert len(node["env"]) == len(environment)


def test_other_objects_stay_as_they_are_and_in_order():
    found = calico.objects(MANIFEST, SETTINGS)
    assert [item["kind"] for item in found] == ["CustomResourceDefinition", "ConfigMap", "DaemonSet", "Deployment"]
    assert found[0]["spec"] == {"strange": "spacing"}


def test_ipip_and_plain_routes_need_bird_and_its_probes():
    for encapsulation, pool in (("ipip", "Always"), ("none", "Never")):
        config, environment, node = parts(encapsulation=encapsulation)
        assert config["calico_backend"] == "bird"
        assert (environment["CALICO_IPV4POOL_IPIP"], environment["CALICO_IPV4POOL_VXLAN"]) == (pool, "Never")
        assert node["livenessProbe"]["exec"]["command"][-1] == "-bird-live"
        assert node["readinessProbe"]["exec"]["command"][-1] == "-bird-ready"


def test_vxlan_does_not_wait_for_bird():
    _, _, node = parts()
    assert node["readinessProbe"]["exec"]["command"] == ["/bin/calico-node", "-felix-ready"]


def test_a_node_is_registered_before_the_cni_configuration_makes_it_ready():
    pod = calico.objects(MANIFEST, SETTINGS)[2]["spec"]["template"]["spec"]
    assert [container["name"] for container in pod["initContainers"]] == ["mount-bpffs", "startup", "install-cni"]
    startup, node = pod["initContainers"][1], pod["containers"][0]
    assert startup["image"] == node["image"]
    assert startup["env"] == node["env"]
    assert [mount["name"] for mount in startup["volumeMounts"]] == ["a"]


def test_the_plugins_server_is_an_address_that_may_stand_in_brackets():
    def environment(cidr):
        pod = calico.objects(MANIFEST, {**SETTINGS, "pod_cidr": cidr})[2]["spec"]["template"]["spec"]
        return pod["initContainers"][-1].get("env")

    assert environment("10.0.0.0/8") == [
        {"name": "KUBERNETES_SERVICE_HOST", "value": "::ffff:$(KUBERNETES_SERVICE_HOST)"}
    ]
    assert environment("fd00::/48") is None


def test_a_start_is_noticed_within_a_second():
    _, daemonset, deployment = calico.objects(MANIFEST, SETTINGS)[1:]
    for workload in (daemonset, deployment):
        container = workload["spec"]["template"]["spec"]["containers"][0]
        assert container["startupProbe"]["exec"] == container["readinessProbe"]["exec"]
        assert container["startupProbe"]["periodSeconds"] == 1


def test_another_manifest_is_refused():
    with pytest.raises(ValueError, match="no ConfigMap calico-config"):
        calico.objects("kind: Pod\n", SETTINGS)


@pytest.mark.parametrize(
    ("mtu", "interface", "encapsulation", "wanted"),
    [(0, 1500, "vxlan", 1450), (0, 9000, "ipip", 8980), (0, 1500, "none", 1500), (1400, 1500, "vxlan", 1400)],
)
def test_mtu(mtu, interface, encapsulation, wanted):
    assert calico.pod_mtu(mtu, interface, encapsulation) == wanted


def test_dual_stack_has_a_pool_of_each_family_and_pods_get_both():
    settings = SETTINGS | {"pod_cidr": "10.244.0.0/16,fd00:10:244::/56"}
    found = {item["kind"]: item for item in calico.objects(MANIFEST, settings)}
    pod = found["DaemonSet"]["spec"]["template"]["spec"]
    env = {row["name"]: row.get("value") for row in pod["containers"][0]["env"]}
    assert (env["CALICO_IPV4POOL_CIDR"], env["CALICO_IPV6POOL_CIDR"]) == ("10.244.0.0/16", "fd00:10:244::/56")
    assert (env["IP6"], env["FELIX_IPV6SUPPORT"], env["CALICO_IPV6POOL_VXLAN"]) == ("autodetect", "true", "Always")
    install = next(container for container in pod["initContainers"] if container["name"] == "install-cni")
    assert install["env"][0]["value"].startswith("::ffff:")  # the API server's own address is IPv4 here too
    config = found["ConfigMap"]["data"]["cni_network_config"]
    assert '"assign_ipv4": "true", "assign_ipv6": "true"' in config
