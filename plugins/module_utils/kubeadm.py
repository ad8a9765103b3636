# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""How far kubeadm got on a node, read from what it leaves behind, and what its output says went wrong."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils import files
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, Result, journal, run

SANS = re.compile(r"^ +certSANs: *(?:\[\])?\n((?: +- .*\n)*)", re.MULTILINE)
TRIAL = "/run/kubesmith-kubeadm.yml"
ADMIN = "/etc/kubernetes/admin.conf"
SOCKET = "unix:///run/containerd/containerd.sock"
KUBELET_SETTINGS = "/etc/kubernetes/kubelet.conf.d"  # the kubelet merges its files (*.conf) over its configuration
OURS = "/usr/local/lib/systemd/system/"  # where the bundle's units are
ROTATED = "kubelet-client-current.pem"
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")

PKI = "/etc/kubernetes/pki"
#: What kubeadm wants to find before a further control plane joins.
SHARED = tuple(
    f"{PKI}/{name}"
    for name in (
        *("ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key", "sa.pub"),
        *("etcd/ca.crt", "etcd/ca.key"),
    )
)
ENCRYPTION = "/etc/kubernetes/encryption/config.yaml"
ETCD_DATA = Path("/var/lib/etcd")

OWN_LABELS = ("topology.kubernetes.io/region", "topology.kubernetes.io/zone")

ABSENT, PARTIAL, COMPLETE = "absent", "partial", "complete"


def program(name: str) -> str:
    """Return the path of a program: the bundle's, else (on a node that other hands set up) the one there is."""
    own = f"/usr/local/bin/{name}"
    found = shutil.which(name, path="/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin")
    return own if Path(own).exists() else found or own


KUBEADM = program("kubeadm")
KUBECTL = program("kubectl")


def membership(root: str = "/") -> str:
    """Return how far a node is a cluster member: absent, partial (kubeadm was stopped in the middle) or complete.

    The kubelet's own certificate is the proof. ``kubeadm init`` makes kubelet.conf point to it near its end, the
    kubelet itself writes kubelet.conf when a join's bootstrap succeeds, and kubeadm removes the bootstrap file last.
    """
    etc = Path(root) / "etc/kubernetes"
    conf = _text(etc / "kubelet.conf")
    certificate = Path(root) / "var/lib/kubelet/pki" / ROTATED
    if ROTATED in conf and certificate.exists() and not (etc / "bootstrap-kubelet.conf").exists():
        return COMPLETE
    leftovers = [etc / "bootstrap-kubelet.conf", etc / "pki/ca.crt", etc / "admin.conf", etc / "pki/etcd"]
    leftovers += [Path(root) / "var/lib/kubelet/config.yaml", Path(root) / "var/lib/etcd/member"]
    return PARTIAL if conf or static_pods(root) or any(path.exists() for path in leftovers) else ABSENT


def static_pods(root: str = "/") -> list[str]:
    """Return the names of the control plane's static pod manifests on a node."""
    folder = Path(root) / "etc/kubernetes/manifests"
    return [name for name in CONTROL_PLANE if (folder / f"{name}.yaml").exists()]


def control_plane(root: str = "/") -> str:
    """Return how far a node is a control plane: absent, partial or complete."""
    found = static_pods(root)
    if not found:
        return ABSENT
    whole = set(found) >= {"kube-apiserver", "kube-controller-manager", "kube-scheduler"}
    admin = (Path(root) / "etc/kubernetes/admin.conf").exists()
    return COMPLETE if whole and admin and membership(root) == COMPLETE else PARTIAL


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def kubectl(*args: str, timeout: float = 30) -> Result:
    """Run kubectl as the cluster's administrator on a control plane; return its Result."""
    return run([KUBECTL, "--kubeconfig", ADMIN, *args], timeout=timeout)


def authority(root: str = "/") -> dict[str, str]:
    """Return {path: content} of what the control planes of a cluster share: their CAs' keys and certificates.

    The key by which secrets are encrypted in etcd is one of them. FileNotFoundError on a host that lacks one.
    """
    found = {path: (Path(root) / path.lstrip("/")).read_text(encoding="ascii") for path in SHARED}
    encryption = _text(Path(root) / ENCRYPTION.lstrip("/"))
    return {**found, **({ENCRYPTION: encryption} if encryption else {})}


