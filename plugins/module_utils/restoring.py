# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A restore on a node: what it starts from, and how etcd's data is exchanged while its programs are down.

The new data is made while the cluster still runs. Then only names change: ``member`` goes to ``.restore/old``, the new
one takes its place. Each step finds out by itself how far an interrupted one came.
"""

from __future__ import annotations

import re
import shutil
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils import backup, files, kubeadm, served
from ansible_collections.kubesmith.cluster.plugins.module_utils import etcd_data as etcd
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import MERGE, Api, ApiError
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, must

WORK = Path(etcd.DATA) / ".restore"
MANIFESTS = Path("/etc/kubernetes/manifests")
ASIDE = Path("/etc/kubernetes/kubesmith-restore")
ENCRYPTION = Path("/etc/kubernetes/encryption")
#: What of a backup a new control plane starts from; kubeadm makes the rest anew, for this machine.
SHARED = re.compile(
    r"etcd\.db|etc/kubernetes/(pki/(ca|front-proxy-ca|etcd/ca)\.(crt|key)|pki/sa\.(pub|key)|encryption/[\w.-]+)"
)
GONE = "Restored"  # why a node counts as not ready until it tells otherwise


def facts() -> dict[str, Any]:
    """Return what a restore must know of this node: member, control_plane, authority, name, peer, interrupted, etcd."""
    found: dict[str, Any] = {"member": kubeadm.membership(), "control_plane": kubeadm.control_plane()}
    try:
        found["authority"] = backup.authority()
    except CommandError:
        found["authority"] = ""
    moved = files.read(ASIDE / "etcd.yaml")
    text = files.read(etcd.MANIFEST) or moved or ""
    found["interrupted"] = moved is not None or forced()
    found["leader"] = bool(text) and has_leader()
    found["name"] = _flag(text, "name")
    found["peer"] = _flag(text, "initial-advertise-peer-urls")
    try:
        found["etcd"] = etcd.status(timeout=10) if text and not moved else {}
    except (CommandError, ValueError, LookupError):
        found["etcd"] = {}
    return found


def _flag(manifest: str, name: str) -> str:
    seen = re.search(rf"^\s+- --{name}=(\S+)", manifest, re.MULTILINE)
    return seen.group(1) if seen else ""


def unpack(archive: str, folder: Path) -> None:
    """Unpack what a restore needs, and nothing else, into an empty private folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    with tarfile.open(archive) as packed:
        for row in packed:
            data = packed.extractfile(row) if row.isreg() and SHARED.fullmatch(row.name) else None
            if data is None:
                raise CommandError(f"{archive} holds {row.name[:100]!r}, which no restore needs")
            target = folder / row.name
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with target.open("wb") as out:
                target.chmod(row.mode & 0o777)
                shutil.copyfileobj(data, out, 1 << 20)


def peer(address: str) -> str:
    """Return the peer address of a member, as kubeadm has it."""
    return f"https://[{address}]:2380" if ":" in address else f"https://{address}:2380"


def seed(archive: str, name: str, address: str) -> None:
    """Give a new control plane the keys and the data of a backup, before kubeadm init: it keeps what it finds."""
    work = Path("/var/lib/kubesmith/restore")
    try:
        unpack(archive, work)
        data = Path(etcd.DATA)
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        data.chmod(0o700)
        etcd.restore(str(work / "etcd.db"), str(data), name, {name: peer(address)})
        for path in sorted((work / "etc").rglob("*")):
            if path.is_file():
                target = Path("/") / path.relative_to(work)
                target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                shutil.copyfile(path, target)
                target.chmod(path.stat().st_mode & 0o777)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def forget_heartbeats(own: str, only: Sequence[str] | None = None) -> list[str]:
    """Let every other node, or ``only`` those, count as lost until it answers; return their names.

    The data says that they are Ready, and kubeadm lets none join under the name of a node that is.
    """
    api = Api()
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    known = [item["metadata"]["name"] for item in api.get("/api/v1/nodes")["items"]]
    names = [name for name in known if name != own and (only is None or name in only)]
    for name in names:
        condition = {"type": "Ready", "status": "Unknown", "reason": GONE, "lastTransitionTime": now}
        condition["message"] = "the cluster was restored, and this node has not answered since"
        api.request("PATCH", f"/api/v1/nodes/{name}/status", {"status": {"conditions": [condition]}}, MERGE)
    return names


def prepare(archive: str, name: str, cluster: Mapping[str, str]) -> None:
    """Make the new data beside the old, while the cluster runs; nothing is exchanged yet."""
    database = etcd.DATA
    if (WORK / "old/member").exists() and not Path(database, "member").exists():  # stopped between the two renames
        put_back()
    try:
        unpack(archive, WORK)
        size = (WORK / "etcd.db").stat().st_size
        free = shutil.disk_usage(database).free
        if free < size + backup.SPARE:
            raise CommandError(
                f"{database} has {free >> 20} MiB free, and the restore needs {size + backup.SPARE >> 20}"
            )
        etcd.restore(str(WORK / "etcd.db"), str(WORK / "new"), name, cluster)
        files.remove(WORK / "etcd.db")
    except BaseException:
        shutil.rmtree(WORK, ignore_errors=True)
        raise


