"""A: is each machine fit to be a Kubernetes node?"""

import pytest

SYSCTLS = ("net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")
HOSTS_KERNEL = "a container node: its host's kernel decides"


def _own_kernel(node):
    if node.is_container:
        pytest.skip(HOSTS_KERNEL)


def test_node_answers_over_ssh(any_node, cluster):
    """A0: the node can be reached by SSH"""
    reason = cluster.silence(any_node.name)
    assert not reason, reason


def test_swap_is_off(node, facts):
    """A1: no swap is in use"""
    _own_kernel(node)
    assert facts["swaps"] == []


def test_swap_stays_off_after_a_reboot(node, facts):
    """A2: /etc/fstab names no swap"""
    assert facts["fstab_swaps"] == []


def test_kernel_has_what_containers_need(node, facts):
    """A3: the kernel offers overlay file systems and filters bridged packets, and will after a reboot"""
    _own_kernel(node)
    assert facts["modules"] == ["br_netfilter", "overlay"]
    assert facts["modules_at_boot"] == ["br_netfilter", "overlay"]


@pytest.mark.parametrize("name", SYSCTLS)
def test_kernel_forwards_packets(node, facts, name):
    """A4: forwarding, and filtering of bridged packets, are switched on"""
    value = facts["sysctls"][name]
    if value == "absent" and node.is_container:
        pytest.skip(f"{HOSTS_KERNEL}; it has no bridge netfilter")
    assert value == "1"


@pytest.mark.parametrize("name", SYSCTLS)
def test_kernel_forwards_packets_after_a_reboot(node, facts, name):
    """A5: the next boot switches forwarding, and filtering of bridged packets, on again"""
    if node.is_container and "bridge" in name:
        pytest.skip(HOSTS_KERNEL)
    assert facts["sysctls_at_boot"][name] == "1"


def test_cgroups_are_version_2(node, facts):
    """A6: the node uses cgroup version 2"""
    if node.is_container and facts["cgroup"] != "cgroup2fs":
        pytest.skip("a container node: its host has cgroup version 1")
    assert facts["cgroup"] == "cgroup2fs"


def test_control_plane_is_large_enough(control_plane, facts):
    """A7: a control plane has two CPUs and 1700 MB"""
    assert facts["cpus"] >= 2
    assert facts["memory_mib"] >= 1700 * 1000**2 // 1024**2


@pytest.mark.parametrize("what", ["hostname", "machine-id", "product_uuid", "mac"])
def test_machines_are_told_apart(cluster, what):
    """A8: host name, machine id, product UUID and MAC are each machine's own"""
    nodes = cluster.reachable
    if what == "product_uuid" and any(node.is_container for node in nodes):
        pytest.skip("container nodes have their host's product UUID")
    values = {node.name: _identity(cluster, node, what) for node in nodes}
    shared = [name for name, value in values.items() if value and list(values.values()).count(value) > 1]
    assert shared == []


def _identity(cluster, node, what):
    facts = cluster.facts(node.name)
    if what != "mac":
        return facts["identity"][what]
    return next((link["mac"] for link in facts["links"] if node.address in link["addresses"]), "")


def test_clock_is_synchronized(node, facts):
    """A9: the clock is kept by a time service"""
    if node.is_container:
        pytest.skip("a container node: the clock is its host's")
    assert facts["clock_synchronized"] is True


def test_clocks_agree(cluster):
    """A9: the nodes' clocks are less than a second apart"""
    offsets = cluster.clock_offsets
    apart = max(least for least, _ in offsets.values()) - min(most for _, most in offsets.values())
    assert apart < 1.0, f"seconds ahead of this machine, at least and at most: {offsets}"


def test_node_knows_its_own_name(node, facts):
    """A10: the node's host name means the address that Kubernetes uses"""
    assert facts["resolved"] == [node.address]


def test_node_has_the_address_of_the_inventory(node, facts):
    """A10: the address in the inventory is on one of the node's interfaces"""
    assert node.address in [address for link in facts["links"] for address in link["addresses"]]


def test_packages_are_held(node, facts):
    """A11: a system upgrade does not move Kubernetes' packages"""
    if not facts["packages"]["installed"]:
        pytest.skip("no Kubernetes package: the binaries came with the bundle")
    assert facts["packages"]["unheld"] == []


def test_nodes_reach_each_others_ports(node, paths):
    """A12: API server, etcd and kubelets can be reached from where they are needed"""
    ports = dict(paths["ports"])
    if not ports:
        pytest.skip("this node needs no port of another")
    assert {port: state for port, state in ports.items() if state != "open"} == {}


def test_hosts_file_repeats_nothing(node, facts):
    """A13: no line stands twice in /etc/hosts"""
    assert facts["repeated_hosts_lines"] == []


def test_network_manager_leaves_calico_alone(node, facts):
    """A14: NetworkManager manages none of Calico's interfaces"""
    if not facts["network_manager"]["active"]:
        pytest.skip("NetworkManager does not run")
    assert facts["network_manager"]["managed"] == []


def test_tools_are_installed(node, facts):
    """A15: the programs that kubelet and kube-proxy call are there"""
    assert facts["tools"] == ["conntrack", "socat", "losetup", "mount"]
