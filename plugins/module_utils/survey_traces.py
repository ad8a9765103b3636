# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What of a cluster is on a machine, and of which one. Reads; returns no key and no certificate, only digests."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils import kubeadm
from ansible_collections.kubesmith.cluster.plugins.module_utils.survey import text

DATA = re.compile(r"certificate-authority-data: (\S+)")
SERVER = re.compile(r"server: https://(\S+)")
PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)


def traces(root: str = "/") -> dict[str, Any]:
    """Return everything that a cluster left, each with what tells whose it is."""
    top = Path(root)
    etc = top / "etc/kubernetes"
    return {
        "member": kubeadm.membership(root),
        "control_plane": kubeadm.control_plane(root),
        "ca": pem_digest(text(etc / "pki/ca.crt")),
        "cluster": cluster_name(text(etc / "kubeadm.yml")),
        "confs": {path.name: conf(text(path)) for path in sorted(etc.glob("*.conf"))},
        "manifests": names(etc / "manifests"),
        "etcd": names(top / "var/lib/etcd"),
        "cni": names(top / "etc/cni/net.d"),
        "drivers": {
            "kubelet": setting(r"^cgroupDriver: (\S+)", text(top / "var/lib/kubelet/config.yaml")),
            "containerd": setting(r"^\s*SystemdCgroup = (\w+)", text(top / "etc/containerd/config.toml")),
        },
    }


def pem_digest(pem: str) -> str:
    """Return the hexadecimal sha256 of the first certificate, an empty string for none."""
    found = PEM.search(pem)
    return hashlib.sha256(base64.b64decode(found.group(1))).hexdigest() if found else ""


def conf(kubeconfig: str) -> dict[str, str]:
    """Return {ca, server} of a kubeconfig: the digest of its CA and host:port of its API server."""
    data = DATA.search(kubeconfig)
    pem = base64.b64decode(data.group(1)).decode(errors="replace") if data else ""
    return {"ca": pem_digest(pem), "server": setting(SERVER.pattern, kubeconfig)}


def cluster_name(kubeadm_yml: str) -> str:
    """Return the cluster's name in kubeadm's configuration, an empty string where there is none."""
    return setting(r'^"?clusterName"?: "?([^"\s]+)"?', kubeadm_yml)


def setting(pattern: str, content: str) -> str:
    """Return the first group of ``pattern`` in ``content``, an empty string where it is not."""
    found = re.search(pattern, content, re.MULTILINE)
    return found.group(1) if found else ""


def names(folder: Path) -> list[str]:
    """Return the names of what is in a folder, an empty list where there is none."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []
