"""On a pod's node: its whole chain below the API: containers, processes, cgroup, network, rules, image layers, logs."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from kubesmith.verify.remote.common import read, run, together

CTR = ("ctr", "-n", "k8s.io")
CRI = Path("/var/lib/containerd/io.containerd.grpc.v1.cri/containers")
CNI_LOG = Path("/var/log/calico/cni/cni.log")
RULES = 40  # rules that are told


def containers(uid: str) -> list[dict[str, Any]]:
    """Return the pod's sandbox and containers as containerd has them, with their process if they run."""
    names = run(*CTR, "containers", "ls", "-q", f'labels."io.kubernetes.pod.uid"=={uid}').split()
    tasks = {row[0]: row for row in (line.split() for line in run(*CTR, "tasks", "ls").splitlines()[1:])}
    found = []
    for name in names:
        info = json.loads(run(*CTR, "containers", "info", name))
        labels = info["Labels"]
        task = tasks.get(name, ["", "0", "STOPPED"])
        status = CRI / name / "status"
        found.append(
            {
                "id": name,
                "kind": labels.get("io.cri-containerd.kind", ""),
                "name": labels.get("io.kubernetes.container.name", "POD"),
                "image": info["Image"],
                "created": info["CreatedAt"],
                "snapshot": info.get("SnapshotKey", ""),
                "snapshotter": info.get("Snapshotter", ""),
                "runtime": info.get("Runtime", {}).get("Name", ""),
                "pid": int(task[1]),
                "state": task[2],
                "cri": json.loads(status.read_text()) if status.exists() else {},
            }
        )
    return sorted(found, key=lambda row: str(row["created"]))


def process(pid: int) -> dict[str, Any]:
    """Return what the kernel says of a process: command, parent, cgroup, namespaces, its start (clock ticks)."""
    folder = f"/proc/{pid}"
    status = dict(line.split(":\t", 1) for line in read(f"{folder}/status").splitlines() if ":\t" in line)
    kinds = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
    return {
        "pid": pid,
        "command": read(f"{folder}/cmdline").replace("\0", " ").strip(),
        "parent": int(status["PPid"]),
        "parent_command": read(f"/proc/{status['PPid'].strip()}/cmdline").replace("\0", " ").strip(),
        "inside": status.get("NSpid", "").split()[-1],
        "memory": status.get("VmRSS", "").strip(),
        "cgroup": cgroup(read(f"{folder}/cgroup")),
        "namespaces": {kind: str(Path(f"{folder}/ns/{kind}").readlink()) for kind in kinds},
        "mounts": len(read(f"{folder}/mountinfo").splitlines()),
    }


def cgroup(text: str) -> str:
    """Return the path of a process's cgroup, out of /proc/PID/cgroup: of cgroups v2, else of the memory controller."""
    rows = [line.split(":", 2) for line in text.splitlines()]
    chosen = next((row for row in rows if "memory" in row[1].split(",")), None) or rows[-1]
    return chosen[2]


def network(pid: int, address: str) -> dict[str, Any]:
    """Return the pod's interface, the host's end of its veth pair and the route to it."""
    enter = ("nsenter", "-t", str(pid), "-n")
    inside = [link for link in json.loads(run(*enter, "ip", "-j", "-d", "addr")) if link["ifname"] != "lo"]
    inside = [link for link in inside if link.get("addr_info")]
    routes = json.loads(run("ip", "-j", "route", "show", address)) if address else []
    host = routes[0].get("dev", "") if routes else ""
    ends = json.loads(run("ip", "-j", "-d", "link", "show", host)) if host else []
    return {
        "inside": [
            {
                "name": link["ifname"],
                "mac": link.get("address", ""),
                "mtu": link["mtu"],
                "index": link["ifindex"],
                "peer": link.get("link_index", 0),
                "addresses": [f"{row['local']}/{row['prefixlen']}" for row in link["addr_info"]],
            }
            for link in inside
        ],
        "inside_routes": run(*enter, "ip", "route").splitlines(),
        "outside": [{"name": e["ifname"], "index": e["ifindex"], "peer": e.get("link_index", 0)} for e in ends],
        "route": run("ip", "route", "show", address).splitlines() if address else [],
    }


def rules(address: str, services: list[str]) -> list[str]:
    """Return the nftables rules and map entries that name the pod's address, its interface, or one of its services."""
    routes = json.loads(run("ip", "-j", "route", "show", address)) if address else []
    words = [word for word in (address, *(row.get("dev", "") for row in routes), *services) if word]
    found: list[str] = []
    if shutil.which("nft") and address:
        listing = run("nft", "-n", "list", "ruleset", timeout=60).splitlines()
        place = {"table": "", "chain": ""}
        for line in listing:
            head = re.match(r"\s*(table|chain|map|set) (.*) \{", line)
            if head:
                place["table" if head[1] == "table" else "chain"] = f"{head[1]} {head[2]}"
                continue
            found += [
                f"{place['table']} · {place['chain']} · {row}"
                for row in _named(line, words, "chain " in place["chain"])
            ]
    if shutil.which("iptables-save") and address:
        saved = run("iptables-save").splitlines()
        if not any("(nf_tables)" in line for line in saved):  # those stand in nft's list already
            found += [line for line in saved if any(_whole(word, line) for word in words)]
    return found[:RULES]


def _named(line: str, words: list[str], chain: bool) -> list[str]:
    """Return a chain's rule that names one of the words; of a map's or set's line only the elements that do."""
    parts = [line] if chain else (line.partition("elements = {")[2] or line).split(",")
    return [part.strip(" {}\t") for part in parts if any(_whole(word, part) for word in words)]


def _whole(word: str, line: str) -> bool:
    return re.search(rf"(?<![\d.]){re.escape(word)}(?![\d])", line) is not None


def layers(image: str) -> list[dict[str, Any]]:
    """Return the layers of an image as the registry's manifest has them: digest, size, media type."""
    digest = next((line.split() for line in run(*CTR, "images", "ls").splitlines() if line.startswith(f"{image} ")), [])
    name = next((word for word in digest if word.startswith("sha256:")), "")
    manifest = json.loads(run(*CTR, "content", "get", name))
    if "manifests" in manifest:
        arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
        own = [row for row in manifest["manifests"] if row.get("platform", {}).get("architecture", arch) == arch]
        manifest = json.loads(run(*CTR, "content", "get", own[0]["digest"]))
    return [
        {"digest": row["digest"], "bytes": row["size"], "type": row["mediaType"]} for row in manifest.get("layers", ())
    ]


def journal(words: list[str], since: float) -> list[dict[str, Any]]:
    """Return what kubelet and containerd logged with one of these words: unit, microseconds since the epoch, text."""
    lines = run(
        *("journalctl", "-q", "-u", "kubelet", "-u", "containerd", "--no-pager", "-o", "json"),
        *(f"--since=@{int(since)}", "--output-fields=MESSAGE,_SYSTEMD_UNIT"),
    ).splitlines()
    rows = [json.loads(line) for line in lines if any(word in line for word in words)]
    return [
        {
            "at": int(row["__REALTIME_TIMESTAMP"]),
            "unit": row.get("_SYSTEMD_UNIT", ""),
            "text": str(row["MESSAGE"])[:900],
        }
        for row in rows
    ]


def cni(name: str) -> list[str]:
    """Return what Calico's CNI plugin logged of the pod."""
    if not CNI_LOG.exists():
        return []
    return [line[:400] for line in read(str(CNI_LOG)).splitlines() if name in line][-20:]


def main(question: dict[str, Any]) -> dict[str, Any]:
    """Answer with all of it for the pod ``uid``, ``name`` with the address ``ip`` (empty on the host's network).

    A part that cannot be had is ``{"error": reason}``. ``since`` is seconds since the epoch.
    """
    uid, name, address = question["uid"], question["name"], question["ip"]
    pod = containers(uid)
    sandbox = next((row for row in pod if row["kind"] == "sandbox" and row["pid"]), None)
    tasks: dict[str, Any] = {
        "rules": lambda: rules(address, question.get("services", [])),
        "processes": lambda: {row["id"]: process(row["pid"]) for row in pod if row["pid"]},
        "layers": lambda: {row["image"]: layers(row["image"]) for row in pod if row["kind"] == "container"},
    }
    if question.get("log", True):
        words = [uid, name, *(row["id"] for row in pod)]
        tasks.update({"journal": lambda: journal(words, question["since"]), "cni": lambda: cni(name)})
    if sandbox is not None:
        pid = int(sandbox["pid"])
        tasks["network"] = lambda: network(pid, address)
    return {"containers": pod, **together(tasks)}
