# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""New CAs for a cluster that runs, in stages: trust both, issue by the new ones, drop the old; or the way back.

What stands in a CA's file decides. Its first certificate signs, every one in it is trusted; the pairs are kept in
``pki/rotation/old`` and ``new`` on each control plane until the old ones are dropped.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible_collections.kubesmith.cluster.plugins.module_utils import files, kubeadm, renewal, served, written
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import MERGE, Api, ApiError
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, must, run

PKI = Path(served.PKI)
KEPT = PKI / "rotation"
SIGNING = PKI / "signing.crt"
PAIRS = {"ca": "ca", "front-proxy-ca": "front-proxy-ca", "etcd/ca": "etcd-ca"}  # name: kubeadm's phase
CONFIG = "/etc/kubernetes/kubeadm.yml"
MANAGER = Path(served.MANIFESTS) / "kube-controller-manager.yaml"
CONFS = ("admin", "super-admin", "controller-manager", "scheduler", "kubelet")
DATA = re.compile(r"(certificate-authority-data: )(\S+)")
#: What a CA's file holds at each stage, the signing one first.
STAGES = {"trust": ("old", "new"), "issue": ("new", "old"), "drop": ("new",), "back": ("old",)}
WORKLOADS = ("daemonsets", "deployments")
SYSTEM = "/apis/apps/v1/namespaces/kube-system"
RESTARTED = "kubesmith.io/restarted"


def certificates(text: str) -> list[str]:
    """Return the certificates of a PEM text, each with its line end."""
    return [found.group(0) + "\n" for found in served.PEM.finditer(text)]


def stage() -> str:
    """Return how far a rotation is on this control plane: none, trust, issue or drop."""
    now = certificates(files.read(PKI / "ca.crt") or "")
    if not (KEPT / "new/ca.crt").exists():
        return "none"
    for name in ("issue", "trust", "drop"):
        if now == [certificate(version, "ca") for version in STAGES[name]]:
            return name
    return "none"


def certificate(version: str, name: str) -> str:
    """Return a kept CA's own certificate."""
    return certificates(files.read(KEPT / version / f"{name}.crt") or "")[0]


def begin() -> None:
    """Keep the present CAs and have kubeadm make new ones beside them; those that are there stay."""
    if (KEPT / "new/ca.crt").exists():
        return
    shutil.rmtree(KEPT, ignore_errors=True)
    work = PKI / ".rotation"
    shutil.rmtree(work, ignore_errors=True)
    for name, phase in PAIRS.items():
        for suffix, mode in (("crt", 0o644), ("key", 0o600)):
            text = files.read(PKI / f"{name}.{suffix}")
            if text is None:
                raise CommandError(f"{PKI}/{name}.{suffix} is not here: who keeps the CA's key must rotate it")
            files.put(work / "old" / f"{name}.{suffix}", text, mode)
        command = [kubeadm.KUBEADM, "init", "phase", "certs", phase, "--config", CONFIG]
        must([*command, f"--cert-dir={work / 'new'}"], timeout=60)
    work.chmod(0o700)
    work.replace(KEPT)


def share() -> dict[str, str]:
    """Return {path: base64} of the kept pairs, for the other control planes."""
    found = [path for path in sorted(KEPT.rglob("*")) if path.is_file()]
    return {str(path.relative_to(KEPT)): base64.b64encode(path.read_bytes()).decode() for path in found}


def take(pairs: Mapping[str, str]) -> None:
    """Keep the pairs that another control plane shared."""
    for name, text in pairs.items():
        if not re.fullmatch(r"(old|new)/(etcd/)?(front-proxy-)?ca\.(crt|key)", name):
            raise CommandError(f"{name[:100]!r} is no part of a CA")
        mode = 0o600 if name.endswith(".key") else 0o644
        files.put(KEPT / name, base64.b64decode(text).decode("ascii"), mode)
    KEPT.chmod(0o700)


def put(wanted: str) -> list[str]:
    """Bring the CAs' files, kubeconfigs and the controller manager to a stage; return the files that changed."""
    order = STAGES[wanted]
    changed = []
    for name in PAIRS:
        texts = {"crt": "".join(certificate(version, name) for version in order)}
        texts["key"] = files.read(KEPT / order[0] / f"{name}.key") or ""
        # The key first: kubeadm refuses a certificate whose key is another one.
        for suffix, mode in (("key", 0o600), ("crt", 0o644)):
            changed += _write(PKI / f"{name}.{suffix}", texts[suffix], mode)
    changed += trust("".join(certificate(version, "ca") for version in order))
    return changed + _signing(order)


def _signing(order: Sequence[str]) -> list[str]:
    """Have the controller manager sign by one certificate: it refuses a file with two."""
    manifest = files.read(MANAGER) or ""
    path = str(SIGNING) if len(order) > 1 else f"{PKI}/ca.crt"
    changed = _write(SIGNING, certificate(order[0], "ca"), 0o644) if len(order) > 1 else []
    text = re.sub(r"(--cluster-signing-cert-file=)\S+", rf"\g<1>{path}", manifest)
    with written.ours(str(MANAGER)):
        changed += _write(MANAGER, text, files.mode_of(MANAGER) or 0o600)
    if len(order) == 1:
        files.remove(SIGNING)
    return changed


def trust(bundle: str) -> list[str]:
    """Have this node's kubelet and kubeconfigs trust the CAs in ``bundle``; return the files that changed."""
    changed = _write(PKI / "ca.crt", bundle, 0o644)
    data = base64.b64encode(bundle.encode()).decode()
    for name in CONFS:
        path = Path(f"/etc/kubernetes/{name}.conf")
        text = files.read(path)
        if text is not None:
            changed += _write(path, DATA.sub(rf"\g<1>{data}", text), 0o600)
    return changed


def _write(path: Path, text: str, mode: int) -> list[str]:
    if files.read(path) == text:
        return []
    files.put(path, text, mode)
    return [str(path)]


