# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What a node can say about a failure: facts to judge by, and texts. Reads, never writes.

``facts`` is structured and small; ``texts`` maps a relative file name to a text, bounded, without secrets.
"""

from __future__ import annotations

import base64
import concurrent.futures
import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kubesmith.cluster.plugins.module_utils import host, kubeadm, private, systemd
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, Result, run
from ansible_collections.kubesmith.cluster.plugins.module_utils.redaction import Redactor

KILO, MEGA = 1024, 1024 * 1024
CONTAINERD = kubeadm.program("containerd")
CTR = kubeadm.program("ctr")
KUBECTL = kubeadm.KUBECTL
ADMIN = "/etc/kubernetes/admin.conf"
POD_LOGS = "var/log/pods"
LOST = "[… {} bytes left out …]"
FOLDERS = ("/", "/var/lib/etcd", "/var/lib/kubelet", "/var/lib/containerd", "/var/log")
UNITS = ("kubelet", "containerd")
UNIT_PROPERTIES = (
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "Result",
    "NRestarts",
    "ExecMainCode",
    "ExecMainStatus",
    "FragmentPath",
    "DropInPaths",
)


class Scope:
    """How much is gathered, and how long that may take.

    ``since``, in seconds since the epoch, leaves older lines out; None keeps all. ``full`` raises the bounds; ``most``
    is the bound of all texts together in bytes, 0 for the usual one.
    """

    def __init__(self, since: Optional[float], full: bool, seconds: float, most: int = 0) -> None:
        self.since = since
        self.full = full
        self.most = most or (24 * MEGA if full else 4 * MEGA)
        self.deadline = time.monotonic() + seconds

    def left(self, most: float = 20) -> float:
        """Return the seconds that a command may still take."""
        return max(1.0, min(most, self.deadline - time.monotonic()))


def gather(scope: Scope, cluster: bool) -> dict[str, Any]:
    """Return {facts, texts, missing} of this node; ``cluster`` adds the cluster's own objects."""
    parts: dict[str, Callable[[Scope], Any]] = dict(TEXTS if scope.full else {n: TEXTS[n] for n in SHORT})
    if cluster:
        parts.update({name: _kubectl(args) for name, args in CLUSTER.items()})
    parts["facts"] = facts
    parts["secrets"] = secrets
    parts["pods"] = pod_logs
    done, missing = _together(parts, scope)
    redactor = Redactor(done.pop("secrets", None) or private.values())
    pods = done.pop("pods", None) or {}
    found = json.loads(redactor.clean(json.dumps(done.pop("facts", None) or {}, indent=1)))
    texts = {name: redactor.clean(text) for name, text in [*done.items(), *pods.items()] if text}
    return {"facts": found, "texts": bounded(texts, scope), "missing": missing}


def _together(parts: dict[str, Callable[[Scope], Any]], scope: Scope) -> tuple[dict[str, Any], list[str]]:
    """Run the parts side by side; return what each gave and what did not work or came too late."""
    pool = concurrent.futures.ThreadPoolExecutor(4)
    waiting = {pool.submit(work, scope): name for name, work in parts.items()}
    finished, late = concurrent.futures.wait(waiting, timeout=scope.left(600))
    pool.shutdown(wait=False)
    done, missing = {}, [f"{waiting[future]}: no time left" for future in late]
    for future in finished:
        try:
            done[waiting[future]] = future.result()
        except Exception as error:  # one part that fails must not take the others with it
            missing.append(f"{waiting[future]}: {error}")
    return done, sorted(missing)


def bounded(texts: dict[str, str], scope: Scope) -> dict[str, str]:
    """Return the texts shortened, each to its own bound, all together to the total; what is small comes first."""
    each, room = 4 * MEGA if scope.full else 384 * KILO, scope.most
    kept = {}
    for name, text in sorted(texts.items(), key=lambda item: len(item[1])):
        short = shortened(text, min(each, room))
        room -= len(short)
        if short:
            kept[name] = short
    return kept


