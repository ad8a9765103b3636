# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Spec and machines → Ansible groups and variables. Pure: no file is read and no machine is asked."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils.host import default_sysctls
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import ports
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import Access, Group, Node, Spec

GROUPS = {"control-plane": "kube_control_plane", "worker": "kube_node"}
Variables = dict[str, Any]
RENEWAL_DELAY = 6 * 3600  # seconds over which nodes are spread that renew their certificates by themselves
#: A processor that is emulated is 10 to 25 times slower. The time is only taken where it is needed.
EMULATED: Variables = {
    "kubeadm_master_init_timeout": 2400,
    "kubeadm_worker_join_timeout": 2400,
    "kubesmith_ready_timeout": 2400,
    "kubesmith_patience": 5,  # by this much longer the checks wait
}
#: An emulated control plane is too slow for kubeadm's own settings: leases are lost, etcd elects itself anew, and
#: probes kill what only takes its time, which then begins at the beginning.
PROBE = {"failureThreshold": 240, "timeoutSeconds": 60}
LEASES = ("--leader-elect-lease-duration=120s", "--leader-elect-renew-deadline=100s", "--leader-elect-retry-period=10s")
SLOWER = {
    "etcd": ("--heartbeat-interval=1000", "--election-timeout=10000"),
    "kube-apiserver": (),
    "kube-controller-manager": LEASES,
    "kube-scheduler": LEASES,
}


def _slower() -> Variables:
    """Return the patches of kubeadm that make a control plane wait for an emulated processor."""
    probes = {"livenessProbe": PROBE, "startupProbe": PROBE}
    patches: Variables = {f"{part}00+strategic": {"spec": {"containers": [{"name": part} | probes]}} for part in SLOWER}
    for part, flags in SLOWER.items():
        if flags:
            path = "/spec/containers/0/command/-"
            patches[f"{part}00+json"] = [{"op": "add", "path": path, "value": flag} for flag in flags]
    return patches


@dataclass(frozen=True)
class Inventory:
    """Variables of all hosts, and of each host; hosts by group in the file's order."""

    variables: Variables
    hosts: dict[str, Variables]
    groups: dict[str, list[str]] = field(default_factory=dict)


def build(
    spec: Spec, machines: Sequence[Mapping[str, Any]], *, state: str, bundle: str, sockets: str = ""
) -> Inventory:
    """Return the inventory of a cluster.

    ``machines`` are the rows of the provider's ``machines.json`` (empty before the machines are made, and for provider
    ssh, whose nodes carry their own addresses); ``state`` is the cluster's state folder, ``bundle`` the bundle's folder
    on the controller. ``sockets`` is a folder with connections that are open already, for machines of provider ssh.
    """
    made = {machine["name"]: machine for machine in machines}
    nodes = spec.machines()
    container = any(machine.get("container") for machine in machines)
    emulated = any(machine.get("emulated") for machine in machines)
    groups: dict[str, list[str]] = {name: [] for name in GROUPS.values()}
    for node in nodes:
        groups[GROUPS[node.role]].append(node.name)
    hosts = {node.name: _host(node, made.get(node.name), spec, sockets) for node in nodes}
    addresses = {
        name: host["kubesmith_node_address"] for name, host in hosts.items() if "kubesmith_node_address" in host
    }
    if spec.security.firewall == "nftables":
        balancer = spec.cluster.vip_port if shared_address(spec, machines) else 0
        for name, rules in _firewall(spec, hosts, groups, balancer).items():
            hosts[name]["kubesmith_firewall_rules"] = rules
    planes = {name: addresses[name] for name in groups[GROUPS["control-plane"]] if name in addresses}
    variables = _everywhere(spec, state, bundle, container, planes, shared_address(spec, machines))
    for name, host in hosts.items():
        if name in addresses:
            host["containerd_host"] = _host_settings(spec, container, {name: addresses[name]})
    if spec.signed:
        both = ("kubesmith_node_address", "kubeadm_master_node_address6", "kubeadm_worker_node_address6")
        variables["kubeadm_master_nodes"] = {
            name: [host[key] for key in both if host.get(key)] for name, host in hosts.items() if name in addresses
        }
    if emulated:
        variables |= EMULATED | {"kubeadm_master_patches": _slower() | spec.kubeadm.patches}
    return Inventory(variables, hosts, groups)


def shared_address(spec: Spec, machines: Sequence[Mapping[str, Any]]) -> str:
    """Return the address that control planes share, "" where they share none or a balancer of somebody else's."""
    planes = sum(node.role == "control-plane" for node in spec.machines())
    if spec.cluster.vip or spec.cluster.endpoint or planes < 2:
        return spec.cluster.vip or ""
    return next((str(machine["vip"]) for machine in machines if machine.get("vip")), "")


def _host(node: Node, machine: Mapping[str, Any] | None, spec: Spec, sockets: str) -> Variables:
    """Return one host's variables: how to reach it, and what it is in the cluster."""
    if machine is not None:
        reach = _reach_made(machine)
        address, address6 = machine["address"], machine.get("address6", "")
    elif spec.provider == "ssh":
        reach = _reach_own(node, spec.access, sockets)
        address, address6 = node.address, node.address6 or ""
    else:
        # Never a bare node name: it could resolve to somebody's real machine.
        return {"ansible_host": f"{node.name}.not-made.invalid"}
    role = "kubeadm_master" if node.role == "control-plane" else "kubeadm_worker"
    group = spec.groups.get(node.group or "", Group())
    variables = reach | {
        "kubesmith_node_address": address,
        f"{role}_node_address": address,
        f"{role}_node_address6": address6 if spec.dual_stack else "",
        f"{role}_labels": group.labels | node.labels,
    }
    if taints := (*group.taints, *node.taints):
        variables[f"{role}_taints"] = list(dict.fromkeys(taints))
    if settings := merged(group.kubelet, node.kubelet):
        variables[f"{role}_kubelet_settings"] = settings
    if node.group:
        variables |= {"kubesmith_group": node.group, "kubesmith_max_unavailable": group.max_unavailable}
    return variables


def _firewall(
    spec: Spec, hosts: Mapping[str, Variables], groups: Mapping[str, list[str]], balancer: int
) -> dict[str, list[Variables]]:
    """Return the firewall's rules of each host that has an address."""
    planes = groups[GROUPS["control-plane"]]

    def addresses(names: Iterable[str]) -> list[str]:
        keys = ("kubesmith_node_address", "kubeadm_master_node_address6", "kubeadm_worker_node_address6")
        return [hosts[name][key] for name in names for key in keys if hosts[name].get(key)]

    sources = {
        ports.NODES: addresses(hosts),
        ports.CONTROL_PLANES: addresses(planes),
        ports.PODS: spec.network.pods.split(","),
    }
    table = ports.of(spec, balancer)
    roles = {name: role for role, group in GROUPS.items() for name in groups[group]}
    there = [name for name, host in hosts.items() if "kubesmith_node_address" in host]
    return {name: ports.rules(table, roles[name], sources) for name in there}


def _reach_made(machine: Mapping[str, Any]) -> Variables:
    return {
        "ansible_host": machine["ssh_host"],
        "ansible_port": machine["ssh_port"],
        "ansible_user": machine["ssh_user"],
        "ansible_become": machine["ssh_user"] != "root",
        "ansible_ssh_common_args": f"-F {shlex.quote(machine['ssh_config'])} -o HostKeyAlias={machine['name']}",
    }


def _reach_own(node: Node, access: Access, sockets: str) -> Variables:
    user = node.user or access.user
    options = []
    if access.known_hosts:
        options.append(f"-o UserKnownHostsFile={shlex.quote(access.known_hosts)}")
    if access.bastion:
        options.append(f"-J {shlex.quote(access.bastion)}")
    if sockets:
        path = shlex.quote(f"{sockets}/%C")
        options.append(f"-o ControlMaster=auto -o ControlPersist=30m -o ControlPath={path}")
    variables: Variables = {
        "ansible_host": node.host or node.address,
        "ansible_port": node.port or access.port,
        "ansible_user": user,
        "ansible_become": user != "root",
    }
    if access.key:
        variables["ansible_ssh_private_key_file"] = access.key
    if options:
        variables["ansible_ssh_common_args"] = " ".join(options)
    return variables


