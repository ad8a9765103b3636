"""Read a kubespray inventory into a cluster file, and say what became of every setting in it."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import spec as spec_module
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.load import parse
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.problems import Problem, SpecError
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from kubesmith import ordinary
from kubesmith.errors import InputError

# kubespray renamed its groups in 2.16; both spellings are met.
CONTROL_PLANES = ("kube_control_plane", "kube-master", "kube-control-plane")
WORKERS = ("kube_node", "kube-node")
NOTED_GROUPS = {
    "etcd": "etcd runs beside the API server on every control plane",
    "calico_rr": "no route reflectors",
    "calico-rr": "no route reflectors",
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
FEATURES = {"kubernetes_audit": "audit_log", "kube_encrypt_secret_data": "encrypt_secrets"}
PROXY = {"http_proxy": "http", "https_proxy": "https"}
HOST_HANDLED = {"ansible_host", "ansible_ssh_host", "ip", "access_ip", "ansible_user", "ansible_ssh_user"}
HOST_HANDLED |= {"ansible_port", "ansible_ssh_port", "ansible_ssh_private_key_file", "ansible_become"}
HOST_HANDLED |= {"node_labels", "node_taints", "etcd_member_name"}
HANDLED = HOST_HANDLED | set(NETWORK) | set(KUBELET) | set(FEATURES) | set(PROXY) | {"no_proxy"}
HANDLED |= {"kube_version", "kube_network_plugin", "kube_proxy_mode", "calico_vxlan_mode", "calico_ipip_mode"}
HANDLED |= {"calico_mtu", "supplementary_addresses_in_ssl_keys", "loadbalancer_apiserver", "kube_vip_address"}
HANDLED |= {"containerd_registries_mirrors", "ansible_local"}  # the last is Ansible's own, in every listing
SECRET = re.compile(r"pass|secret|token|credential|private|auth|(?<!ssl_)keys?$", re.IGNORECASE)
LOGIN_IN_ADDRESS = re.compile(r"://[^/@]*@")


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
    nodes = {name: hostvars.get(name, {}) for name in _order(planes, workers)}
    shared = _shared(nodes, planes)
    _top(imported, shared, path)
    _bastion(imported, listing, hostvars)
    imported.data["nodes"] = [_node(imported, name, own, name in planes) for name, own in nodes.items()]
    _features(imported, shared, planes, workers)
    _groups(imported, listing, nodes)
    _leftovers(imported, shared, nodes)
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
        "ANSIBLE_INVENTORY_ENABLED": ordinary.reader(source),
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1",
    }
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise InputError(
            f"{source} cannot be read as an Ansible inventory: {ordinary.reason(done.stderr)}", fix=_remedy(done)
        )
    listing: dict[str, Any] = json.loads(done.stdout)
    return listing


def _remedy(done: subprocess.CompletedProcess[str]) -> str:
    if "decrypt" in done.stderr or "vault" in done.stderr.lower():
        return "set ANSIBLE_VAULT_PASSWORD_FILE to the file that holds the vault's password"
    return f"ansible-inventory -i {done.args[2]} --list tells more"


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


def _shared(nodes: Mapping[str, Mapping[str, Any]], planes: list[str]) -> dict[str, Any]:
    """Return what kubespray's group_vars say: variables that all nodes have with one value.

    What concerns the whole cluster may be said of the control planes alone.
    """
    every = list(nodes.values())
    first = nodes[planes[0]]
    wide = {key for key in HANDLED - HOST_HANDLED if key in first}
    every = [{key: first[key] for key in wide} | dict(own) for own in every]
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
    _endpoint(imported, shared)
    _runtime(imported, shared)
    _access(imported, shared)
    _kubeadm(imported, shared)


def _endpoint(imported: Imported, shared: Mapping[str, Any]) -> None:
    """Another machine in front of the API servers, reached at port 6443; or kube-vip's address on them."""
    if vip := shared.get("kube_vip_address"):
        imported.data["cluster"]["vip"] = str(vip)
        imported.translated.append(f"kube_vip_address: {vip} → cluster.vip, kept by keepalived and not by kube-vip")
        return
    balancer = shared.get("loadbalancer_apiserver")
    if not isinstance(balancer, Mapping) or not balancer.get("address"):
        return
    address, port = str(balancer["address"]), str(balancer.get("port") or 6443)
    if port == "6443":
        imported.data["cluster"]["endpoint"] = address
        imported.kept.append(f"loadbalancer_apiserver: {address} → cluster.endpoint")
    else:
        imported.ignored.append(f"loadbalancer_apiserver: {address}:{port}, cluster.endpoint is reached at 6443")


def _runtime(imported: Imported, shared: Mapping[str, Any]) -> None:
    runtime: dict[str, Any] = {}
    if registries := [row for given in _rows(shared, "containerd_registries_mirrors") if (row := _registry(given))]:
        runtime["registries"] = registries
        names = ", ".join(row["upstream"] for row in registries)
        imported.kept.append(f"containerd_registries_mirrors: {names} → runtime.registries")
    proxy: dict[str, Any] = {}
    for theirs, ours in PROXY.items():
        address = str(shared.get(theirs) or "")
        if LOGIN_IN_ADDRESS.search(address):
            address = LOGIN_IN_ADDRESS.sub("://", address)
            imported.ignored.append(f"{theirs}: the login in it; give it as runtime.proxy.auth")
        if address:
            proxy[ours] = address
            imported.kept.append(f"{theirs}: {address} → runtime.proxy.{ours}")
    if shared.get("no_proxy") and proxy:
        proxy["no_proxy"] = [part for part in re.split(r"[\s,]+", str(shared["no_proxy"])) if part]
        imported.kept.append("no_proxy → runtime.proxy.no_proxy")
    if proxy:
        runtime["proxy"] = proxy
    if runtime:
        imported.data["runtime"] = runtime


