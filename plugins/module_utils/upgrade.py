# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What an upgrade looks at on a node and in its cluster. Reads, never writes."""

from __future__ import annotations

import json
import os
import re
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils import drain, images, kubeadm, node, workloads
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import Api, listed
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import run

MANIFESTS = "etc/kubernetes/manifests"
SAVED = "/var/lib/kubesmith/upgrade"  # what rollback needs: see the module node_rollback
DISKS = ("/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd", "/usr/local/bin")
CERTIFICATES = ("etc/kubernetes/pki/*.crt", "etc/kubernetes/pki/etcd/*.crt")
ETCD_PKI = "/etc/kubernetes/pki/etcd"
ETCDCTL = (
    "/usr/local/bin/etcdctl",
    f"--cacert={ETCD_PKI}/ca.crt",
    f"--cert={ETCD_PKI}/healthcheck-client.crt",
    f"--key={ETCD_PKI}/healthcheck-client.key",
)
ETCD = "https://127.0.0.1:2379"
#: The workloads of an add-on, and whose image's tag is its version.
ADDONS = {
    "coredns": "deployments/coredns",
    "kube-proxy": "daemonsets/kube-proxy",
    "calico": "daemonsets/calico-node",
}
Row = dict[str, Any]


def numbers(version: str) -> tuple[int, int, int]:
    """Return (major, minor, patch) of ``1.37.2`` or ``v1.37.2``; ValueError for anything else."""
    found = re.fullmatch(r"v?(\d{1,4})\.(\d{1,4})\.(\d{1,4})([-+].*)?", version)
    if not found:
        raise ValueError(f"{version!r} is not a version such as 1.37.2")
    return int(found[1]), int(found[2]), int(found[3])


def tag(reference: str) -> str:
    """Return the tag of an image reference, "" if it has none."""
    return reference.rpartition("/")[2].partition("@")[0].partition(":")[2]


def image_of(manifest: str) -> str:
    """Return the image of a static pod's manifest, as kubeadm writes it; "" if it names none."""
    found = re.search(r"^\s*(?:- )?image:\s*[\"']?([^\s\"']+)", manifest, re.MULTILINE)
    return found.group(1) if found else ""


def static_images(root: str = "/") -> dict[str, str]:
    """Return {component: image} of this node's static pods."""
    folder = Path(root) / MANIFESTS
    return {name: image_of((folder / f"{name}.yaml").read_text()) for name in kubeadm.static_pods(root)}


def survey() -> Row:
    """Return the state of this node: versions, static pods, images, disk, certificates, what an upgrade left."""
    listing = run([images_ctr(), "--namespace", "k8s.io", "images", "ls"], timeout=60)
    return {
        "member": kubeadm.membership(),
        "control_plane": kubeadm.control_plane(),
        "versions": {name: node.version(args) for name, args in node.VERSION_COMMANDS.items()},
        "static": static_images(),
        "services": {name: node.service(name) for name in ("containerd", "kubelet")},
        "images": images.parse_images(listing.out)[0] if listing.rc == 0 else {},
        "disk": [disk(path) for path in DISKS if Path(path).is_dir()],
        "certificates": certificates(),
        "saved": saved(),
        "time": time.time(),
    }


def images_ctr() -> str:
    """Return where ctr is."""
    return "/usr/local/bin/ctr"


def disk(path: str) -> Row:
    """Return the free MiB at ``path``, and which file system it is."""
    status = os.statvfs(path)
    return {"path": path, "free": status.f_bavail * status.f_frsize >> 20, "device": Path(path).stat().st_dev}


def certificates(root: str = "/") -> list[Row]:
    """Return {path, ends} of each certificate of the control plane here; ``ends`` is seconds since the epoch."""
    paths = sorted(path for pattern in CERTIFICATES for path in Path(root).glob(pattern))
    return [{"path": f"/{path.relative_to(root)}", "ends": ends(path)} for path in paths]


def ends(path: Path) -> float:
    """Return when a certificate ends, in seconds since the epoch; 0 where the file holds none."""
    decode = ssl._ssl._test_decode_cert  # type: ignore[attr-defined]
    try:
        return float(ssl.cert_time_to_seconds(decode(str(path))["notAfter"]))
    except (ssl.SSLError, OSError, KeyError, ValueError):
        return 0.0


def saved(folder: str = SAVED) -> str:
    """Return from which version an upgrade that was not finished began, "" if there is none."""
    found = sorted(path.name for path in Path(folder).glob("[0-9]*.[0-9]*.[0-9]*") if path.is_dir())
    return found[0] if found else ""