def stop(timeout: float) -> None:
    """Take the control plane's manifests aside, and wait until etcd and the API server have ended."""
    ASIDE.mkdir(mode=0o700, exist_ok=True)
    for name in kubeadm.CONTROL_PLANE:
        if (MANIFESTS / f"{name}.yaml").exists():
            (MANIFESTS / f"{name}.yaml").replace(ASIDE / f"{name}.yaml")
    ends = time.monotonic() + timeout
    while running := [name for name in kubeadm.CONTROL_PLANE if served.processes(name)]:
        if time.monotonic() > ends:
            raise CommandError(f"{', '.join(running)} still run(s) {timeout:g} s after the manifest was taken away")
        time.sleep(0.3)


def exchange() -> None:
    """Put the new data in the place of the old, which is kept in ``.restore/old``; so the encryption configuration."""
    old, new, data = WORK / "old", WORK / "new", Path(etcd.DATA)
    old.mkdir(mode=0o700, exist_ok=True)
    if (new / "member").exists():
        if (data / "member").exists():
            (data / "member").replace(old / "member")
        (new / "member").replace(data / "member")
    wanted = WORK / "etc/kubernetes/encryption"
    if wanted.is_dir() and not (old / "encryption").exists():
        if ENCRYPTION.is_dir():
            shutil.copytree(ENCRYPTION, old / "encryption")
        for path in wanted.iterdir():
            files.put(ENCRYPTION / path.name, path.read_text(encoding="utf-8"), path.stat().st_mode & 0o777)


def put_back() -> None:
    """Undo ``exchange``."""
    old, data = WORK / "old", Path(etcd.DATA)
    if (old / "member").exists():
        if (data / "member").exists():
            shutil.rmtree(data / "member")
        (old / "member").replace(data / "member")
    if (old / "encryption").is_dir():
        for path in (old / "encryption").iterdir():
            files.put(ENCRYPTION / path.name, path.read_text(encoding="utf-8"), path.stat().st_mode & 0o777)


def start(timeout: float) -> None:
    """Put the manifests back, and wait until this node's etcd and API server answer."""
    for path in sorted(ASIDE.glob("*.yaml")) if ASIDE.is_dir() else ():
        path.replace(MANIFESTS / path.name)
    ends = time.monotonic() + timeout
    while (why := _silent()) != "":
        if time.monotonic() > ends:
            raise CommandError(f"{timeout:g} s after its start {why}")
        time.sleep(0.5)


def _silent() -> str:
    """Return which part of the control plane does not answer, and why; an empty string for none."""
    try:
        etcd.ctl("endpoint", "health", timeout=10)
    except CommandError as error:
        return f"etcd does not answer: {error}"
    try:
        return "" if Api(timeout=5).get("/readyz") == "ok" else "the API server is not ready"
    except ApiError as error:
        return f"the API server is not ready: {error}"


def undo(timeout: float) -> None:
    """Bring a control plane back to its own data; one whose programs were not stopped goes on as it is."""
    if ASIDE.is_dir() or (WORK / "old").is_dir():
        stop(timeout)
        put_back()
        start(timeout)
        finish()
    shutil.rmtree(WORK, ignore_errors=True)


FORCED = "    - --force-new-cluster=true\n"


def forced() -> bool:
    """Tell whether the manifest of etcd has the flag that makes a new cluster: an earlier recovery did not end."""
    return FORCED in (files.read(etcd.MANIFEST) or "")


def has_leader() -> bool:
    """Tell whether this node's member is part of a majority: it answers what needs one."""
    try:
        etcd.ctl("endpoint", "health", "--command-timeout=5s", timeout=20)
    except CommandError:
        return False
    return True


def force(timeout: float) -> list[str]:
    """Start the member as a cluster of its own, then as usual; return the names of the members it forgot."""
    try:
        before = [row["name"] for row in etcd.members(linearizable=False)]
    except (CommandError, ValueError, LookupError):
        before = []
    text = (files.read(etcd.MANIFEST) or "").replace(FORCED, "")
    mode = files.mode_of(etcd.MANIFEST) or 0o600
    own = _flag(text, "name")
    start_of = re.search(r"^    - etcd\n", text, re.MULTILINE)
    if not start_of:
        raise CommandError(f"{etcd.MANIFEST} is not as kubeadm writes it: its command does not begin with etcd")
    try:
        _run_etcd(text[: start_of.end()] + FORCED + text[start_of.end() :], mode, timeout)
    finally:
        _run_etcd(text, mode, timeout)
    start(timeout)
    return [name for name in before if name != own]


def _run_etcd(manifest: str, mode: int, timeout: float) -> None:
    """Have the kubelet run etcd by this manifest, and wait until it is alone and answers."""
    wanted = FORCED.strip().removeprefix("- ").encode() in manifest.encode()
    files.put(etcd.MANIFEST, manifest, mode)
    ends = time.monotonic() + timeout
    while not (_runs_with(wanted) and has_leader() and len(etcd.members()) == 1):
        if time.monotonic() > ends:
            raise CommandError(f"etcd is no cluster of one member {timeout:g} s after it was to be")
        time.sleep(1)


def _runs_with(wanted: bool) -> bool:
    """Tell whether etcd's only process has the flag, or has it not."""
    found = [files.read(f"/proc/{pid}/cmdline") or "" for pid in served.processes("etcd")]
    return len(found) == 1 and ("--force-new-cluster=true" in found[0]) is wanted


def finish() -> None:
    """Remove what a restore kept, and have the kubelet see the restored objects."""
    shutil.rmtree(WORK, ignore_errors=True)
    shutil.rmtree(ASIDE, ignore_errors=True)
    must(["systemctl", "restart", "kubelet"], timeout=120)