def write_authority(wanted: Mapping[str, str]) -> None:
    """Write what ``authority`` returned, keys with mode 0600; any other path is refused."""
    if strange := sorted(set(wanted) - {*SHARED, ENCRYPTION}):
        raise CommandError(f"no file that control planes share: {', '.join(strange)}")
    for path, text in wanted.items():
        Path(path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        files.put(path, text, 0o644 if path.endswith((".crt", ".pub")) else 0o600)
    if ENCRYPTION in wanted:
        Path(ENCRYPTION).parent.chmod(0o700)


def close_etcd() -> None:
    """Make etcd's folder private: kubeadm leaves alone one that is there, such as a mount point."""
    if ETCD_DATA.is_dir():
        ETCD_DATA.chmod(0o700)


def validate(config: str, path: str, check_mode: bool) -> None:
    """Write the configuration to ``path`` once kubeadm finds it valid; CommandError with its words if it does not."""
    files.put(TRIAL, config, 0o600)
    try:
        result = run([KUBEADM, "config", "validate", "--config", TRIAL], timeout=60)
        if result.rc != 0 and not (check_mode and result.rc == 127):
            raise CommandError(f"kubeadm's configuration is not valid: {first_error(result.said)}")
        if not check_mode:
            files.put(path, config, 0o600)
    finally:
        files.remove(TRIAL)


def without_addresses(old: str, new: str, addresses: Collection[str]) -> str:
    """Return ``old`` with the certSANs of ``new``, if the two differ there in addresses of control planes only.

    ``addresses`` are those of the control planes in ``new``; any other IPv4 address in ``old`` was one.
    """
    found = [SANS.search(text) for text in (old, new)]
    if not (found[0] and found[1]):
        return old
    olds, news = (re.findall(r"^\s*- (.*)$", match.group(1), re.MULTILINE) for match in found if match)
    kept = [name for name in news if name not in addresses]
    others = [name for name in olds if name in kept or not re.fullmatch(r"[0-9]+(\.[0-9]+){3}", name)]
    return old.replace(found[0].group(0), found[1].group(0), 1) if others == kept else old


def reset(timeout: float = 180) -> Result:
    """Undo what an interrupted kubeadm left on this node; return kubeadm's Result."""
    return run([KUBEADM, "reset", "--force", "--cleanup-tmp-dir", f"--cri-socket={SOCKET}"], timeout=timeout)


def first_error(said: str) -> str:
    """Return the first thing that kubeadm called an error: what follows it is mostly a consequence.

    Preflight errors come together, one line each: all of them are returned.
    """
    lines = [line.strip() for line in said.splitlines()]
    preflight = [line for line in lines if line.startswith("[ERROR ")]
    if preflight:
        return "\n".join(preflight)
    for line in lines:
        if re.match(r"(error|fatal|panic)\b", line, re.IGNORECASE) or re.match(r"E\d{4} ", line):
            return line
    return last_line(said)


def last_line(said: str) -> str:
    """Return the last line that is not empty, or "no output"."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def explain(what: str, result: Result) -> str:
    """Return a failure's message: what failed, kubeadm's first error, the end of its output, the kubelet's journal."""
    cause = f"killed by signal {-result.rc}" if result.rc < 0 else first_error(result.said)
    plain = [line for line in result.said.splitlines() if "\x1b[" not in line]  # coloured: a list of kernel options
    text = f"{what}: {cause}\n--- kubeadm said last:\n" + "\n".join(plain[-20:])
    tail = journal("kubelet", 20)
    return text if tail.startswith("-- No entries") else f"{text}\n--- the kubelet's journal ends with:\n{tail}"


def redact(text: str, *secrets: str) -> str:
    """Return ``text`` with each secret replaced."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "<redacted>")
    return text


def write_patches(folder: Path, patches: Mapping[str, Any]) -> None:
    """Write the patches, and remove any other file that kubeadm would take for one."""
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    wanted = {folder / f"{name}.json": json.dumps(patch, indent=2) + "\n" for name, patch in patches.items()}
    for path, text in wanted.items():
        files.put(path, text, 0o600)
    for path in set(folder.iterdir()) - set(wanted):
        path.unlink()


def registration(
    name: str,
    address: str,
    labels: Mapping[str, str],
    taints: Sequence[str],
    ignore: Sequence[str],
    extra_args: Mapping[str, Any],
) -> dict[str, Any]:
    """Return a v1beta4 nodeRegistration.

    ``labels`` is {key: value}, ``taints`` a list of ``key=value:Effect``. The kubelet may not label itself with
    node-role.kubernetes.io and other reserved keys: those are left out here, see kube_nodes.
    """
    arguments = [{"name": "node-ip", "value": address}] if address else []
    arguments.append({"name": "config-dir", "value": KUBELET_SETTINGS})
    own = ",".join(f"{key}={value}" for key, value in sorted(labels.items()) if may_label_itself(key))
    if own:
        arguments.append({"name": "node-labels", "value": own})
    arguments += [{"name": key, "value": str(value)} for key, value in sorted(extra_args.items())]
    wanted: dict[str, Any] = {
        "name": name,
        "criSocket": SOCKET,
        "imagePullPolicy": "Never",  # the bundle's images are imported, and no registry serves them
        "kubeletExtraArgs": arguments,
        "taints": [parse_taint(taint) for taint in taints],
    }
    if ignore:
        wanted["ignorePreflightErrors"] = list(ignore)
    return wanted


def may_label_itself(key: str) -> bool:
    """Tell whether a kubelet may set this label on its own node (admission plugin NodeRestriction)."""
    prefix = key.rpartition("/")[0]
    if key in OWN_LABELS or re.search(r"(^|\.)(kubelet|node)\.kubernetes\.io$", prefix):
        return True
    return not re.search(r"(^|\.)(kubernetes|k8s)\.io$", prefix)


def parse_taint(text: str) -> dict[str, str]:
    """Return {key, value, effect} of ``key=value:Effect`` or ``key:Effect``."""
    pair, _colon, effect = text.rpartition(":")
    key, _sign, value = pair.partition("=")
    taint = {"key": key, "effect": effect}
    return dict(taint, value=value) if value else taint
