# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Which certificates a node has, which program works with each, and which one it really shows. No key is read out."""

from __future__ import annotations

import base64
import glob
import hashlib
import os
import re
import socket
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kubesmith.cluster.plugins.module_utils import files

PKI = "/etc/kubernetes/pki"
MANIFESTS = "/etc/kubernetes/manifests"
PEM = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
FILES = (f"{PKI}/*.crt", f"{PKI}/etcd/*.crt", "/etc/kubernetes/*.conf", "/var/lib/kubelet/pki/*.crt")
KUBELET = ("/var/lib/kubelet/pki/kubelet-client-current.pem", "/var/lib/kubelet/pki/kubelet-server-current.pem")
#: The programs that read a file when they start, or again when it changes.
USERS = {
    f"{PKI}/apiserver.crt": "kube-apiserver",
    f"{PKI}/apiserver-etcd-client.crt": "kube-apiserver",
    f"{PKI}/apiserver-kubelet-client.crt": "kube-apiserver",
    f"{PKI}/front-proxy-client.crt": "kube-apiserver",
    f"{PKI}/etcd/server.crt": "etcd",
    f"{PKI}/etcd/peer.crt": "etcd",
    "/etc/kubernetes/controller-manager.conf": "kube-controller-manager",
    "/etc/kubernetes/scheduler.conf": "kube-scheduler",
    "/etc/kubernetes/kubelet.conf": "kubelet",
    "/var/lib/kubelet/pki/kubelet.crt": "kubelet",
    **dict.fromkeys(KUBELET, "kubelet"),
}
# The kubelet writes these itself while it runs, and works with them at once.
RELOADED = frozenset((*KUBELET, "/etc/kubernetes/kubelet.conf"))
SECONDS = 5
Row = dict[str, Any]


def rows() -> list[Row]:
    """Return {path, pem, user, current, served} of every certificate; a kubeconfig's is the one of its client.

    ``served`` is the certificate that the program shows in a TLS handshake, as PEM, ``current`` whether the program
    works with the one in the file. Both are None where nothing tells.
    """
    started = {name: start_of(name) for name in set(USERS.values())}
    return [row(path, pem, started) for path, pem in found().items()]


def found() -> dict[str, str]:
    """Return {path: PEM of the first certificate}."""
    paths = sorted({path for pattern in (*FILES, *KUBELET) for path in glob.glob(pattern)})  # noqa: PTH207
    content = {path: certificate(path) for path in paths}
    return {path: pem for path, pem in content.items() if pem}


def certificate(path: str) -> str:
    """Return the first certificate of a PEM file, or of a kubeconfig's client; an empty string for none."""
    text = files.read(path) or ""
    embedded = re.search(r"client-certificate-data: (\S+)", text)
    named = re.search(r"client-certificate: (\S+)", text)
    if embedded:
        text = base64.b64decode(embedded.group(1)).decode(errors="replace")
    elif named:
        text = files.read(named.group(1)) or ""
    first = PEM.search(text)
    return first.group(0) if first else ""


def row(path: str, pem: str, started: Mapping[str, Optional[float]]) -> Row:
    """Return the row of one certificate."""
    user = USERS.get(path, "")
    start = started.get(user)
    if not user or start is None:
        return {"path": path, "pem": pem, "user": user, "current": False if user else None, "served": None}
    at = endpoint(path)
    if at:
        served = handshake(*at)
        return {"path": path, "pem": pem, "user": user, "current": bool(served) and same(served, pem), "served": served}
    current = path in RELOADED or start >= Path(path).stat().st_mtime
    return {"path": path, "pem": pem, "user": user, "current": current, "served": None}


def endpoint(path: str) -> Optional[tuple[str, int]]:
    """Return host and port where the certificate of a file is shown; None for those of clients."""
    if path == f"{PKI}/apiserver.crt":
        return "127.0.0.1", int(flag("kube-apiserver", r"--secure-port=(\d+)") or 6443)
    if path == f"{PKI}/etcd/server.crt":
        return "127.0.0.1", 2379
    if path == f"{PKI}/etcd/peer.crt":
        found = flag("etcd", r"--listen-peer-urls=https://([^\s,]+)")
        host, _colon, port = (found or "127.0.0.1:2380").rpartition(":")
        return host.strip("[]"), int(port)
    if path == KUBELET[1] or (path == "/var/lib/kubelet/pki/kubelet.crt" and not Path(KUBELET[1]).exists()):
        return "127.0.0.1", 10250
    return None


def flag(pod: str, pattern: str) -> str:
    """Return the first group of a pattern in a static pod's manifest, an empty string where it is not."""
    seen = re.search(pattern, files.read(f"{MANIFESTS}/{pod}.yaml") or "")
    return seen.group(1) if seen else ""


def handshake(host: str, port: int) -> str:
    """Return the certificate that a server shows, as PEM; an empty string where none answers.

    Nothing is sent and nothing is trusted: what is asked is only what it shows.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), SECONDS) as plain, context.wrap_socket(plain) as secured:
            shown = secured.getpeercert(binary_form=True)
    except OSError:
        return ""
    return ssl.DER_cert_to_PEM_cert(shown).strip() if shown else ""


def same(one: str, other: str) -> bool:
    """Tell whether two PEM texts are the same certificate."""
    return digest(one) == digest(other)


def digest(pem: str) -> str:
    """Return the SHA-256 of a certificate, in hexadecimal."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.strip())).hexdigest()


def processes(name: str) -> list[int]:
    """Return the processes of a program of this node: the kubelet, or what runs in a pod of this node's own."""
    return sorted(int(path.name) for path in Path("/proc").glob("[0-9]*") if _is(path, name))


def _is(process: Path, name: str) -> bool:
    try:
        words = (process / "cmdline").read_bytes().split(b"\0")
        group = (process / "cgroup").read_text(encoding="utf-8")
    except OSError:  # it ended meanwhile
        return False
    # A machine may have a lab's nodes as containers: their pods are below another group than ours.
    return Path(os.fsdecode(words[0])).name == name and (name == "kubelet" or ":/kubepods" in group)


def start_of(name: str) -> Optional[float]:
    """Return when the youngest process of a program started, in seconds since the epoch; None if none runs."""
    ages = [age for pid in processes(name) for age in [_started(pid)] if age is not None]
    return max(ages) if ages else None


def _started(pid: int) -> Optional[float]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    ticks = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks
