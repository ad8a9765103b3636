# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What is kept of a node before an upgrade, and how it is put back."""

from __future__ import annotations

import filecmp
import http.client
import json
import os
import re
import shutil
import ssl
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils import files, served, upgrade, written
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import Api, ApiError
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, must, run

#: Programs, units and configuration that an upgrade changes on a node.
PATTERNS = (
    *(f"usr/local/bin/{name}" for name in ("kubeadm", "kubelet", "kubectl", "etcdctl", "etcdutl")),
    *(f"usr/local/bin/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")),
    *("usr/local/sbin/runc", "opt/cni/bin/*"),
    *("usr/local/lib/systemd/system/kubelet.service", "usr/local/lib/systemd/system/kubelet.service.d/*.conf"),
    *("usr/local/lib/systemd/system/containerd.service", "etc/containerd/config.toml"),
    *("etc/kubernetes/manifests/*.yaml", "etc/kubernetes/kubeadm.yml"),
    *("var/lib/kubelet/config.yaml", "var/lib/kubelet/kubeadm-flags.env", "var/lib/kubelet/instance-config.yaml"),
    f"{written.FOLDER}/*",
)
NOT_OURS = ("calico", "calico-ipam", "install")  # put there by a pod, which does so again
UNITS = {
    "containerd": {"containerd", "containerd.service", "config.toml", "runc", "containerd-shim-runc-v2"},
    "kubelet": {"kubelet", "kubelet.service", "10-kubeadm.conf", "config.yaml", "kubeadm-flags.env"},
}
SYSTEM = "/api/v1/namespaces/kube-system/configmaps"
APPS = "/apis/apps/v1/namespaces/kube-system"
#: The objects that kubeadm writes and that name a version.
OBJECTS = (
    *(f"{SYSTEM}/{name}" for name in ("kubeadm-config", "kubelet-config", "kube-proxy", "coredns")),
    *(f"{APPS}/daemonsets/kube-proxy", f"{APPS}/deployments/coredns"),
)
ETCD_DATA = Path("/var/lib/etcd")
MANIFESTS = Path("/etc/kubernetes/manifests")
BUMP = 10**9  # revisions, so that nobody takes an older state for a newer one


def paths(root: str = "/") -> list[Path]:
    """Return the files of this node that an upgrade may change."""
    base = Path(root)
    found = [path for pattern in PATTERNS for path in sorted(base.glob(pattern)) if path.is_file()]
    return [path for path in found if not (path.parent.name == "bin" and path.name in NOT_OURS)]


