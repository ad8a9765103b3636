# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The etcd member of a control plane: what it says of itself, snapshots, and data made of a snapshot."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils import files
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, must

CTL = "/usr/local/bin/etcdctl"
UTIL = "/usr/local/bin/etcdutl"
PKI = "/etc/kubernetes/pki/etcd"
MANIFEST = "/etc/kubernetes/manifests/etcd.yaml"
DATA = "/var/lib/etcd"
ENDPOINT = "https://127.0.0.1:2379"
#: Clients keep the revision that they saw last. Restored data goes on far beyond any that was given since the snapshot,
#: and the older ones count as compacted: who watches then lists anew, instead of waiting for what will never come.
BUMP = 1_000_000_000


def ctl(*args: str, timeout: float = 60) -> str:
    """Run etcdctl on this node's own member; return what it printed, CommandError with what it said else."""
    keys = [f"--cacert={PKI}/ca.crt", f"--cert={PKI}/healthcheck-client.crt", f"--key={PKI}/healthcheck-client.key"]
    return must([CTL, f"--endpoints={ENDPOINT}", *keys, *args], timeout=timeout)


def status(timeout: float = 20) -> dict[str, Any]:
    """Return {version, storage, revision, bytes, member, leader} of this node's member."""
    row = json.loads(ctl("endpoint", "status", "--write-out=json", timeout=timeout))[0]["Status"]
    return {
        "version": row["version"],
        "storage": row.get("storageVersion", ""),
        "revision": row["header"]["revision"],
        "bytes": row["dbSize"],
        "member": format(row["header"]["member_id"], "x"),
        "leader": bool(row.get("leader")),
    }


def members(*, linearizable: bool = True) -> list[dict[str, str]]:
    """Return {id, name, peer} of each member; ``id`` is hexadecimal, as etcdctl takes it.

    Without a majority nothing is ``linearizable``; then it is what this member knows.
    """
    loose = [] if linearizable else ["--consistency=s"]
    rows = json.loads(ctl("member", "list", "--write-out=json", *loose))["members"]
    return [
        {"id": format(row["ID"], "x"), "name": row.get("name", ""), "peer": (row.get("peerURLs") or [""])[0]}
        for row in rows
    ]


def snapshot(path: str, timeout: float = 600) -> dict[str, Any]:
    """Save a snapshot and return what ``etcdutl`` finds in it: {hash, revision, keys, bytes, storage}."""
    ctl("snapshot", "save", path, timeout=timeout)
    return inspect(path)


def inspect(path: str, timeout: float = 600) -> dict[str, Any]:
    """Return {hash, revision, keys, bytes, storage} of a snapshot; CommandError if it is damaged."""
    row = json.loads(must([UTIL, "snapshot", "status", path, "--write-out=json"], timeout=timeout))
    return {
        "hash": format(row["hash"], "08x"),
        "revision": row["revision"],
        "keys": row["totalKey"],
        "bytes": row["totalSize"],
        "storage": row.get("version", ""),
    }


def restore(path: str, folder: str, name: str, cluster: Mapping[str, str], timeout: float = 600) -> None:
    """Make a member's data in ``folder`` of a snapshot; ``cluster`` is {name of a member: its peer address}."""
    command = [UTIL, "snapshot", "restore", path, f"--data-dir={folder}", f"--name={name}"]
    command += [f"--initial-cluster={','.join(f'{key}={url}' for key, url in cluster.items())}"]
    command += [f"--initial-advertise-peer-urls={cluster[name]}", f"--initial-cluster-token={Path(path).name}"]
    must([*command, f"--bump-revision={BUMP}", "--mark-compacted"], timeout=timeout)


def manifest_flag(name: str) -> str:
    """Return the value of a flag in the static pod's manifest, an empty string where it is not."""
    seen = re.search(rf"^\s+- --{name}=(\S+)", files.read(MANIFEST) or "", re.MULTILINE)
    return seen.group(1) if seen else ""


def require() -> None:
    """Raise CommandError unless this node runs a member of etcd by kubeadm's manifest."""
    if not Path(MANIFEST).exists():
        raise CommandError(f"this node runs no etcd: {MANIFEST} does not exist; name a control plane of the cluster")
