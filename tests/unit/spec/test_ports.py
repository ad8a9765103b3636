"""The table of ports, and what a cluster file makes of it for each node."""

import pytest
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import inventory, load, ports, spec
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.problems import SpecError

FILE = """\
cluster: {name: a}
nodes:
  - {name: c1, role: control-plane, address: 192.168.1.1}
  - {name: w1, address: 192.168.1.2}
  - {name: w2, address: 192.168.1.3}
"""


def read(more):
    return spec.check(load.parse((FILE + more).encode(), "f"), "f")


def rules(more):
    hosts = inventory.build(read(more), [], state="/s", bundle="/b").hosts
    return {name: host.get("kubesmith_firewall_rules") for name, host in hosts.items()}


def opened(rows):
    return {(row["protocol"], row["ports"], "all" if row["anybody"] else tuple(row["sources"])) for row in rows}


NODES = ("192.168.1.1", "192.168.1.2", "192.168.1.3")


def test_no_firewall_unless_it_is_wanted():
    assert set(rules("").values()) == {None}


def test_each_node_gets_the_rows_of_its_role():
    found = rules("security: {firewall: nftables}\n")
    worker = {("tcp", "10250", NODES), ("tcp", "10250", ("10.244.0.0/16",)), ("udp", "4789", NODES)}
    assert opened(found["w1"]) == worker
    assert opened(found["c1"]) == worker | {("tcp", "6443", "all"), ("tcp", "2379-2380", ("192.168.1.1",))}


@pytest.mark.parametrize(
    ("encapsulation", "wanted"),
    [("ipip", {("4", ""), ("tcp", "179")}), ("none", {("tcp", "179")}), ("vxlan", {("udp", "4789")})],
)
def test_encapsulations(encapsulation, wanted):
    found = rules(f"security: {{firewall: nftables}}\nnetwork: {{calico: {{encapsulation: {encapsulation}}}}}\n")
    assert {row[:2] for row in opened(found["w1"])} - {("tcp", "10250")} == wanted


def test_a_balancer_opens_its_port_and_its_protocol():
    rows = {(row.protocol, row.ports, row.source) for row in ports.table("vxlan", 8443)}
    assert {("tcp", "8443", ports.ALL), ("112", "", ports.CONTROL_PLANES)} <= rows


def test_further_ports_are_open_to_everybody():
    found = rules('security: {firewall: nftables, ports: ["80/tcp", "8000-8010/udp"]}\n')
    assert {("tcp", "80", "all"), ("udp", "8000-8010", "all")} <= opened(found["w2"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("security: {ports: [80/tcp]}", "security.ports: opens ports, and there is no firewall"),
        ("security: {firewall: nftables, ports: [80]}", "80 is not text"),
        ("security: {firewall: nftables, ports: ['80']}", "is no port with its protocol such as 80/tcp"),
        ("security: {firewall: nftables, ports: [0/tcp]}", "is no port or range of ports between 1 and 65535"),
        ("security: {firewall: nftables, ports: [9-8/tcp]}", "is no port or range of ports between 1 and 65535"),
        ("security: {firewall: nftables, ports: [70000/tcp]}", "is no port or range of ports between 1 and 65535"),
        ("security: {firewall: iptables}", "'iptables' is not one of 'none' or 'nftables'"),
        ("security: {profile: hard}", "'hard' is not one of 'standard' or 'cis'"),
        ("security: {profil: cis}", "did you mean profile?"),
    ],
)
def test_bad_input(text, message):
    with pytest.raises(SpecError) as caught:
        read(text + "\n")
    assert message in str(caught.value)


def test_the_profile_reaches_both_roles_and_turns_encryption_on():
    variables = inventory.build(read("security: {profile: cis}\n"), [], state="/s", bundle="/b").variables
    assert (variables["kubeadm_master_profile"], variables["kubeadm_worker_profile"]) == ("cis", "cis")
    features = {"audit_log": True, "encrypt_secrets": True, "signed_kubelet_certificates": True}
    assert variables["kubeadm_master_features"] == features
    off = inventory.build(
        read("security: {profile: cis}\nfeatures: {encrypt_secrets: false}\n"), [], state="/s", bundle="/b"
    )
    assert off.variables["kubeadm_master_features"]["encrypt_secrets"] is False
