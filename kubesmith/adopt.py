"""Read a cluster that other hands built with kubeadm into a cluster file; tell later where the two differ.

Everything is read through the API server: kubeadm's own records (kubeadm-config, kubelet-config, kube-proxy), the
nodes, and Calico's pools. Nothing is written to the cluster.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import kubelet
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import spec as spec_module
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import VERSIONS, Access, Spec

from kubesmith import kube
from kubesmith.errors import InputError, KubesmithError
from kubesmith.kubespray import Imported, short, validated
from kubesmith.plan import Notice

Item = Mapping[str, Any]
RECORDS = ("kubeadm-config", "kubelet-config", "kube-proxy", "calico-config")
PLANE = "node-role.kubernetes.io/control-plane"
#: Labels and taints that Kubernetes, its controllers and kubeadm set themselves.
SYSTEM_LABEL = re.compile(r"((.*\.)?(kubernetes|k8s)\.io/.*|projectcalico\.org/.*)")
SYSTEM_TAINT = re.compile(r"(node\.kubernetes\.io/.*|node\.cloudprovider\.kubernetes\.io/.*)")
#: What kubeadm writes into every kubelet-config; whatever else is there was somebody's wish.
USUAL = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "kind": "KubeletConfiguration",
    "authentication": {
        "anonymous": {"enabled": False},
        "webhook": {"cacheTTL": "0s", "enabled": True},
        "x509": {"clientCAFile": "/etc/kubernetes/pki/ca.crt"},
    },
    "authorization": {"mode": "Webhook", "webhook": {"cacheAuthorizedTTL": "0s", "cacheUnauthorizedTTL": "0s"}},
    "cgroupDriver": "systemd",
    "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
    "healthzBindAddress": "127.0.0.1",
    "healthzPort": 10248,
    "rotateCertificates": True,
    "staticPodPath": "/etc/kubernetes/manifests",
}
UNSAID: tuple[Any, ...] = ("", "0s", {}, [])
FOLLOWING = ("clusterDNS", "clusterDomain", "resolvConf")  # from other settings, or from the machine
FEATURES = {"audit_log": "audit-log-path", "encrypt_secrets": "encryption-provider-config"}
FEATURE_PATHS = {"audit_log": "/var/log/kubernetes/audit/", "encrypt_secrets": "/etc/kubernetes/encryption/"}


@dataclass(frozen=True)
class Live:
    """What the API server tells: its version, the nodes, daemon sets, kubeadm's records by name, Calico's pools."""

    version: str
    nodes: Sequence[Item]
    sets: Sequence[Item]
    records: Mapping[str, Mapping[str, str]]
    pools: Sequence[Item] = ()

    def record(self, name: str, key: str) -> dict[str, Any]:
        """Return one of kubeadm's records as a mapping, empty where there is none."""
        found = yaml.safe_load(self.records.get(name, {}).get(key, ""))
        return found if isinstance(found, dict) else {}


@dataclass
class Reach:
    """How SSH reaches the machines, as a cluster file's ``access`` says it."""

    user: str = "root"
    port: int = 22
    key: str | None = None
    known_hosts: str | None = None
    bastion: str | None = None

    def access(self) -> dict[str, Any]:
        """Return the section ``access`` without what is its default."""
        usual = Access().model_dump()
        return {name: value for name, value in vars(self).items() if value not in (None, usual.get(name))}


@dataclass
class _Draft:
    """A cluster file on its way."""

    live: Live
    imported: Imported = field(default_factory=Imported)


def look(kubeconfig: Path) -> Live:
    """Ask the API server; raise KubesmithError where it does not answer."""
    items = kube.get(kubeconfig, ["nodes,daemonsets", "--all-namespaces"])["items"]
    maps = kube.get(kubeconfig, ["configmaps", "--namespace=kube-system"])["items"]
    try:
        pools = kube.get(kubeconfig, ["ippools.crd.projectcalico.org"])["items"]
    except KubesmithError:  # no Calico, or one that keeps its objects elsewhere
        pools = []
    return Live(
        _version(kubeconfig),
        [item for item in items if item["kind"] == "Node"],
        [item for item in items if item["kind"] == "DaemonSet"],
        {row["metadata"]["name"]: row.get("data") or {} for row in maps if row["metadata"]["name"] in RECORDS},
        pools,
    )