def restart(timeout: float) -> None:
    """Start the control plane's programs anew, one after the other, each once the one before it answers."""
    for name in renewal.ORDER:
        if name not in kubeadm.static_pods():
            continue
        began = time.time()
        for pid in served.processes(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        ends = time.monotonic() + timeout
        while (served.start_of(name) or 0) < began - 1 or not renewal.answers(name):
            if time.monotonic() > ends:
                raise CommandError(f"{name} does not answer {timeout:g} s after it was started with the CAs in place")
            time.sleep(0.5)


def restart_kubelet(timeout: float) -> None:
    """Start the kubelet anew and wait until it answers."""
    must(["systemctl", "restart", "kubelet"], timeout=timeout)
    ends = time.monotonic() + timeout
    while run(["systemctl", "is-active", "kubelet"], timeout=30).rc != 0:
        if time.monotonic() > ends:
            raise CommandError(f"the kubelet does not run {timeout:g} s after its start")
        time.sleep(0.5)


def publish(timeout: float) -> None:
    """Tell who joins, and every pod, of the CAs that are trusted; then have the system's pods start with them."""
    bundle = files.read(PKI / "ca.crt") or ""
    api = Api()
    path = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
    info = api.find(path)
    if info:
        data = base64.b64encode(bundle.encode()).decode()
        text = DATA.sub(rf"\g<1>{data}", info["data"]["kubeconfig"])
        api.request("PATCH", path, {"data": {"kubeconfig": text}}, MERGE)
    ends = time.monotonic() + timeout
    while not _published(api, bundle):
        if time.monotonic() > ends:
            raise CommandError(f"kube-root-ca.crt is not everywhere what is trusted {timeout:g} s after the change")
        time.sleep(1)
    _restart_workloads(api, ends)


def _published(api: Api, bundle: str) -> bool:
    """Tell whether the controller manager has given every namespace the CAs."""
    selector = "fieldSelector=metadata.name%3Dkube-root-ca.crt"
    try:
        items = api.get(f"/api/v1/configmaps?{selector}")["items"]
    except ApiError:
        return False
    return bool(items) and all(item["data"].get("ca.crt", "").strip() == bundle.strip() for item in items)


def _restart_workloads(api: Api, ends: float) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    patch = {"spec": {"template": {"metadata": {"annotations": {RESTARTED: stamp}}}}}
    names = [(kind, item["metadata"]["name"]) for kind in WORKLOADS for item in api.get(f"{SYSTEM}/{kind}")["items"]]
    for kind, name in names:
        api.request("PATCH", f"{SYSTEM}/{kind}/{name}", patch, MERGE)
    waiting = names
    while waiting := [row for row in waiting if not _rolled_out(api, *row)]:
        if time.monotonic() > ends:
            raise CommandError(f"not started anew: {', '.join('/'.join(row) for row in waiting)}")
        time.sleep(1)


def _rolled_out(api: Api, kind: str, name: str) -> bool:
    try:
        item = api.get(f"{SYSTEM}/{kind}/{name}")
    except ApiError:
        return False
    status = item.get("status", {})
    if status.get("observedGeneration", 0) < item["metadata"]["generation"]:
        return False
    if kind == "daemonsets":
        wanted = status.get("desiredNumberScheduled", 0)
        return bool(status.get("updatedNumberScheduled", 0) == wanted == status.get("numberAvailable", 0))
    wanted = item["spec"]["replicas"]
    counts = [status.get(key, 0) for key in ("updatedReplicas", "availableReplicas", "replicas")]
    return counts == [wanted] * 3


BOOTSTRAP = Path("/etc/kubernetes/bootstrap-kubelet.conf")
KUBELET = Path("/etc/kubernetes/kubelet.conf")
CLIENT = Path("/var/lib/kubelet/pki/kubelet-client-current.pem")
SERVER = Path(served.KUBELET[1])  # of a kubelet whose serving certificate the CA signs
ASIDE = ".kubesmith-old"
BOOTSTRAP_CONF = """\
apiVersion: v1
kind: Config
clusters:
- name: kubernetes
  cluster:
    certificate-authority-data: {data}
    server: {server}
contexts:
- name: bootstrap
  context: {{cluster: kubernetes, user: bootstrap}}
current-context: bootstrap
users:
- name: bootstrap
  user: {{token: {token}}}
"""


def reissue_kubelet(token: str, timeout: float) -> None:
    """Have the kubelet ask for new certificates, as when it joined; its client's comes back if it gets none.

    The one that it shows, where the CA signs it, is asked for too, and approved as ever.
    """
    text = files.read(KUBELET) or ""
    server = re.search(r"server: (\S+)", text)
    if not server:
        raise CommandError(f"{KUBELET} names no server")
    data = base64.b64encode((files.read(PKI / "ca.crt") or "").encode()).decode()
    old = served.certificate(str(CLIENT))
    must(["systemctl", "stop", "kubelet"], timeout=timeout)
    for path in (KUBELET, CLIENT):
        path.replace(path.with_name(path.name + ASIDE))
    try:
        files.put(BOOTSTRAP, BOOTSTRAP_CONF.format(data=data, server=server.group(1), token=token), 0o600)
        SERVER.unlink(missing_ok=True)
        must(["systemctl", "start", "kubelet"], timeout=timeout)
        ends = time.monotonic() + timeout
        while not KUBELET.exists() or served.certificate(str(CLIENT)) in ("", old):
            if time.monotonic() > ends:
                raise CommandError(f"the kubelet got no new certificate within {timeout:g} s")
            time.sleep(0.5)
    except BaseException:
        must(["systemctl", "stop", "kubelet"], timeout=timeout)
        for path in (KUBELET, CLIENT):
            if path.with_name(path.name + ASIDE).exists():
                path.with_name(path.name + ASIDE).replace(path)
        must(["systemctl", "start", "kubelet"], timeout=timeout)
        raise
    finally:
        files.remove(BOOTSTRAP)
    for path in (KUBELET, CLIENT):
        files.remove(path.with_name(path.name + ASIDE))


def finish() -> None:
    """Forget the pair that was dropped."""
    shutil.rmtree(KEPT, ignore_errors=True)