def local_server() -> str:
    """Return host:port of this control plane's own API server, "" where its kubeconfigs do not tell.

    admin.conf names the endpoint of all control planes, the scheduler's kubeconfig the one of this node.
    """
    try:
        text = Path("/etc/kubernetes/scheduler.conf").read_text()
    except OSError:
        return ""
    found = re.search(r"^\s+server:\s*https://(\S+)", text, re.MULTILINE)
    return found.group(1) if found else ""


def cluster() -> Row:
    """Return the cluster as this control plane sees it; ApiError if its API server does not answer."""
    api = Api(server=local_server())
    pods = api.get("/api/v1/pods")["items"]
    budgets = api.get("/apis/policy/v1/poddisruptionbudgets")["items"]
    config = (api.find("/api/v1/namespaces/kube-system/configmaps/kubeadm-config") or {}).get("data", {})
    items = api.get("/api/v1/nodes")["items"]
    nodes = [node_row(item) for item in items]
    elsewhere = sum(map(drain.takes_pods, items)) > 1
    return {
        "version": api.get("/version")["gitVersion"].removeprefix("v"),
        "configured": setting(config.get("ClusterConfiguration", ""), "kubernetesVersion").removeprefix("v"),
        "nodes": nodes,
        "undrainable": drain.undrainable(budgets, pods, elsewhere),
        "lost": lost(pods),
        "deprecated": deprecated(str(api.get("/metrics"))),
        "etcd": etcd_problems(),
        "unready": system_unready(api, pods),
        "addons": addons(api),
    }


def setting(text: str, key: str) -> str:
    """Return a top-level setting of kubeadm's own YAML, "" if it is not there."""
    found = re.search(rf"^{key}:\s*(\S+)\s*$", text, re.MULTILINE)
    return found.group(1) if found else ""


def node_row(item: Mapping[str, Any]) -> Row:
    """Return what an upgrade wants to know of a node object."""
    condition = workloads.ready_condition(dict(item))
    return {
        "name": item["metadata"]["name"],
        "kubelet": item["status"]["nodeInfo"]["kubeletVersion"].removeprefix("v"),
        "ready": condition.get("status") == "True",
        "message": condition.get("message", "its kubelet has not reported yet"),
        "cordoned": bool(item["spec"].get("unschedulable")),
        "ours": drain.CORDONED in item["metadata"].get("annotations", {}),
    }


def lost(pods: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return {node: pods that nothing would make anew elsewhere}."""
    by_node: dict[str, list[Mapping[str, Any]]] = {}
    for pod in pods:
        by_node.setdefault(str(pod["spec"].get("nodeName", "")), []).append(pod)
    found = {name: drain.lost(rows) for name, rows in by_node.items() if name}
    return {name: names for name, names in found.items() if names}


def deprecated(metrics: str) -> list[Row]:
    """Return which deprecated APIs were asked for since this API server started, out of its metrics."""
    found = []
    for line in metrics.splitlines():
        if line.startswith("apiserver_requested_deprecated_apis{") and not line.endswith(" 0"):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            api = f"{labels.get('group')}/{labels.get('version')}".lstrip("/")
            resource = "/".join(part for part in (labels.get("resource", ""), labels.get("subresource", "")) if part)
            found.append({"api": api, "resource": resource, "removed": labels.get("removed_release", "")})
    return found


def etcd_problems() -> list[str]:
    """Return what is wrong with etcd's members, none where it is not run by static pods here."""
    if "etcd" not in kubeadm.static_pods():
        return []
    said = run([*ETCDCTL, f"--endpoints={ETCD}", "endpoint", "health", "--cluster", "--write-out=json"], timeout=60)
    try:
        rows = json.loads(said.out)
    except ValueError:
        return [said.said.splitlines()[-1] if said.said else "etcdctl said nothing"]
    return [f"{row['endpoint']}: {row.get('error', 'not healthy')}" for row in rows if not row.get("health")]


def system_unready(api: Api, pods: Sequence[Row]) -> list[str]:
    """Return what of the system's own workloads is not ready."""
    folder = "/apis/apps/v1/namespaces/kube-system"
    objects = [item for kind in ("daemonsets", "deployments") for item in listed(api.get(f"{folder}/{kind}"))]
    return workloads.unready([*objects, *({**pod, "kind": "Pod"} for pod in pods)], [], ["kube-system"])


def addons(api: Api) -> dict[str, str]:
    """Return the version of each add-on that the cluster has, by the tag of its image."""
    found = {}
    for name, path in ADDONS.items():
        item = api.find(f"/apis/apps/v1/namespaces/kube-system/{path}")
        if item:
            found[name] = tag(item["spec"]["template"]["spec"]["containers"][0]["image"]).removeprefix("v")
    return found