def shortened(text: str, most: int) -> str:
    """Return the first third and the last two thirds of what is left of a text that is too long."""
    if len(text) <= most:
        return text
    if most < 3 * 80:
        return ""
    head, tail = text[: most // 3], text[-(2 * most // 3) + 80 :]
    head, tail = head[: head.rfind("\n") + 1], tail[tail.find("\n") + 1 :]
    return head + LOST.format(len(text) - len(head) - len(tail)) + "\n" + tail


def packed(answer: dict[str, Any]) -> str:
    """Return an answer as one word, to be opened by :func:`unpacked`."""
    return base64.b64encode(zlib.compress(json.dumps(answer).encode(), 6)).decode()


def unpacked(word: str, most: int = 64 * MEGA) -> dict[str, Any]:
    """Return the answer in ``word``; ValueError if it is damaged or larger than ``most`` bytes."""
    opener = zlib.decompressobj()
    try:
        raw = opener.decompress(base64.b64decode(word, validate=True), most)
    except zlib.error as error:
        raise ValueError(f"not a compressed text: {error}") from error
    if not opener.eof:
        raise ValueError(f"larger than {most} bytes, or cut off")
    answer: dict[str, Any] = json.loads(raw)
    return answer


# Secrets


def secrets(scope: Scope) -> set[str]:
    """Return the secret values of the node's files and, on a control plane, of the cluster's Secrets."""
    found = private.values()
    if Path(ADMIN).exists():
        result = kubectl(["get", "secrets", "--all-namespaces", "--output=json"], scope)
        if result.rc == 0:
            found |= private.from_kubectl(result.out)
    return found


# Texts


def _command(*args: str, most: float = 20) -> Callable[[Scope], str]:
    return lambda scope: run(list(args), timeout=scope.left(most)).said


def _file(path: str) -> Callable[[Scope], str]:
    return lambda _scope: private.text(Path(path))


def _journal(*args: str) -> Callable[[Scope], str]:
    def read(scope: Scope) -> str:
        since = [f"--since=@{scope.since:.0f}"] if scope.since else []
        lines = "200000" if scope.full else "30000"
        said = run(
            ["journalctl", "--no-pager", "--output=short-iso", "-n", lines, *since, *args], timeout=scope.left(30)
        )
        return "" if said.out.startswith("-- No entries") else said.out

    return read


def kubectl(args: Sequence[str], scope: Scope) -> Result:
    """Run kubectl as the cluster's administrator on a control plane."""
    return run([KUBECTL, "--kubeconfig", ADMIN, *args, "--request-timeout=8s"], timeout=scope.left(25))


def _kubectl(args: Sequence[str]) -> Callable[[Scope], str]:
    def ask(scope: Scope) -> str:
        result = kubectl(args, scope)
        if result.rc != 0 and not result.out:
            raise CommandError(kubeadm.last_line(result.err))
        return result.out

    return ask


def _manifests(_scope: Scope) -> str:
    return "\n---\n".join(private.texts("/", ["etc/kubernetes/manifests/*.yaml"]))


def _units(scope: Scope) -> str:
    status = run(["systemctl", "status", "--no-pager", "--full", "--lines=5", *UNITS], timeout=scope.left()).said
    return status + "\n\n" + run(["systemctl", "cat", "--no-pager", *UNITS], timeout=scope.left()).said


def _disks(scope: Scope) -> str:
    folders = [folder for folder in FOLDERS if Path(folder).is_dir()]
    size = run(["df", "--human-readable", "--print-type", *folders], timeout=scope.left()).said
    return size + "\n\n" + run(["df", "--inodes", *folders], timeout=scope.left()).said


def _certificates(_scope: Scope) -> str:
    rows = (f"{row['from']}  {row['to']}  {row['path']}  {row['subject']}" for row in certificates())
    return "\n".join(rows)


def _config_dump(scope: Scope) -> str:
    return run(containerd_config_command(), timeout=scope.left()).out


TEXTS: dict[str, Callable[[Scope], str]] = {
    "journal/kubelet.log": _journal("-u", "kubelet"),
    "journal/containerd.log": _journal("-u", "containerd"),
    "journal/kernel.log": _journal("-k", "-p", "warning"),
    "journal/system.log": _journal("-p", "warning"),
    "system/units.txt": _units,
    "system/disks.txt": _disks,
    "system/ports.txt": _command("ss", "-ltnup"),
    "system/certificates.txt": _certificates,
    "system/memory.txt": _file("/proc/meminfo"),
    "system/processes.txt": _command("ps", "-eo", "pid,ppid,stat,etime,rss,args", "--sort=pid"),
    "system/mounts.txt": _command("findmnt", "--df"),
    "system/os-release": _file("/etc/os-release"),
    "system/hosts": _file("/etc/hosts"),
    "system/resolv.conf": _file("/etc/resolv.conf"),
    "system/failed-units.txt": _command("systemctl", "--failed", "--no-pager"),
    "network/addresses.txt": _command("ip", "address"),
    "network/routes.txt": _command("ip", "route"),
    "network/nftables.txt": _command("nft", "list", "ruleset"),
    "network/cni.conflist": _file("/etc/cni/net.d/10-calico.conflist"),
    "containerd/config.toml": _config_dump,
    "containerd/images.txt": _command(CTR, "--namespace=k8s.io", "images", "list"),
    "containerd/containers.txt": _command(CTR, "--namespace=k8s.io", "containers", "list"),
    "containerd/tasks.txt": _command(CTR, "--namespace=k8s.io", "tasks", "list"),
    "kubelet/config.yaml": _file("/var/lib/kubelet/config.yaml"),
    "kubelet/flags.env": _file("/var/lib/kubelet/kubeadm-flags.env"),
    "kubernetes/kubeadm.yml": _file("/etc/kubernetes/kubeadm.yml"),
    "kubernetes/manifests.yaml": _manifests,
    "kubernetes/versions.txt": lambda scope: "\n".join(
        run(args, timeout=scope.left(5)).said
        for args in (
            [kubeadm.KUBEADM, "version", "--output=short"],
            ["kubelet", "--version"],
            [CONTAINERD, "--version"],
            ["runc", "--version"],
            ["uname", "-a"],
        )
    ),
}
# Enough to explain a failed phase.
SHORT = (
    "journal/kubelet.log",
    "journal/containerd.log",
    "journal/kernel.log",
    "system/units.txt",
    "system/disks.txt",
    "system/ports.txt",
    "system/certificates.txt",
    "system/memory.txt",
)
# The cluster's objects: kubectl's arguments. Secrets are not among them, and no kind that holds them.
CLUSTER: dict[str, Sequence[str]] = {
    "cluster/overview.txt": ("get", "nodes,pods,daemonsets,deployments,services", "-A", "-o", "wide"),
    "cluster/objects.yaml": ("get", "nodes,pods,leases", "-A", "-o", "yaml"),
    "cluster/events.txt": ("get", "events", "-A", "--sort-by=.metadata.creationTimestamp", "-o", "wide"),
    "cluster/configmaps.yaml": ("get", "configmaps", "-n", "kube-system", "-o", "yaml"),
    "cluster/calico.yaml": ("get", "ippools,felixconfigurations,ipamblocks", "-o", "yaml"),
    "cluster/readyz.txt": ("get", "--raw=/readyz?verbose"),
    "cluster/describe.txt": (
        "describe",
        "pods",
        "-A",
        "--field-selector=status.phase!=Running,status.phase!=Succeeded",
    ),
    "cluster/describe-nodes.txt": ("describe", "nodes"),
}


# Logs of pods


def pod_logs(scope: Scope, root: str = "/") -> dict[str, str]:
    """Return the logs of the system's pods, of each container the last two: a dying one has begun anew meanwhile.

    Names are ``pods/NAMESPACE_POD/CONTAINER-N.log``.
    """
    most = 512 * KILO if scope.full else 96 * KILO
    found = {}
    for path in newest_logs(root, 3 if scope.full else 2):
        if not scope.full and not path.parts[-3].startswith("kube-system_"):
            continue
        pod = "_".join(path.parts[-3].split("_")[:2])
        text = since(ends_of(path, most), scope.since)
        if text:
            found[f"pods/{pod}/{path.parts[-2]}-{path.stem}.log"] = text
    return found


def newest_logs(root: str, count: int) -> list[Path]:
    """Return, for each container of a pod, the last ``count`` log files."""
    found: list[Path] = []
    for container in sorted(Path(root).glob(f"{POD_LOGS}/*/*")):
        numbered = [path for path in container.glob("*.log") if path.stem.isdigit()]
        found += sorted(numbered, key=lambda path: int(path.stem))[-count:]
    return found


def ends_of(path: Path, most: int) -> str:
    """Return a file's first and last lines, ``most`` bytes together; whole ones, so that no value is halved."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size <= most:
                return file.read().decode("utf-8", "replace")
            head = file.read(most // 3)
            file.seek(size - 2 * most // 3)
            tail = file.read()
    except OSError:
        return ""
    head, tail = head[: head.rfind(b"\n") + 1], tail[tail.find(b"\n") + 1 :]
    left_out = LOST.format(size - len(head) - len(tail)).encode()
    return b"".join((head, left_out, b"\n", tail)).decode("utf-8", "replace")


def since(text: str, start: Optional[float]) -> str:
    """Return a container's log from ``start`` on; a line without a time goes with the one before."""
    if start is None:
        return text
    kept, keep = [], False
    for line in text.splitlines():
        moment = line_time(line)
        keep = moment >= start if moment is not None else keep
        if keep:
            kept.append(line)
    return "\n".join(kept)


def line_time(line: str) -> Optional[float]:
    """Return when a line of a container's log was written, in seconds since the epoch."""
    found = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d) ", line)
    if not found:
        return None
    zone = "+00:00" if found.group(2) == "Z" else found.group(2)
    return datetime.fromisoformat(found.group(1) + zone).timestamp()


# Facts


def facts(scope: Scope) -> dict[str, Any]:
    """Return what can be judged without reading logs. Sizes are in bytes, times in seconds since the epoch."""
    config = run(containerd_config_command(), timeout=scope.left()).out
    return {
        "time": time.time(),
        "utc": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "since": scope.since,
        "hostname": os.uname().nodename,
        "control_plane": kubeadm.control_plane(),
        "member": kubeadm.membership(),
        "memory": memory(private.text(Path("/proc/meminfo"))),
        "disks": disks(),
        "listeners": listeners(run(["ss", "-ltnpH"], timeout=scope.left()).out),
        "units": {name: unit(name, scope) for name in UNITS},
        "swap": host.active_swaps(private.text(Path("/proc/swaps"))),
        "drivers": {
            "containerd": containerd_driver(config),
            "kubelet": kubelet_driver(
                private.text(Path("/var/lib/kubelet/config.yaml")), process_arguments(kubeadm.program("kubelet"))
            ),
            "runc": containerd_binary(config),
        },
        "sandbox_image": sandbox(config, scope),
        "certificates": certificates(),
    }


def memory(meminfo: str) -> dict[str, int]:
    """Return total and available memory out of /proc/meminfo."""
    rows = dict(re.findall(r"^(MemTotal|MemAvailable):\s+(\d+) kB", meminfo, re.MULTILINE))
    return {"total": int(rows.get("MemTotal", 0)) * KILO, "available": int(rows.get("MemAvailable", 0)) * KILO}