def _rows(shared: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    value = shared.get(name)
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def _registry(given: Mapping[str, Any]) -> dict[str, Any]:
    mirrors = []
    for mirror in _rows(given, "mirrors"):
        url = str(mirror.get("host", ""))
        row: dict[str, Any] = {"url": url if "://" in url else f"https://{url}"}
        mirrors.append(row | ({"skip_verify": True} if mirror.get("skip_verify") else {}))
    return {"upstream": str(given["prefix"]), "mirrors": mirrors} if given.get("prefix") and mirrors else {}


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
    minor = wanted.rpartition(".")[0]
    newest = next((v for v in reversed(spec_module.VERSIONS) if v.startswith(f"{minor}.")), spec_module.VERSIONS[-1])
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
        ("ansible_ssh_port", "port"),
        ("ansible_ssh_private_key_file", "key"),
    ):
        if theirs in shared:
            access[ours] = _number(shared[theirs]) if ours == "port" else shared[theirs]
            imported.kept.append(f"{theirs} → access.{ours}")
    if access:
        imported.data["access"] = access


def _number(value: object) -> object:
    """Return a whole number that an inventory may hold as text; anything else as it is, for the rules to refuse."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def _bastion(imported: Imported, listing: Mapping[str, Any], hostvars: Mapping[str, Mapping[str, Any]]) -> None:
    """kubespray reaches the nodes by way of the first host in its group ``bastion``."""
    for name in _members(listing, ("bastion",))[:1]:
        own = hostvars.get(name, {})
        user = own.get("ansible_user") or own.get("ansible_ssh_user")
        port = own.get("ansible_port") or own.get("ansible_ssh_port")
        host = own.get("ansible_host") or own.get("ansible_ssh_host") or name
        jump = (f"{user}@" if user else "") + str(host) + (f":{port}" if port else "")
        imported.data.setdefault("access", {})["bastion"] = jump
        imported.translated.append(f"group bastion: {name} → access.bastion: {jump}")


def _node(imported: Imported, name: str, variables: Mapping[str, Any], plane: bool) -> dict[str, Any]:
    host = variables.get("ansible_host") or variables.get("ansible_ssh_host")
    address = next(
        (
            given
            for given in (variables.get("ip"), variables.get("access_ip"), *map(_own_address, (host, name)))
            if given
        ),
        None,
    )
    node: dict[str, Any] = {"name": name}
    if plane:
        node["role"] = "control-plane"
    if address:
        node["address"] = address
    if host and host != address:
        node["host"] = host
    access = imported.data.get("access", {})
    for theirs, ours in (
        ("ansible_user", "user"),
        ("ansible_ssh_user", "user"),
        ("ansible_port", "port"),
        ("ansible_ssh_port", "port"),
    ):
        value = variables.get(theirs) if ours == "user" else _number(variables.get(theirs))
        if value is not None and value != access.get(ours):
            node[ours] = value
    if labels := variables.get("node_labels"):
        node["labels"] = (
            {str(key): _label(value) for key, value in labels.items()} if isinstance(labels, Mapping) else labels
        )
    if taints := variables.get("node_taints"):
        node["taints"] = [str(taint) for taint in (taints if isinstance(taints, list) else [taints])]
    imported.kept.append(f"{name}: {address or host}")
    return node


def _label(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _own_address(name: object) -> str | None:
    try:
        return str(ipaddress.IPv4Address(str(name)))
    except ValueError:
        return None


def _features(imported: Imported, shared: Mapping[str, Any], planes: list[str], workers: list[str]) -> None:
    features = {}
    for theirs, ours in FEATURES.items():
        if theirs in shared:
            imported.kept.append(f"{theirs}: {shared[theirs]} → features.{ours}")
            if str(shared[theirs]).lower() in ("true", "yes", "1"):
                features[ours] = True
    both = [name for name in planes if name in workers]
    # A host in both groups runs pods beside the control plane: that is one without the usual taint.
    if len(both) == len(planes):
        features["schedule_control_planes"] = True
        imported.translated.append("control planes are nodes too → features.schedule_control_planes")
    else:
        imported.ignored += [
            f"{name} is control plane and node at once, other control planes are not: it stays tainted" for name in both
        ]
    if features:
        imported.data["features"] = features


def _groups(imported: Imported, listing: Mapping[str, Any], nodes: Mapping[str, Any]) -> None:
    for group, why in NOTED_GROUPS.items():
        members = _members(listing, (group,))
        if members:
            imported.translated.append(f"group {group}: {why}")
        imported.ignored += [f"{name} of group {group}: it is no node" for name in members if name not in nodes]


def _leftovers(imported: Imported, shared: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> None:
    """Name each variable that had no effect, of all nodes or of one. A secret's value is not repeated."""
    imported.ignored += [f"{name}: {_told(name, shared[name])}" for name in sorted(set(shared) - HANDLED)]
    for node, own in nodes.items():
        for name in sorted(set(own) - set(shared) - HOST_HANDLED):
            imported.ignored.append(f"{node}: {name}: {_told(name, own[name])}")


def _told(name: str, value: object) -> str:
    if SECRET.search(name) or (isinstance(value, Mapping) and "__ansible_vault" in value):
        return "(not shown)"
    if isinstance(value, (list, Mapping)) and value:
        return "a list" if isinstance(value, list) else "a mapping"
    return short(LOGIN_IN_ADDRESS.sub("://…@", str(value)))


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
        rows = "\n".join(Problem(0, 0, row.path, row.message, row.hint).text(str(path)) for row in error.problems)
        raise InputError(f"{path} cannot become a cluster file:\n{rows}", fix="mend these there") from error
