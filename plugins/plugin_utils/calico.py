# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Calico's own manifest, with the cluster's settings in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

OVERHEAD = {"vxlan": 50, "ipip": 20, "none": 0}  # bytes that the encapsulation takes from each packet
SIX = {"vxlan": 20, "ipip": 0, "none": 0}  # and more of them if the packet around it is IPv6
BACKEND = {"vxlan": "vxlan", "ipip": "bird", "none": "bird"}
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the definitions are long: libyaml reads them ten times faster
Document = dict[str, Any]


def pod_mtu(mtu: int, interface_mtu: int, encapsulation: str) -> int:
    """Return the MTU of pods' interfaces: ``mtu`` itself, or for 0 the interface's less the encapsulation."""
    return mtu or interface_mtu - OVERHEAD[encapsulation]


def objects(text: str, settings: Mapping[str, Any]) -> list[Document]:
    """Return the manifest's objects with ``settings``.

    These are encapsulation, pod_cidr, mtu, block_size and node_address_detection.
    """
    found: list[Document] = [item for item in yaml.load_all(text, Loader=LOADER) if item]
    _configure(_object(found, "ConfigMap", "calico-config"), settings)
    node = _object(found, "DaemonSet", "calico-node")
    _configure_node(node, settings)
    _start_soon(node)
    if ":" not in settings["pod_cidr"].partition(",")[0]:
        _valid_server(node)
    _ask_soon(_container(node, "calico-node"))
    _ask_soon(_container(_object(found, "Deployment", "calico-kube-controllers"), "calico-kube-controllers"))
    return found


def _object(found: Sequence[Document], kind: str, name: str) -> Document:
    """Return one object; ValueError if there is none."""
    for item in found:
        if item["kind"] == kind and item["metadata"]["name"] == name:
            return item
    raise ValueError(f"this is no manifest of Calico: it has no {kind} {name}")


def _container(workload: Document, name: str) -> Document:
    containers = workload["spec"]["template"]["spec"]["containers"]
    return next(container for container in containers if container["name"] == name)


def _configure(config: Document, settings: Mapping[str, Any]) -> None:
    config["data"]["calico_backend"] = BACKEND[settings["encapsulation"]]
    config["data"]["veth_mtu"] = str(settings["mtu"])
    if "," in settings["pod_cidr"]:
        ipam = '"type": "calico-ipam"'
        both = ipam + ', "assign_ipv4": "true", "assign_ipv6": "true"'
        config["data"]["cni_network_config"] = config["data"]["cni_network_config"].replace(ipam, both)


def _configure_node(daemonset: Document, settings: Mapping[str, Any]) -> None:
    node = _container(daemonset, "calico-node")
    encapsulation = settings["encapsulation"]
    four, _comma, six = settings["pod_cidr"].partition(",")
    environment = {
        "CALICO_IPV4POOL_CIDR": four,
        "CALICO_IPV4POOL_BLOCK_SIZE": str(settings["block_size"]),
        "CALICO_IPV4POOL_VXLAN": "Always" if encapsulation == "vxlan" else "Never",
        "CALICO_IPV4POOL_IPIP": "Always" if encapsulation == "ipip" else "Never",
        "CALICO_IPV6POOL_VXLAN": "Never",
        "CLUSTER_TYPE": "k8s,kubeadm" if encapsulation == "vxlan" else "k8s,kubeadm,bgp",
        "IP": "autodetect",
        "IP_AUTODETECTION_METHOD": settings["node_address_detection"],
    }
    if six:
        environment |= {
            "CALICO_IPV6POOL_CIDR": six,
            "CALICO_IPV6POOL_VXLAN": "Always" if encapsulation == "vxlan" else "Never",
            "CALICO_IPV6POOL_NAT_OUTGOING": "true",
            "IP6": "autodetect",
            "IP6_AUTODETECTION_METHOD": settings["node_address_detection"],
            "FELIX_IPV6SUPPORT": "true",
        }
    node["env"] = set_environment(node["env"], environment)
    _probe_bird(node, BACKEND[encapsulation] == "bird")


def set_environment(rows: Sequence[Document], wanted: Mapping[str, str]) -> list[Document]:
    """Return a container's environment with ``wanted`` set, each in its old place, new ones at the end."""
    seen = {row["name"] for row in rows}
    kept = [{"name": row["name"], "value": wanted[row["name"]]} if row["name"] in wanted else row for row in rows]
    return kept + [{"name": name, "value": value} for name, value in wanted.items() if name not in seen]


def _probe_bird(node: Document, with_bird: bool) -> None:
    for probe, flag in (("livenessProbe", "-bird-live"), ("readinessProbe", "-bird-ready")):
        command = node[probe]["exec"]["command"]
        node[probe]["exec"]["command"] = [part for part in command if part != flag] + ([flag] if with_bird else [])


def _start_soon(daemonset: Document) -> None:
    """Let a node be ready for pods before it says so.

    When the CNI configuration appears, the node becomes Ready and gets pods. Their sandboxes fail as long as Calico has
    not registered the node, and the kubelet tries again only some ten seconds later: so Calico's own start-up routine
    runs before that, once more than in calico-node itself. The upgrade from host-local addresses is for old clusters.
    """
    pod = daemonset["spec"]["template"]["spec"]
    steps = {container["name"]: container for container in pod["initContainers"]}
    steps.pop("upgrade-ipam", None)
    last = steps.pop("install-cni")
    pod["initContainers"] = [*steps.values(), _startup(_container(daemonset, "calico-node")), last]


def _startup(node: Document) -> Document:
    keys: Sequence[str] = ("image", "imagePullPolicy", "envFrom", "env", "securityContext")
    shared: Document = {key: node[key] for key in keys if key in node}
    folders = ("/var/lib/calico", "/var/run/calico")
    mounts = [mount for mount in node["volumeMounts"] if mount["mountPath"] in folders]
    return {"name": "startup", "command": ["calico-node", "-startup"], **shared, "volumeMounts": mounts}


def _valid_server(daemonset: Document) -> None:
    """Let install-cni write an address that programs of today read.

    It writes ``https://[HOST]:PORT``. Since Go 1.25.2 only an IPv6 address may stand in brackets, or an IPv4 address
    written as one; without this the CNI plugin works only after calico-node has written the file once more.
    """
    containers = daemonset["spec"]["template"]["spec"]["initContainers"]
    install = next(container for container in containers if container["name"] == "install-cni")
    host = {"KUBERNETES_SERVICE_HOST": "::ffff:$(KUBERNETES_SERVICE_HOST)"}
    install["env"] = set_environment(install.get("env", ()), host)


def _ask_soon(container: Document) -> None:
    """Look every second whether a container has started; its readiness is asked for only every ten."""
    ready = container["readinessProbe"]
    container["startupProbe"] = {
        "exec": ready["exec"],
        "periodSeconds": 1,
        "timeoutSeconds": 10,
        "failureThreshold": 300,
    }