def _version(kubeconfig: Path) -> str:
    command = [kube.binary(), "get", "--raw=/version", f"--request-timeout={kube.TIMEOUT}s"]
    done = subprocess.run(command, env=kube.environment(kubeconfig), capture_output=True, text=True, check=False)
    if done.returncode:
        raise KubesmithError(f"the API server does not answer: {kube.last_line(done.stderr)}")
    return str(json.loads(done.stdout)["gitVersion"]).removeprefix("v")


def describe(live: Live, reach: Reach, name: str = "") -> Imported:
    """Return the cluster file that a running cluster amounts to, and what became of each of its settings.

    ``name`` is the cluster's, kubeadm's own by default. Raises InputError for a cluster that kubeadm did not build, and
    for one that no cluster file can describe.
    """
    config = live.record("kubeadm-config", "ClusterConfiguration")
    if not config:
        raise InputError(
            "kubeadm did not build this cluster: kube-system has no ConfigMap kubeadm-config",
            fix="name the kubeconfig of a cluster that kubeadm init made",
        )
    draft = _Draft(live)
    data, found = draft.imported.data, draft.imported
    data["plugin"] = "kubesmith.cluster.spec"
    data["cluster"] = {"name": name or _name(config), "kubernetes": _known_version(live, found)}
    data["provider"] = "ssh"
    data["adopted"] = "keep"
    if reach.access():
        data["access"] = reach.access()
    data["nodes"] = [_node(item, found) for item in _ordered(live.nodes)]
    _endpoint(data, config, found)
    data["network"] = _network(live, config, found)
    _kubeadm(data, live, config, found)
    _features(data, live, config, found)
    return found


def _name(config: Item) -> str:
    text = re.sub(r"[^a-z0-9]+", "-", str(config.get("clusterName", "kubernetes")).lower()).strip("-")
    return text[:32].strip("-") or "kubernetes"


def _known_version(live: Live, found: Imported) -> str:
    """Return the version for the file: the cluster's own, or the one of its minor that this release builds."""
    minor = live.version.rsplit(".", 1)[0]
    known = [version for version in VERSIONS if version.rsplit(".", 1)[0] == minor]
    if not known:
        raise InputError(
            f"the cluster runs Kubernetes {live.version}; this release knows {', '.join(VERSIONS)}",
            fix="upgrade it to one of these minors first",
        )
    if known[-1] == live.version:
        found.kept.append(f"Kubernetes {live.version} → cluster.kubernetes")
    else:
        found.translated.append(f"Kubernetes {live.version} → cluster.kubernetes: {known[-1]}, the patch that is built")
    return known[-1]


def _ordered(nodes: Sequence[Item]) -> list[Item]:
    """Return the nodes, control planes first, the oldest first: kubeadm's first one has made the cluster."""
    return sorted(nodes, key=lambda n: (PLANE not in n["metadata"]["labels"], n["metadata"]["creationTimestamp"]))


def _node(item: Item, found: Imported) -> dict[str, Any]:
    name, labels = item["metadata"]["name"], item["metadata"].get("labels", {})
    node: dict[str, Any] = {"name": name}
    if PLANE in labels:
        node["role"] = "control-plane"
    addresses = [row["address"] for row in item["status"]["addresses"] if row["type"] == "InternalIP"]
    for address in addresses:
        node.setdefault("address6" if ":" in address else "address", address)
    own = {key: value for key, value in sorted(labels.items()) if not SYSTEM_LABEL.fullmatch(key)}
    taints = [_taint(row) for row in item["spec"].get("taints", ()) if not SYSTEM_TAINT.fullmatch(row["key"])]
    taints = [taint for taint in taints if taint != f"{PLANE}:NoSchedule"]
    node |= {key: value for key, value in (("labels", own), ("taints", taints)) if value}
    info = item["status"]["nodeInfo"]
    runtime = info["containerRuntimeVersion"].replace("://", " ")
    found.kept.append(f"{name}: {node.get('address')}, kubelet {info['kubeletVersion'][1:]}, {runtime}")
    if not info["containerRuntimeVersion"].startswith("containerd:"):
        found.ignored.append(f"{name} runs {info['containerRuntimeVersion']}: kubesmith knows containerd only")
    return node


def _taint(row: Item) -> str:
    value = f"={row['value']}" if row.get("value") else ""
    return f"{row['key']}{value}:{row['effect']}"


def _endpoint(data: dict[str, Any], config: Item, found: Imported) -> None:
    endpoint = str(config.get("controlPlaneEndpoint", ""))
    host, _colon, port = endpoint.rpartition(":") if re.search(r":\d+$", endpoint) else (endpoint, "", "6443")
    first = next((node.get("address") for node in data["nodes"] if node.get("role")), None)
    if host and host.strip("[]") != first:
        data["cluster"]["endpoint"] = host.strip("[]")
        found.kept.append(f"controlPlaneEndpoint: {endpoint} → cluster.endpoint")
    if port != "6443":
        found.ignored.append(f"controlPlaneEndpoint: {endpoint}: a cluster file's endpoint has the port 6443")


def _network(live: Live, config: Item, found: Imported) -> dict[str, Any]:
    networking = config.get("networking") or {}
    pools = [str(pool["spec"]["cidr"]) for pool in live.pools]
    network: dict[str, Any] = {
        "pods": networking.get("podSubnet") or ",".join(sorted(pools, key=lambda text: ":" in text)),
        "services": networking.get("serviceSubnet"),
        "dns_domain": networking.get("dnsDomain"),
    }
    network = {key: value for key, value in network.items() if value}
    found.kept += [f"{value} → network.{key}" for key, value in network.items()]
    mode = live.record("kube-proxy", "config.conf").get("mode") or "iptables"
    if mode in ("iptables", "nftables"):
        network["proxy"] = mode
        found.kept.append(f"kube-proxy's mode {mode} → network.proxy")
    else:
        network["proxy"] = "iptables"
        found.ignored.append(f"kube-proxy's mode {mode}: kubesmith knows nftables and iptables")
    if calico := _calico(live, found):
        network["calico"] = calico
    return network


def _calico(live: Live, found: Imported) -> dict[str, Any]:
    names = {item["metadata"]["name"]: item["metadata"]["namespace"] for item in live.sets}
    if "calico-node" not in names:
        others = ", ".join(sorted(set(names) - {"kube-proxy"})) or "none"
        found.ignored.append(f"the network plug-in is not Calico (daemon sets: {others}): Calico's checks will fail")
        return {}
    if names["calico-node"] != "kube-system":
        found.ignored.append(f"Calico runs in {names['calico-node']}: status and verify look for it in kube-system")
    calico: dict[str, Any] = {"encapsulation": encapsulation(live)}
    found.kept.append(f"Calico's encapsulation {calico['encapsulation']} → network.calico.encapsulation")
    for pool in live.pools:
        for mode in ("vxlanMode", "ipipMode"):
            if pool["spec"].get(mode) == "CrossSubnet":
                found.translated.append(f"{mode} CrossSubnet of {pool['spec']['cidr']} → {calico['encapsulation']}")
    mtu = str(live.records.get("calico-config", {}).get("veth_mtu", "0"))
    if mtu.isdigit() and int(mtu):
        calico["mtu"] = int(mtu)
        found.kept.append(f"veth_mtu: {mtu} → network.calico.mtu")
    return calico


def encapsulation(live: Live) -> str:
    """Return how Calico's pools, or where there is none its daemon set, carry packets: vxlan, ipip or none."""
    rows = [
        (str(pool["spec"].get("vxlanMode", "Never")), str(pool["spec"].get("ipipMode", "Never"))) for pool in live.pools
    ]
    for item in live.sets if not rows else ():
        if item["metadata"]["name"] == "calico-node":
            container = next(c for c in item["spec"]["template"]["spec"]["containers"] if c["name"] == "calico-node")
            env = {row["name"]: row.get("value", "") for row in container.get("env", ())}
            rows.append((env.get("CALICO_IPV4POOL_VXLAN", "Never"), env.get("CALICO_IPV4POOL_IPIP", "Never")))
    if any(vxlan not in ("Never", "") for vxlan, _ipip in rows):
        return "vxlan"
    return "ipip" if any(ipip not in ("Never", "", "Off") for _vxlan, ipip in rows) else "none"


def _kubeadm(data: dict[str, Any], live: Live, config: Item, found: Imported) -> None:
    kubeadm: dict[str, Any] = {}
    settings = wishes(live.record("kubelet-config", "kubelet"))
    wrong = {name: message for name, message, _hint in kubelet.problems(settings)}
    found.ignored += [f"the kubelets' {name}: {message}" for name, message in wrong.items()]
    if kept := {name: value for name, value in settings.items() if name not in wrong}:
        kubeadm["kubelet"] = kept
        found.kept += [f"the kubelets' {name}: {short(value)} → kubeadm.kubelet" for name, value in kept.items()]
    conntrack = live.record("kube-proxy", "config.conf").get("conntrack") or {}
    if said := {
        name: value for name, value in conntrack.items() if value is not None and value is not False and value != "0s"
    }:
        kubeadm["proxy"] = {"conntrack": said}
        found.kept.append(f"kube-proxy's conntrack {short(said)} → kubeadm.proxy")
    if names := (config.get("apiServer") or {}).get("certSANs"):
        kubeadm["cert_sans"] = [str(name) for name in names]
        found.kept.append(f"certSANs {', '.join(map(str, names))} → kubeadm.cert_sans")
    if kubeadm:
        data["kubeadm"] = kubeadm


def wishes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a kubelet-config holds beyond what kubeadm writes by itself."""
    rest = {}
    for name, value in config.items():
        usual = USUAL.get(name) == value or value is None or value in UNSAID or name in FOLLOWING
        quiet = name == "logging" and not value.get("verbosity") and value.get("format", "text") in ("", "text")
        if not usual and not quiet:
            rest[name] = value
    return rest


def _features(data: dict[str, Any], live: Live, config: Item, found: Imported) -> None:
    features: dict[str, bool] = {}
    rows = (config.get("apiServer") or {}).get("extraArgs") or []
    pairs = rows.items() if isinstance(rows, Mapping) else [(row["name"], row.get("value", "")) for row in rows]
    arguments = {str(name): str(value) for name, value in pairs}
    for feature, argument in FEATURES.items():
        if argument in arguments and arguments[argument].startswith(FEATURE_PATHS[feature]):
            features[feature] = True
        elif argument in arguments:
            found.ignored.append(f"the API server's --{argument}={arguments[argument]}: stays, and is not checked")
    if "audit_log" not in features:
        features["audit_log"] = False  # else the file would ask for it
        found.kept.append("no audit log where kubesmith has it → features.audit_log: false")
    known = {*FEATURES.values(), "audit-policy-file", "audit-log-maxsize", "audit-log-maxbackup"}
    found.ignored += [
        f"the API server's --{name}={value}: stays" for name, value in arguments.items() if name not in known
    ]
    planes = [item for item in live.nodes if PLANE in item["metadata"].get("labels", {})]
    taints = [[row["key"] for row in item["spec"].get("taints", ())] for item in planes]
    if planes and not any(PLANE in keys for keys in taints):
        features["schedule_control_planes"] = True
        found.kept.append("no control plane has its taint → features.schedule_control_planes")
    if features:
        data["features"] = features


def checked(found: Imported) -> None:
    """Hold a draft to the rules of every cluster file; raise InputError with what no cluster file may hold."""
    validated(found, Path("this cluster"))


def differences(wanted: Spec, live: Live) -> list[Notice]:
    """Return where a running cluster is not as its cluster file says: what ``up`` does not change on adopted nodes."""
    try:
        text = describe(live, Reach(), wanted.cluster.name).text()
        there = Spec.model_validate(yaml.safe_load(text))
    except (InputError, ValueError) as error:
        return [Notice("cluster", f"cannot be compared with the cluster file: {error}")]
    rows = [("cluster.kubernetes", wanted.cluster.kubernetes, live.version)]
    rows += [
        (name, _at(wanted, name), _at(there, name))
        for name in (
            *("cluster.endpoint", "network.pods", "network.services", "network.dns_domain", "network.proxy"),
            *("network.calico.encapsulation", "network.calico.mtu", "kubeadm.kubelet", "kubeadm.proxy"),
            *("kubeadm.cert_sans", "features"),
        )
    ]
    found = [
        Notice("cluster", f"{name} is {short(there)} in the cluster, {short(said)} in the cluster file")
        for name, said, there in rows
        if said != there
    ]
    return [*found, *_node_differences(wanted, there)]


def _at(spec: Spec, name: str) -> Any:
    value: Any = spec
    for part in name.split("."):
        value = getattr(value, part)
    return value.model_dump() if isinstance(value, spec_module.Part) else value


def _node_differences(wanted: Spec, there: Spec) -> Iterator[Notice]:
    said = {node.name: node for node in wanted.machines()}
    seen = {node.name: node for node in there.machines()}
    for name in [name for name in seen if name not in said]:
        yield Notice(name, "is a node of the cluster, and the cluster file does not have it")
    for name in [name for name in said if name not in seen]:
        yield Notice(name, "is in the cluster file, and no node of the cluster")
    for name in [name for name in said if name in seen]:
        for what in ("role", "address"):
            one, other = getattr(said[name], what), getattr(seen[name], what)
            if one != other:
                yield Notice(name, f"its {what} is {other} in the cluster, {one} in the cluster file")
