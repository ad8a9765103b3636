# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The secret values that a node holds, so that they can be taken out of what leaves it."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils import redaction

MOST_BYTES = 65536  # of one file; what is larger is data, not a secret
KEYS = (
    "etc/kubernetes/**/*.key",
    "etc/kubernetes/**/*.pem",
    "var/lib/kubelet/pki/*",
    "etc/ssh/ssh_host_*_key",
    "root/.ssh/id_*",
    "etc/containerd/**/*.key",
    "etc/containerd/**/*.pem",
)
KUBECONFIGS = ("etc/kubernetes/*.conf", "root/.kube/config", "home/*/.kube/config", "var/lib/kubelet/kubeconfig")
LOGINS = (
    "etc/containerd/**/*.toml",
    "root/.docker/config.json",
    "var/lib/kubelet/config.json",
    "var/lib/kubelet/.dockercfg",
    "etc/crictl.yaml",
)
SETTINGS = (
    "etc/systemd/system/*.service",
    "etc/systemd/system/*.d/*.conf",
    "usr/local/lib/systemd/system/*.d/*.conf",
    "run/systemd/system/*.d/*.conf",
    "etc/default/*",
    "etc/environment",
    "etc/sysconfig/*",
    "var/lib/kubelet/kubeadm-flags.env",
    "etc/kubernetes/*.y*ml",
    "etc/kubernetes/enc*/*",
    "run/kubesmith-join.json",
)
MOUNTED = ("secret", "projected")  # kinds of volumes
# Keys of Secret objects and files of mounted ones that say nothing private, though they lie beside what does.
PUBLIC_KEYS = frozenset(("ca.crt", "tls.crt", "service-ca.crt", "namespace", "username", "user"))
# The encryption configuration names its keys "secret"; kubeconfigs and bootstrap files name theirs like this.
KUBECONFIG_VALUE = re.compile(r"^\s*(?:- )?(?:client-key-data|token|password):\s*[\"']?([^\s\"']+)", re.MULTILINE)


def values(root: str = "/") -> set[str]:
    """Return the secret values in the files and processes of a node."""
    found: set[str] = set()
    for text in texts(root, KEYS):
        found.update(redaction.pem_values(text))
    for text in texts(root, KUBECONFIGS):
        found.update(kubeconfig_values(text))
    for text in texts(root, LOGINS):
        found.update(redaction.basic_values(text), redaction.named_values(text))
    for text in texts(root, (*SETTINGS, *encryption_configs(root))):
        found.update(redaction.named_values(text), redaction.pem_values(text), redaction.basic_values(text))
    found.update(mounted_values(root))
    found.update(environment_values(root))
    return found


def texts(root: str, patterns: Iterable[str]) -> Iterator[str]:
    """Return the contents of the files that match, as far as they are text of a bearable size."""
    for pattern in patterns:
        for path in Path(root).glob(pattern):
            yield text(path)


def text(path: Path) -> str:
    """Return the content of a file, or nothing if it is large, no file, or not readable."""
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.stat().st_size <= MOST_BYTES else ""
    except OSError:
        return ""


def kubeconfig_values(config: str) -> list[str]:
    """Return keys, tokens and passwords of a kubeconfig; keys also as the PEM that they encode."""
    found = []
    for value in KUBECONFIG_VALUE.findall(config):
        found.append(value)
        try:
            found += redaction.pem_values(base64.b64decode(value, validate=True).decode())
        except (ValueError, UnicodeDecodeError):
            continue
    return found


def encryption_configs(root: str) -> list[str]:
    """Return, below the root, the files with secrets that the API server's flags name."""
    manifest = text(Path(root) / "etc/kubernetes/manifests/kube-apiserver.yaml")
    flags = r"--(?:encryption-provider-config|token-auth-file|oidc-[\w-]*secret[\w-]*)=/?(\S+)"
    return re.findall(flags, manifest)


def mounted_values(root: str) -> set[str]:
    """Return the content of Secret volumes and service account tokens of the pods on this node."""
    found: set[str] = set()
    for kind in MOUNTED:
        for path in Path(root).glob(f"var/lib/kubelet/pods/*/volumes/kubernetes.io~{kind}/*/*"):
            if path.name not in PUBLIC_KEYS and not path.name.startswith("..") and path.is_file():
                found.update(whole(text(path)))
    return found


def whole(value: str) -> set[str]:
    """Return a secret's value and the private parts inside it; nothing for a certificate."""
    if redaction.is_public(value.strip()):
        return set()
    return {value, *redaction.pem_values(value), *redaction.basic_values(value), *redaction.named_values(value)}


def environment_values(root: str) -> set[str]:
    """Return the values of variables with private names in the environment of each process."""
    found: set[str] = set()
    for path in Path(root).glob("proc/[0-9]*/environ"):
        try:
            rows = path.read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        found.update(value for row in rows for value in redaction.named_values(row))
    return found


def object_values(secrets: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the values of Secret objects (items of ``kubectl get secrets -o json``)."""
    found: set[str] = set()
    for secret in secrets:
        data = {key: decoded(value) for key, value in (secret.get("data") or {}).items()}
        if secret.get("type") == "bootstrap.kubernetes.io/token":
            found.add(data.get("token-secret", ""))
            continue
        found.update(part for key, value in data.items() if key not in PUBLIC_KEYS for part in whole(value))
    return found


def decoded(value: str) -> str:
    """Return the text of a base64 value; bytes that are no text come as they print."""
    return base64.b64decode(value).decode("utf-8", "replace")


def from_kubectl(output: str) -> set[str]:
    """Return the values of all Secrets in the output of ``kubectl get secrets -A -o json``."""
    return object_values(json.loads(output)["items"])
