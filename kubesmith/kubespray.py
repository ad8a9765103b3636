"""Read a kubespray inventory into a cluster file, and say what became of every setting in it."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import spec as spec_module
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.load import parse
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.problems import SpecError
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from kubesmith.errors import InputError

# kubespray renamed its groups in 2.16; both spellings are met.
CONTROL_PLANES = ("kube_control_plane", "kube-master", "kube-control-plane")
WORKERS = ("kube_node", "kube-node")
NOTED_GROUPS = {
    "etcd": "etcd runs beside the API server on every control plane",
    "calico_rr": "no route reflectors",
    "calico-rr": "no route reflectors",
    "bastion": "used as access.bastion",
}
NETWORK = {
    "kube_pods_subnet": "pods",
    "kube_service_addresses": "services",
    "dns_domain": "dns_domain",
    "cluster_name": "dns_domain",  # kubespray's name for the same; its own default of dns_domain
}
KUBELET = {
    "kubelet_max_pods": "maxPods",
    "kubelet_pod_pids_limit": "podPidsLimit",
    "kubelet_event_record_qps": "eventRecordQPS",
    "kubelet_image_gc_high_threshold": "imageGCHighThresholdPercent",
    "kubelet_image_gc_low_threshold": "imageGCLowThresholdPercent",
}
HOST_HANDLED = {"ansible_host", "ip", "access_ip", "ansible_user", "ansible_port", "node_labels", "node_taints"}
HOST_HANDLED |= {"ansible_ssh_private_key_file", "ansible_become", "etcd_member_name", "ansible_ssh_user"}


@dataclass
class Imported:
    """A cluster file's content, and one line for each setting that was kept, translated or ignored."""

    data: dict[str, Any] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    translated: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return the cluster file."""
        body: str = yaml.safe_dump(self.data, sort_keys=False, default_flow_style=None, width=110)
        return body


def read(path: Path, *, lab: bool = False) -> Imported:
    """Import the inventory at ``path`` (a file, or a folder with inventory.ini or hosts.yaml and group_vars).

    With ``lab`` the file describes the same cluster on container nodes of this machine, to rehearse with.
    Raises InputError if it is no inventory, has no control plane, or gives values that no cluster file may hold.
    """
    listing = _listing(_source(path))
    hostvars: dict[str, dict[str, Any]] = listing.get("_meta", {}).get("hostvars", {})
    planes, workers = (_members(listing, names) for names in (CONTROL_PLANES, WORKERS))
    if not planes:
        raise InputError(
            f"{path} has no control plane: none of the groups {', '.join(CONTROL_PLANES)} has a host",
            fix="give the folder that holds kubespray's inventory.ini or hosts.yaml",
        )
    imported = Imported()
    shared = _shared(hostvars)
    _top(imported, shared, path)
    imported.data["nodes"] = [
        _node(imported, name, hostvars.get(name, {}), name in planes) for name in _order(planes, workers)
    ]
    _both_roles(imported, planes, workers)
    _groups(imported, listing)
    _leftovers(imported, shared)
    if lab:
        as_lab(imported)
    validated(imported, path)
    return imported


def as_lab(imported: Imported) -> None:
    """Make it a lab: leave out where the machines are: the lab makes its own, and finds them addresses."""
    imported.data |= {"provider": "podman", "lab": True}
    imported.data.pop("access", None)
    elsewhere = {"address", "host", "port", "user"}
    imported.data["nodes"] = [
        {key: value for key, value in node.items() if key not in elsewhere} for node in imported.data["nodes"]
    ]
    imported.translated.append("addresses and access of the nodes: the lab makes its own machines")


def _source(path: Path) -> Path:
    if path.is_file():
        return path
    names = ("inventory.ini", "hosts.yaml", "hosts.yml", "hosts.ini", "hosts")
    found = [path / name for name in names if (path / name).is_file()]
    if not found:
        raise InputError(
            f"{path} holds none of {', '.join(names)}", fix="give kubespray's inventory file or its folder"
        )
    return found[0]


def _listing(source: Path) -> dict[str, Any]:
    """Let Ansible itself read the inventory: it knows every form, and the group_vars beside it."""
    command = [str(Path(sys.executable).parent / "ansible-inventory"), "-i", str(source), "--list"]
    environment = os.environ | {
        "ANSIBLE_INVENTORY_ENABLED": "ini,yaml",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
    }
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise InputError(f"{source} is not an Ansible inventory: {done.stderr.strip()[-400:]}", fix="check the path")
    listing: dict[str, Any] = json.loads(done.stdout)
    return listing


def _members(listing: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    """Return the hosts of the first group in ``names`` that has any, children included."""
    for name in names:
        hosts: list[str] = []
        waiting = [name]
        while waiting:
            group = listing.get(waiting.pop(0), {})
            hosts += [host for host in group.get("hosts", []) if host not in hosts]
            waiting += group.get("children", [])
        if hosts:
            return hosts
    return []


def _order(planes: list[str], workers: list[str]) -> list[str]:
    return planes + [name for name in workers if name not in planes]


def _shared(hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the variables that all hosts have with one value: those of kubespray's group_vars."""
    every = list(hostvars.values())
    first = every[0] if every else {}
    same = {key: value for key, value in first.items() if all(other.get(key, object()) == value for other in every)}
    return {key: _rendered(value, same) for key, value in same.items()}


def _rendered(value: Any, variables: Mapping[str, Any]) -> Any:
    """Fill in a template such as ``{{ cluster_name }}``; one that needs more than variables stays as it is."""
    if not (isinstance(value, str) and "{{" in value):
        return value
    try:
        return SandboxedEnvironment(undefined=StrictUndefined).from_string(value).render(variables)
    except TemplateError:
        return value


def _top(imported: Imported, shared: dict[str, Any], path: Path) -> None:
    folder = path.name if path.is_dir() else path.parent.name
    name = "".join(letter if letter.isalnum() else "-" for letter in folder.lower()).strip("-")[:32] or "imported"
    imported.data["plugin"] = "kubesmith.cluster.spec"
    imported.data["cluster"] = {"name": name, "kubernetes": _version(imported, shared.get("kube_version"))}
    imported.data["provider"] = "ssh"
    network = {}
    for theirs, ours in NETWORK.items():
        if theirs in shared and ours not in network:
            network[ours] = shared[theirs]
            imported.kept.append(f"{theirs}: {shared[theirs]} → network.{ours}")
    _plugin(imported, shared, network)
    _proxy(imported, shared, network)
    if network:
        imported.data["network"] = network
    _access(imported, shared)
    _kubeadm(imported, shared)


def _kubeadm(imported: Imported, shared: Mapping[str, Any]) -> None:
    kubeadm: dict[str, Any] = {}
    if names := shared.get("supplementary_addresses_in_ssl_keys"):
        kubeadm["cert_sans"] = list(names)
        imported.kept.append("supplementary_addresses_in_ssl_keys → kubeadm.cert_sans")
    if kubelet := {ours: shared[theirs] for theirs, ours in KUBELET.items() if theirs in shared}:
        kubeadm["kubelet"] = kubelet
        imported.kept += [
            f"{theirs}: {shared[theirs]} → kubeadm.kubelet.{ours}"
            for theirs, ours in KUBELET.items()
            if theirs in shared
        ]
    if kubeadm:
        imported.data["kubeadm"] = kubeadm


def _version(imported: Imported, theirs: object) -> str:
    if theirs is None:
        return "stable"
    wanted = str(theirs).removeprefix("v")
    if wanted in spec_module.VERSIONS:
        imported.kept.append(f"kube_version: {theirs} → cluster.kubernetes")
        return wanted
    newest = spec_module.VERSIONS[-1]
    imported.translated.append(f"kube_version: {theirs} is not built here → cluster.kubernetes: {newest}")
    return newest


def _plugin(imported: Imported, shared: Mapping[str, Any], network: dict[str, Any]) -> None:
    plugin = shared.get("kube_network_plugin", "calico")
    if plugin != "calico":
        imported.translated.append(f"kube_network_plugin: {plugin} → calico, the network plug-in of kubesmith")
    calico: dict[str, Any] = {}
    vxlan, ipip = (str(shared.get(f"calico_{mode}_mode", "Never")) for mode in ("vxlan", "ipip"))
    if "calico_vxlan_mode" in shared or "calico_ipip_mode" in shared:
        calico["encapsulation"] = "vxlan" if vxlan != "Never" else "ipip" if ipip != "Never" else "none"
        imported.translated.append(
            f"calico_vxlan_mode: {vxlan}, calico_ipip_mode: {ipip} → "
            f"network.calico.encapsulation: {calico['encapsulation']}"
        )
    if "calico_mtu" in shared:
        calico["mtu"] = shared["calico_mtu"]
        imported.kept.append(f"calico_mtu: {calico['mtu']} → network.calico.mtu")
    if calico:
        network["calico"] = calico


def _proxy(imported: Imported, shared: Mapping[str, Any], network: dict[str, Any]) -> None:
    mode = shared.get("kube_proxy_mode")
    if mode in ("nftables", "iptables"):
        network["proxy"] = mode
        imported.kept.append(f"kube_proxy_mode: {mode} → network.proxy")
    elif mode is not None:
        imported.translated.append(f"kube_proxy_mode: {mode} → network.proxy: nftables (its successor)")


def _access(imported: Imported, shared: Mapping[str, Any]) -> None:
    access = {}
    for theirs, ours in (
        ("ansible_user", "user"),
        ("ansible_ssh_user", "user"),
        ("ansible_port", "port"),
        ("ansible_ssh_private_key_file", "key"),
    ):
        if theirs in shared:
            access[ours] = int(shared[theirs]) if ours == "port" else shared[theirs]
            imported.kept.append(f"{theirs} → access.{ours}")
    if access:
        imported.data["access"] = access


def _node(imported: Imported, name: str, variables: Mapping[str, Any], plane: bool) -> dict[str, Any]:
    host, address = variables.get("ansible_host"), variables.get("ip") or variables.get("access_ip")
    node: dict[str, Any] = {"name": name}
    if plane:
        node["role"] = "control-plane"
    node["address"] = address or host or _own_address(name)
    if host and host != node["address"]:
        node["host"] = host
    access = imported.data.get("access", {})
    for theirs, ours, convert in (("ansible_user", "user", str), ("ansible_port", "port", int)):
        if theirs in variables and convert(variables[theirs]) != access.get(ours):
            node[ours] = convert(variables[theirs])
    if labels := variables.get("node_labels"):
        node["labels"] = {key: str(value) for key, value in labels.items()}
    if taints := variables.get("node_taints"):
        node["taints"] = list(taints)
    imported.kept.append(f"{name}: {node['address']}")
    return node


def _own_address(name: str) -> str | None:
    try:
        return str(ipaddress.IPv4Address(name))
    except ValueError:
        return None


def _both_roles(imported: Imported, planes: list[str], workers: list[str]) -> None:
    """A host in both groups runs pods beside the control plane: that is one without the usual taint."""
    for name in planes:
        if name in workers:
            imported.ignored.append(
                f"{name} is control plane and node at once: it stays tainted; remove the taint by hand"
            )


def _groups(imported: Imported, listing: Mapping[str, Any]) -> None:
    for group, why in NOTED_GROUPS.items():
        if _members(listing, (group,)):
            imported.translated.append(f"group {group}: {why}")


def _leftovers(imported: Imported, shared: Mapping[str, Any]) -> None:
    handled: set[str] = (
        HOST_HANDLED | set(NETWORK) | set(KUBELET) | {"kube_version", "kube_network_plugin", "kube_proxy_mode"}
    )
    handled |= {"calico_vxlan_mode", "calico_ipip_mode", "calico_mtu", "supplementary_addresses_in_ssl_keys"}
    handled |= {"ansible_local"}  # Ansible's own, in every listing
    imported.ignored += [f"{name}: {short(shared[name])}" for name in sorted(set(shared) - handled)]


def short(value: object) -> str:
    """Return the value on one line, cut to 60 characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else text[:59] + "…"


def validated(imported: Imported, path: Path) -> None:
    """Check the result by the rules of every cluster file."""
    text = imported.text()
    check: Callable[..., Any] = spec_module.check
    try:
        check(parse(text.encode(), "the imported file"), "the imported file")
    except SpecError as error:
        raise InputError(f"{path} cannot become a cluster file:\n{error}", fix="mend these in the inventory") from error