def _everywhere(spec: Spec, state: str, bundle: str, container: bool, planes: Mapping[str, str], vip: str) -> Variables:
    """Return what all hosts share: the cluster's settings, as the roles' own variables.

    ``planes`` are the control planes' addresses. Nothing here may follow from workers: one that is added would change
    every other node.
    """
    network = spec.network
    variables: Variables = {
        "kubesmith_cluster": spec.cluster.name,
        "kubesmith_kubernetes": spec.cluster.kubernetes,
        "kubesmith_state": state,
        "kubesmith_container_node": container,
        "kubeadm_master_cluster_name": spec.cluster.name,
        "kubeadm_master_pod_cidr": network.pods,
        "kubeadm_master_service_cidr": network.services,
        "kubeadm_master_dns_domain": network.dns_domain,
        "kubeadm_master_cert_sans": list(spec.kubeadm.cert_sans),
        "kubeadm_master_kubeconfig": f"{state}/kubeconfig",
        "kubeadm_master_kubelet_config": _kubelet(spec, container),
        "kubeadm_master_proxy_config": _proxy(spec, container),
        "kubeadm_master_patches": dict(spec.kubeadm.patches),
        "kubeadm_worker_patches": {
            target: patch for target, patch in spec.kubeadm.patches.items() if target.startswith("kubeletconfiguration")
        },
        "kubeadm_master_features": {"audit_log": spec.features.audit_log, "encrypt_secrets": spec.encrypted}
        | ({"signed_kubelet_certificates": True} if spec.signed else {}),
        "kubeadm_master_profile": spec.security.profile,
        "kubeadm_worker_profile": spec.security.profile,
        "kubeadm_master_certificate_days": spec.certificates.lasting(spec.lab)[0],
        "kubeadm_master_authority_days": spec.certificates.lasting(spec.lab)[1],
        "calico_pod_cidr": network.pods,
        "calico_encapsulation": network.calico.encapsulation,
        "calico_mtu": network.calico.mtu,
        "containerd_registries": [registry.model_dump(exclude_none=True) for registry in spec.runtime.registries],
        "containerd_proxy": _containerd_proxy(spec, [*planes.values(), *([vip] if vip else [])]),
        "containerd_restrict_oom_score_adj": container,
    }
    if container:
        # It looks for the kernel's configuration and modules, which are the host's, and refuses cgroups v1.
        for role in ("kubeadm_master", "kubeadm_worker"):
            variables[f"{role}_ignore_preflight_errors"] = ["SystemVerification"]
    if spec.adopted:
        variables["kubesmith_adopted"] = spec.adopted
    if spec.features.schedule_control_planes:
        variables["kubeadm_master_taints"] = []
    if spec.certificates.renewal:
        timer = spec.certificates.model_dump(include={"renewal", "renewal_days"}) | {"delay": RENEWAL_DELAY}
        variables |= {f"{role}_renewal": timer for role in ("kubeadm_master", "kubeadm_worker")}
    if spec.backup.schedule:
        text = spec.model_dump_json(exclude_defaults=True, indent=1)  # JSON is YAML
        variables["kubeadm_master_backup"] = spec.backup.model_dump(include={"schedule", "keep"}) | {"spec": text}
        variables["kubeadm_master_backup_recipients"] = list(spec.backup.recipients)
    if spec.cluster.endpoint:
        variables["kubeadm_master_endpoint"] = f"{spec.cluster.endpoint}:6443"
    if vip:
        variables["kubeadm_master_vip"] = vip
        variables["kubeadm_master_vip_port"] = spec.cluster.vip_port
    for role in ("containerd", "kubeadm_master", "kubeadm_worker", "calico"):
        variables[f"{role}_bundle"] = bundle
    return variables


def _host_settings(spec: Spec, container: bool, addresses: Mapping[str, str]) -> Variables:
    """Return what the role containerd is to do to the host itself; it knows its own name's address, and no other's."""
    settings: Variables = {"hosts": dict(addresses)} | ({"swap": "keep", "modules": []} if container else {})
    if spec.dual_stack:
        usual = default_sysctls(() if container else ("br_netfilter",))
        settings["sysctls"] = usual | {"net.ipv6.conf.all.forwarding": "1"}
    return settings


def _containerd_proxy(spec: Spec, addresses: Sequence[str]) -> Variables:
    """Return the proxy of image pulls; the cluster itself is reached without it."""
    proxy = spec.runtime.proxy
    if not (proxy.http or proxy.https):
        return {}
    network = spec.network
    ranges = [network.pods, network.services, *([network.nodes] if network.nodes else addresses)]
    own = ["localhost", "127.0.0.0/8", "::1", ".svc", f".{network.dns_domain}"]
    own += [part for text in ranges for part in text.split(",")]
    own += [spec.cluster.endpoint] if spec.cluster.endpoint else []
    return proxy.model_dump(exclude_none=True) | {"no_proxy": list(dict.fromkeys([*own, *proxy.no_proxy]))}


def _kubelet(spec: Spec, container: bool) -> Variables:
    """Return additions to KubeletConfiguration; a container node shares its host's kernel, swap, limits and disk.

    KubeletInUserNamespace lets the kubelet go on where it may set neither its own oom score nor kernel-wide sysctls,
    which belong to the host. How full the host's disk is says nothing of the node: images are not thrown away for it.
    """
    shared: Variables = {
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi"},
        "failSwapOn": False,
        "failCgroupV1": False,
        "featureGates": {"KubeletInUserNamespace": True},
    }
    return merged(shared if container else {}, spec.kubeadm.kubelet)


def _proxy(spec: Spec, container: bool) -> Variables:
    """Return additions to KubeProxyConfiguration; a container node may not write the host's conntrack limits."""
    base: Variables = {"mode": spec.network.proxy}
    return merged(base | ({"conntrack": {"maxPerCore": 0}} if container else {}), spec.kubeadm.proxy)


def merged(base: Variables, over: Mapping[str, Any]) -> Variables:
    """Return ``base`` with ``over`` laid over it, mappings merged at every depth."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, Mapping) else value
    return result