def keep(source: Path, target: Path) -> None:
    """Give a file a second name, which costs nothing: files are replaced whole. Copy it where that cannot be."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix in (".yaml", ".yml", ".toml", ".env", ".conf"):  # somebody may edit these in place
        shutil.copy2(source, target)
        return
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def kept(folder: Path) -> list[Path]:
    """Return the places on the node of the files that are kept in ``folder``."""
    base = folder / "files"
    return [Path("/") / path.relative_to(base) for path in sorted(base.rglob("*")) if path.is_file()]


def same(folder: Path, path: Path) -> bool:
    """Tell whether a file of the node is as it was kept."""
    old = folder / "files" / path.relative_to("/")
    return path.is_file() and (path.samefile(old) or filecmp.cmp(old, path, shallow=False))


def put_back(folder: Path, path: Path) -> None:
    """Put one file back, whole, with its mode."""
    old = folder / "files" / path.relative_to("/")
    temporary = path.with_name(f".{path.name}.kubesmith-back")
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(old, temporary)
    files.replace(temporary, path, old.stat().st_mode & 0o7777)


def components(changed: Iterable[Path]) -> set[str]:
    """Return the static pods among files."""
    return {path.stem for path in changed if path.parent == MANIFESTS}


def objects(api: Api) -> dict[str, Any]:
    """Return {path: object} of what kubeadm writes into the cluster, without what the server adds."""
    found = {path: api.find(path) for path in OBJECTS}
    return {path: bare(item) for path, item in found.items() if item}


def bare(item: dict[str, Any]) -> dict[str, Any]:
    """Return an object without what only the server writes."""
    meta = {key: value for key, value in item["metadata"].items() if key in ("name", "namespace", "labels")}
    notes = {k: v for k, v in item["metadata"].get("annotations", {}).items() if not k.startswith("deployment.")}
    return {key: value for key, value in item.items() if key not in ("metadata", "status")} | {
        "metadata": {**meta, "annotations": notes}
    }


def write_back(folder: Path, api: Api) -> list[str]:
    """Write the objects that changed as they were; return what was done."""
    done = []
    for path, old in json.loads((folder / "objects.json").read_text()).items():
        now = api.find(path)
        if now is None or bare(now) == old:
            continue
        body = {**old, "metadata": {**old["metadata"], "resourceVersion": now["metadata"]["resourceVersion"]}}
        api.request("PUT", path, body)
        done.append(f"write back {path.rpartition('/')[0].rpartition('/')[2]}/{path.rpartition('/')[2]}")
    return done


def old_image(folder: Path, component: str) -> str:
    """Return the image that a static pod had."""
    file = folder / "files" / str(MANIFESTS / f"{component}.yaml").lstrip("/")
    return upgrade.image_of(file.read_text()) if file.exists() else ""


def wait_for(folder: Path, timeout: int) -> str:
    """Wait until the kept static pods run and the API server is ready; return what is wrong after ``timeout`` s."""
    deadline = time.monotonic() + timeout
    while problem := not_serving(folder):
        if time.monotonic() > deadline:
            return problem
        time.sleep(1)
    return ""


def not_serving(folder: Path) -> str:
    """Return why the control plane of the kept manifests does not serve yet, "" if it does."""
    try:
        api = Api(timeout=10, server=upgrade.local_server())
        ready = api.get("/readyz")
        if ready != "ok":
            return f"readyz says {str(ready)[:200]}"
        version = api.get("/version")["gitVersion"]
    except ApiError as error:
        return str(error)
    wanted = upgrade.tag(old_image(folder, "kube-apiserver"))
    if version != wanted:
        return f"the API server is {version} still, and not {wanted}"
    # It answers for a while before the kubelet has noticed that etcd is to be another one.
    old, seen = upgrade.tag(old_image(folder, "etcd")).partition("-")[0], etcd_version()[0]
    return "" if seen == old or not old else f"etcd is {seen or 'silent'}, and not {old}"


def etcd_version() -> tuple[str, str]:
    """Return (version of this node's member, the newest that cluster or data are of); ("", "") if it is silent.

    The members agree on a version first, and bring their data to it a little later.
    """
    context = ssl.create_default_context(cafile=f"{upgrade.ETCD_PKI}/ca.crt")
    context.load_cert_chain(f"{upgrade.ETCD_PKI}/healthcheck-client.crt", f"{upgrade.ETCD_PKI}/healthcheck-client.key")
    connection = http.client.HTTPSConnection("127.0.0.1", 2379, context=context, timeout=5)
    try:
        connection.request("GET", "/version")
        answer = json.loads(connection.getresponse().read())
        return str(answer["etcdserver"]), level(answer)
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return "", ""
    finally:
        connection.close()


def level(answer: Mapping[str, str]) -> str:
    """Return the newest version among those of etcd's answer that cluster and data are of, "" if it tells none."""
    told = [answer.get(name, "") for name in ("etcdcluster", "storage")]
    return max((text for text in told if text[:1].isdigit()), key=upgrade.numbers, default="")


def lower_etcd(folder: Path, timeout: int) -> list[str]:
    """Have etcd's members agree on the older minor version, as its own downgrade wants it; return what was done.

    Nothing is done where they never agreed on the newer one, or where etcd is silent: its data is of the older then,
    or the snapshot is the only way.
    """
    old = upgrade.tag(old_image(folder, "etcd")).partition("-")[0]
    _server, agreed = etcd_version()
    if not (old and agreed) or upgrade.numbers(agreed)[:2] <= upgrade.numbers(old)[:2]:
        return []
    minor = ".".join(old.split(".")[:2])
    result = run([*upgrade.ETCDCTL, f"--endpoints={upgrade.ETCD}", "downgrade", "enable", minor], timeout=60)
    if result.rc != 0 and "in progress" not in result.said and "already" not in result.said:
        return [f"etcd does not go back to {minor}: {result.said.splitlines()[-1] if result.said else 'no answer'}"]
    deadline = time.monotonic() + timeout
    while upgrade.numbers(etcd_version()[1] or agreed)[:2] > upgrade.numbers(old)[:2]:
        if time.monotonic() > deadline:
            return [f"etcd did not go back to {minor} within {timeout} s"]
        time.sleep(0.5)
    return [f"etcd goes back to {minor}"]


def restore_etcd(folder: Path, timeout: int) -> None:
    """Have this node's only member begin with the kept snapshot; CommandError where there are more members."""
    manifest = MANIFESTS / "etcd.yaml"
    text = manifest.read_text()
    flag = dict(re.findall(r"--([a-z-]+)=(\S+)", text))
    known = json.loads((folder / "members.json").read_text())
    if len(known) != 1:
        raise CommandError(
            f"etcd does not come up, and has {len(known)} members: all of them must begin with the same data; restore "
            "the backup that was taken before the upgrade"
        )
    new = ETCD_DATA / "restored"
    shutil.rmtree(new, ignore_errors=True)
    manifest.unlink()
    try:
        deadline = time.monotonic() + timeout
        while served.processes("etcd"):
            if time.monotonic() > deadline:
                raise CommandError(f"etcd does not end within {timeout} s, so that its data cannot be replaced")
            time.sleep(0.5)
        command = ["/usr/local/bin/etcdutl", "snapshot", "restore", str(folder / "etcd.db"), f"--data-dir={new}"]
        name, url = flag["name"], flag["initial-advertise-peer-urls"]
        command += [f"--name={name}", f"--initial-cluster={name}={url}", f"--initial-advertise-peer-urls={url}"]
        must([*command, f"--bump-revision={BUMP}", "--mark-compacted"], timeout=600)
        aside = ETCD_DATA / "member.broken"
        shutil.rmtree(aside, ignore_errors=True)
        (ETCD_DATA / "member").rename(aside)
        (new / "member").rename(ETCD_DATA / "member")
        shutil.rmtree(new)
        shutil.rmtree(aside)
    finally:
        files.put(manifest, text, 0o600)