def disks() -> list[dict[str, Any]]:
    """Return {folder, size, available, inodes, inodes_free} of the file system of each folder that exists."""
    found = []
    for folder in FOLDERS:
        try:
            seen = os.statvfs(folder)
        except OSError:
            continue
        size, available = seen.f_blocks * seen.f_frsize, seen.f_bavail * seen.f_frsize
        row = {"size": size, "available": available, "inodes": seen.f_files, "inodes_free": seen.f_favail}
        found.append(dict(row, folder=folder))
    return found


def listeners(ss: str) -> list[dict[str, Any]]:
    """Return {address, port, process, pid} of each TCP listener, out of ``ss -ltnpH``."""
    found = []
    for line in ss.splitlines():
        fields = line.split()
        if len(fields) < 4:
            continue
        address, _colon, port = fields[3].rpartition(":")
        owner = re.search(r'\(\("([^"]+)",pid=(\d+)', line)
        name, pid = owner.groups() if owner else ("", "0")
        found.append({"address": address, "port": int(port) if port.isdigit() else 0, "process": name, "pid": int(pid)})
    return found


def unit(name: str, scope: Scope) -> dict[str, str]:
    """Return a unit's properties, as systemd tells them."""
    said = run(["systemctl", "show", "--property=" + ",".join(UNIT_PROPERTIES), name], timeout=scope.left())
    rows = dict(line.partition("=")[::2] for line in said.out.splitlines())
    return {key: rows.get(key, "") for key in UNIT_PROPERTIES}


def containerd_config_command() -> list[str]:
    """Return the command that prints the configuration that containerd runs with, which a drop-in may have moved."""
    arguments = process_arguments(CONTAINERD)
    file = _option(arguments, "--config") or _option(arguments, "-c")
    return [CONTAINERD, *(["--config", file] if file else []), "config", "dump"]


def process_arguments(program: str) -> list[str]:
    """Return the arguments of the unit's running program, an empty list where it does not run."""
    pid = systemd.properties(Path(program).name)["MainPID"]
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes() if pid.isdigit() and int(pid) else b""
    except OSError:
        return []
    return raw.decode("utf-8", "replace").split("\0")[1:-1]


def _option(arguments: Sequence[str], name: str) -> str:
    """Return the value of ``name=value`` or ``name value``, the last one given."""
    found = ""
    for index, argument in enumerate(arguments):
        if argument.startswith(name + "="):
            found = argument.partition("=")[2]
        elif argument == name and index + 1 < len(arguments):
            found = arguments[index + 1]
    return found


def _runc_options(config: str) -> str:
    """Return the section of the default runtime's options in containerd's configuration."""
    name = re.search(r"default_runtime_name\s*=\s*['\"]([^'\"]+)", config)
    runtime = re.escape(name.group(1) if name else "runc")
    found = re.search(
        rf"^\s*\[[^\n]*runtimes\.{runtime}\.options\]\n(.*?)(?=^\s*\[|\Z)", config, re.MULTILINE | re.DOTALL
    )
    return found.group(1) if found else ""


def containerd_driver(config: str) -> str:
    """Return the cgroup driver of containerd's default runtime, empty where its configuration cannot be read."""
    options = _runc_options(config)
    if not options:
        return ""
    return "systemd" if re.search(r"SystemdCgroup\s*=\s*true", options) else "cgroupfs"


def containerd_binary(config: str) -> str:
    """Return the program that the default runtime names in runc's place, mostly empty."""
    found = re.search(r"BinaryName\s*=\s*['\"]([^'\"]*)", _runc_options(config))
    return found.group(1) if found else ""


def kubelet_driver(config: str, arguments: Sequence[str]) -> str:
    """Return the cgroup driver that the kubelet is told; a flag goes before its configuration."""
    found = re.search(r"^cgroupDriver:\s*(\w+)", config, re.MULTILINE)
    return _option(arguments, "--cgroup-driver") or (found.group(1) if found else "")


def sandbox(config: str, scope: Scope) -> dict[str, Any]:
    """Return the image that containerd makes every pod around, and whether it is there (None: cannot be told)."""
    found = re.search(r"^\s*(?:sandbox|sandbox_image)\s*=\s*['\"]([^'\"]+)", config, re.MULTILINE)
    name = found.group(1) if found else ""
    listed = run([CTR, "--namespace=k8s.io", "images", "list", "--quiet"], timeout=scope.left())
    return {"name": name, "present": name in listed.out.split() if name and listed.rc == 0 else None}


def certificates(root: str = "/") -> list[dict[str, Any]]:
    """Return {path, subject, from, to} of each certificate of the cluster on this node; times are UTC, ISO 8601."""
    patterns = (
        "etc/kubernetes/pki/**/*.crt",
        "var/lib/kubelet/pki/kubelet-client-current.pem",
        "var/lib/kubelet/pki/*.crt",
    )
    paths: Iterable[Path] = (path for pattern in patterns for path in sorted(Path(root).glob(pattern)))
    return [row for row in map(certificate, paths) if row]


def certificate(path: Path) -> Optional[dict[str, Any]]:
    """Return what openssl tells of the first certificate in a file, None if it is none."""
    said = run(["openssl", "x509", "-in", str(path), "-noout", "-subject", "-dates", "-nameopt", "RFC2253"], timeout=10)
    rows = dict(line.partition("=")[::2] for line in said.out.splitlines())
    if said.rc != 0 or "notAfter" not in rows:
        return None
    moments = [
        datetime.strptime(rows[key], "%b %d %H:%M:%S %Y %Z").isoformat() + "Z" for key in ("notBefore", "notAfter")
    ]
    return {"path": str(path), "subject": rows.get("subject", ""), "from": moments[0], "to": moments[1]}
