"""What one node knows about itself; nothing is changed. Root's eyes are needed."""

from __future__ import annotations

import base64
import ctypes
import json
import os
import re
import shutil
import socket
import stat
import time
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

from kubesmith.verify.remote.common import BUNDLE, Api, connects, first_match, found, http, kubectl, read, run, together

SYSCTLS = ("net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables")
TOOLS = ("conntrack", "socat", "losetup", "mount")
SOCKET = "/run/containerd/containerd.sock"
PKI = "/etc/kubernetes/pki"
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
SERVICE = "ActiveState,SubState,UnitFileState,NRestarts,ActiveEnterTimestamp"
# klog's lines start with the level and the date: E1123 14:03:22.123456 1 kubelet.go:123] …
KLOG_ERROR = re.compile(r"^E\d{4} [\d:.]+ +\d+ (?P<place>[\w.-]+:\d+)\] (?P<text>.{0,200})")


# --- the machine


def swaps() -> list[str]:
    """Return the swap devices in use."""
    return [line.split()[0] for line in read("/proc/swaps").splitlines()[1:]]


def fstab_swaps() -> list[str]:
    """Return the swap devices that the next boot would use."""
    path = Path("/etc/fstab")
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [f[0] for f in lines if len(f) > 2 and f[2] == "swap" and not f[0].startswith("#")]


def modules() -> list[str]:
    """Return which of the needed kernel features are there; what they offer shows it, built in or loaded."""
    found = {
        "overlay": "\toverlay\n" in read("/proc/filesystems"),
        "br_netfilter": Path("/proc/sys/net/bridge").is_dir(),
    }
    return sorted(name for name, there in found.items() if there)


def modules_at_boot() -> list[str]:
    """Return which of the needed modules the next boot loads."""
    text = "\n".join(map(read, found("/etc/modules-load.d/*.conf", "/usr/lib/modules-load.d/*.conf")))
    return sorted({"overlay", "br_netfilter"} & {line.strip() for line in text.splitlines()})


def sysctls() -> dict[str, str]:
    """Return the values in force."""
    paths = {name: Path("/proc/sys", name.replace(".", "/", 2)) for name in SYSCTLS}
    return {name: path.read_text().strip() if path.exists() else "absent" for name, path in paths.items()}


def sysctls_at_boot() -> dict[str, str]:
    """Return the values that the next boot sets: files are read in the order of their names, the last one wins."""
    files = found(*(f"{folder}/sysctl.d/*.conf" for folder in ("/usr/lib", "/run", "/etc")))
    pairs: dict[str, str] = {}
    for file in [*sorted(files, key=lambda file: Path(file).name), "/etc/sysctl.conf"]:
        lines = read(file).splitlines() if Path(file).exists() else []
        settings = [line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith(("#", ";"))]
        pairs.update({key.strip().lstrip("-").replace("/", "."): value.strip() for key, _, value in settings})
    return {name: pairs.get(name, "absent") for name in SYSCTLS}


def identity() -> dict[str, str]:
    """Return what tells this machine from others."""
    uuid = Path("/sys/class/dmi/id/product_uuid")
    return {
        "hostname": socket.gethostname(),
        "machine-id": read("/etc/machine-id").strip(),
        "product_uuid": uuid.read_text().strip() if uuid.exists() else "",
    }


def links() -> list[dict[str, Any]]:
    """Return every network interface: name, kind, MTU, MAC, IPv4 addresses."""
    kinds = {
        link["ifname"]: link.get("linkinfo", {}).get("info_kind", "")
        for link in json.loads(run("ip", "-j", "-d", "link"))
    }
    return [
        {
            "name": link["ifname"],
            "kind": kinds.get(link["ifname"], ""),
            "mtu": link["mtu"],
            "mac": link.get("address", ""),
            "addresses": [a["local"] for a in link["addr_info"] if a["family"] == "inet"],
        }
        for link in json.loads(run("ip", "-j", "addr"))
    ]


def resolved(name: str) -> list[str]:
    """Return what a name means to this node's resolver (/etc/hosts, then DNS)."""
    try:
        found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({str(entry[4][0]) for entry in found})


def clock_synchronized() -> bool:
    """Tell whether the kernel believes its clock to be kept right (adjtimex, as timedatectl does)."""
    timex = ctypes.create_string_buffer(512)
    return bool(ctypes.CDLL(None).adjtimex(timex) != 5)  # TIME_ERROR: not synchronised


def repeated_hosts_lines() -> list[str]:
    """Return the lines that stand more than once in /etc/hosts."""
    lines = [" ".join(line.split()) for line in read("/etc/hosts").splitlines() if line.strip()]
    return [line for line, times in Counter(lines).items() if times > 1]


def unheld_packages() -> dict[str, Any]:
    """Return which Kubernetes packages are installed, and which of them an upgrade of the system could move."""
    if not shutil.which("dpkg-query"):
        return {"installed": [], "unheld": []}
    listed = run("dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n").splitlines()
    states = {line.split()[0]: line.split()[1] for line in listed if len(line.split()) == 2}
    installed = [p for p in ("kubelet", "kubeadm", "kubectl") if states.get(p, "")[1:2] == "i"]
    return {"installed": installed, "unheld": [p for p in installed if not states[p].startswith("h")]}


def network_manager() -> dict[str, Any]:
    """Tell whether NetworkManager runs, and which of Calico's interfaces it manages."""
    if run("sh", "-c", "systemctl is-active NetworkManager || true") != "active":
        return {"active": False, "managed": []}
    device = re.compile(r"^(cali\w+|tunl0|vxlan\.calico):(.*)$")
    rows = [device.match(line) for line in run("nmcli", "-t", "-f", "DEVICE,STATE", "device").splitlines()]
    return {"active": True, "managed": [row[1] for row in rows if row and row[2] != "unmanaged"]}


# --- containerd


def services() -> dict[str, dict[str, str]]:
    """Return systemd's view of containerd and kubelet, by unit."""
    blocks = run("systemctl", "show", "-p", f"Id,{SERVICE}", "containerd", "kubelet").split("\n\n")
    rows = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in blocks]
    return {row["Id"].removesuffix(".service"): row for row in rows}


@lru_cache(None)
def containerd_config() -> dict[str, str]:
    """Return the three values of the configuration in force that a cluster stands or falls with."""
    lines = run("containerd", "config", "dump").splitlines()
    keys = ("SystemdCgroup", "sandbox", "config_path")
    return {key: first_match(lines, f"{key} =").partition("=")[2].strip().strip("'\"") for key in keys}


def cri_plugins() -> dict[str, str]:
    """Return the state of each of containerd's CRI plugins."""
    rows = [line.split() for line in run("ctr", "plugins", "ls").splitlines()[1:]]
    return {
        f"{row[0]}.{row[1]}": row[-1]
        for row in rows
        if len(row) > 2 and (row[0].startswith("io.containerd.cri") or row[1] == "cri")
    }


def images() -> list[str]:
    """Return the references of the images on this node."""
    return run("ctr", "-n", "k8s.io", "images", "ls", "-q").splitlines()


def dead_sandboxes() -> dict[str, int]:
    """Return how many sandboxes without a living pause process each pod (``namespace/name``) has."""
    sandboxes = run("ctr", "-n", "k8s.io", "containers", "ls", "-q", 'labels."io.cri-containerd.kind"==sandbox').split()
    tasks = [line.split() for line in run("ctr", "-n", "k8s.io", "tasks", "ls").splitlines()[1:]]
    running = {task[0] for task in tasks if task[-1] == "RUNNING"}
    return dict(Counter(pod_of(sandbox) for sandbox in sandboxes if sandbox not in running))


def pod_of(sandbox: str) -> str:
    """Return the pod that a sandbox was made for."""
    labels = json.loads(run("ctr", "-n", "k8s.io", "containers", "info", sandbox))["Labels"]
    return f"{labels['io.kubernetes.pod.namespace']}/{labels['io.kubernetes.pod.name']}"


def registry_hosts(text: str) -> list[str]:
    """Return the addresses that a hosts.toml has containerd pull from: its hosts, else the server itself."""
    hosts = re.findall(r"^\s*\[\s*host\s*\.\s*[\"'](https?://[^\s\"']+)", text, re.MULTILINE)
    return hosts or re.findall(r"^\s*server\s*=\s*[\"'](https?://[^\s\"']+)", text, re.MULTILINE)


def mirrors(folder: str) -> dict[str, str]:
    """Ask every registry endpoint of containerd's hosts.toml files for its API; return each one's answer.

    A registry that has mirrors is not asked itself: it may be out of reach, which is what they are for.
    """
    texts = [read(file) for file in found(f"{folder}/*/hosts.toml")] if folder else []
    urls = sorted({url for text in texts for url in registry_hosts(text)})
    return {url: str(http(f"{url.rstrip('/')}/v2/")[0]) for url in urls}


# --- kubelet


@lru_cache(None)
def kubelet_version() -> str:
    """Return the installed version: ``v1.37.2``."""
    return run("kubelet", "--version").split()[-1]


def kubelet_errors() -> dict[str, int]:
    """Return how often each error line of the last minute came, of those that still came in its last ten seconds."""
    lines = run("journalctl", "-q", "-u", "kubelet", "--since=-60s", "-o", "short-unix", "--no-pager").splitlines()
    seen: dict[str, list[float]] = {}
    for line in lines:
        stamp, _, rest = line.partition(" ")
        found = KLOG_ERROR.match(rest.partition("]: ")[2])
        if found:
            seen.setdefault(f"{found['place']} {found['text'][:120]}", []).append(float(stamp))
    return {text: len(times) for text, times in seen.items() if max(times) > time.time() - 10}


def certificates(path: str) -> str:
    """Return the certificates of a PEM file, never a key that lies beside them."""
    return "\n".join(CERTIFICATE.findall(read(path)))


def pods_cgroups() -> list[str]:
    """Return the names of the pods' cgroups: ``kubepods.slice`` under systemd's driver, ``kubepods`` under cgroupfs."""
    return sorted({Path(path).name for path in found("/sys/fs/cgroup/kubepods*", "/sys/fs/cgroup/*/kubepods*")})


# --- files that must or must not be there


def modes(patterns: tuple[str, ...]) -> dict[str, str]:
    """Return mode, owner and group of each file: ``600 0:0``."""
    answer = {}
    for path in found(*patterns):
        state = Path(path).stat()
        answer[path] = f"{stat.S_IMODE(state.st_mode):o} {state.st_uid}:{state.st_gid}"
    return answer


def authority_secrets() -> list[str]:
    """Return the files that only a control plane may hold."""
    names = (f"{PKI}/ca.key", f"{PKI}/front-proxy-ca.key", f"{PKI}/etcd/ca.key", f"{PKI}/sa.key")
    configs = ("/etc/kubernetes/admin.conf", "/etc/kubernetes/super-admin.conf")
    return [name for name in (*names, *configs) if Path(name).exists()]


def cni_files() -> dict[str, str]:
    """Return the mode of each file that tells containerd which network plugin to call."""
    return {Path(path).name: mode.split()[0] for path, mode in modes(("/etc/cni/net.d/*",)).items()}


def bundle() -> dict[str, Any]:
    """Return versions and image references of the bundle this node was built from; nothing if there is none."""
    if not Path(BUNDLE).exists():
        return {}
    components = json.loads(read(BUNDLE))["components"]
    refs = [image["ref"] for component in components for image in component.get("images", [])]
    return {"versions": {component["name"]: component["version"] for component in components}, "images": refs}


# --- control plane


def pki() -> dict[str, str]:
    """Return every certificate of the control plane, by file; a kubeconfig yields its client certificate."""
    answer = {path: certificates(path) for path in found(f"{PKI}/**/*.crt")}
    for path in found("/etc/kubernetes/*.conf"):
        embedded = re.search(r"client-certificate-data: (\S+)", read(path))
        if embedded:
            answer[path] = run("base64", "-d", text=embedded[1])
    return answer


def every_certificate() -> dict[str, str]:
    """Return every certificate that this node works with, by file: the PKI's, the kubelet's and each kubeconfig's."""
    kubelet = found("/var/lib/kubelet/pki/kubelet-client-current.pem", "/var/lib/kubelet/pki/*.crt")
    answer = pki() | {path: certificates(path) for path in kubelet}
    for path in set(found("/etc/kubernetes/*.conf")) - set(answer):
        named = re.search(r"client-certificate: (\S+)", read(path))
        answer[path] = certificates(named[1]) if named else ""
    return {path: pem for path, pem in answer.items() if pem}


def dry_run_leftovers() -> list[str]:
    """Return what kubeadm's dry runs leave: they write real keys."""
    return found("/etc/kubernetes/tmp/*dryrun*", "/etc/kubernetes/.git", "/tmp/kubeadm-*-dryrun*")  # noqa: S108


def etcd(*arguments: str) -> Any:
    """Return the JSON answer of etcdctl to the member on this node."""
    folder = f"{PKI}/etcd"
    keys = (
        f"--cacert={folder}/ca.crt",
        f"--cert={folder}/healthcheck-client.crt",
        f"--key={folder}/healthcheck-client.key",
    )
    return json.loads(run(*etcdctl(), "--endpoints=https://127.0.0.1:2379", *keys, "-w", "json", *arguments))


def etcdctl() -> list[str]:
    """Return the command etcdctl: the node's, else (on nodes that other hands set up) the one in etcd's own pod."""
    if shutil.which("etcdctl"):
        return ["etcdctl"]
    selector = ("--selector=component=etcd", f"--field-selector=spec.nodeName={os.uname().nodename}")
    pod = kubectl("get", "pods", "--namespace=kube-system", *selector, "--output=name").split()[0]
    admin = "--kubeconfig=/etc/kubernetes/admin.conf"
    return ["kubectl", admin, "exec", "--namespace=kube-system", pod, "--", "etcdctl"]


def plain_secrets() -> list[str]:
    """Return the keys of secrets that stand in etcd as they are; their values stay here."""
    rows = etcd("get", "/registry/secrets/", "--prefix").get("kvs", [])
    plain = [row for row in rows if not base64.b64decode(row.get("value", "")).startswith(b"k8s:enc:")]
    return [base64.b64decode(row["key"]).decode() for row in plain]


def audit_age() -> float | None:
    """Return for how many seconds the API server has written nothing into its audit log; None where there is none."""
    log = Path("/var/log/kubernetes/audit/audit.log")
    return time.time() - log.stat().st_mtime if log.exists() and log.stat().st_size else None


def pause_wanted() -> str:
    """Return the pause image that this kubeadm would use."""
    version = kubelet_version()
    images = run("kubeadm", "config", "images", "list", "--kubernetes-version", version).splitlines()
    return next(image for image in images if "/pause:" in image)


def control_plane(address: str) -> dict[str, Any]:
    """Return the questions that only a control plane can answer."""
    return {
        "manifests": lambda: sorted(Path(path).stem for path in found("/etc/kubernetes/manifests/*.yaml")),
        "readyz": lambda: Api().raw("GET", "/readyz?verbose").splitlines(),
        "scheduler_healthz": lambda: http("https://127.0.0.1:10259/healthz")[1],
        "controller_manager_healthz": lambda: http("https://127.0.0.1:10257/healthz")[1],
        "modes": lambda: modes(
            (
                f"{PKI}/**/*.key",
                f"{PKI}/**/*.crt",
                f"{PKI}/sa.pub",
                "/etc/kubernetes/*.conf",
                "/etc/kubernetes/manifests/*.yaml",
                "/var/lib/etcd",
            )
        ),
        "pki": pki,
        "dry_run_leftovers": dry_run_leftovers,
        "pause_wanted": pause_wanted,
        "etcd_health": lambda: etcd("endpoint", "health", "--cluster"),
        "etcd_members": lambda: etcd("member", "list"),
        "etcd_status": lambda: etcd("endpoint", "status", "--cluster"),
        "plain_secrets": plain_secrets,
        "audit_age": audit_age,
        "etcd_alarms": lambda: etcd("alarm", "list"),
        "etcd_without_certificate": lambda: http(f"https://{address}:2379/health")[0],
        "api_anonymous": lambda: http(f"https://{address}:6443/api/v1/secrets")[0],
        "cluster_info": lambda: http(f"https://{address}:6443/api/v1/namespaces/kube-public/configmaps/cluster-info"),
    }


def every_node(address: str, endpoint: str) -> dict[str, Any]:
    """Return the questions that every node can answer; ``endpoint`` is where the API is reached, host and port."""
    return {
        "swaps": swaps,
        "fstab_swaps": fstab_swaps,
        "modules": modules,
        "modules_at_boot": modules_at_boot,
        "sysctls": sysctls,
        "sysctls_at_boot": sysctls_at_boot,
        "cgroup": lambda: run("stat", "-fc", "%T", "/sys/fs/cgroup"),
        "cpus": os.cpu_count,
        "memory_mib": lambda: int(first_match(read("/proc/meminfo").splitlines(), "MemTotal:").split()[1]) // 1024,
        "identity": identity,
        "links": links,
        "clock_synchronized": clock_synchronized,
        "resolved": lambda: resolved(socket.gethostname()),
        "repeated_hosts_lines": repeated_hosts_lines,
        "packages": unheld_packages,
        "network_manager": network_manager,
        "tools": lambda: [tool for tool in TOOLS if shutil.which(tool)],
        "services": services,
        "containerd_version": lambda: run("containerd", "--version").split()[2],
        "containerd_config": containerd_config,
        "containerd_socket": lambda: modes((SOCKET,)).get(SOCKET, "absent"),
        "cri_plugins": cri_plugins,
        "images": images,
        "dead_sandboxes": dead_sandboxes,
        "mirrors": lambda: mirrors(containerd_config()["config_path"]),
        "kubelet_healthz": lambda: http("http://127.0.0.1:10248/healthz")[1],
        "kubelet_version": kubelet_version,
        "kubelet_errors": kubelet_errors,
        "kubelet_certificate": lambda: certificates("/var/lib/kubelet/pki/kubelet-client-current.pem"),
        "certificates": every_certificate,
        "kubelet_anonymous": lambda: http(f"https://{address}:10250/pods")[0],
        "kubelet_read_only_port": lambda: [a for a in ("127.0.0.1", address) if connects(a, 10255) == "open"],
        "pods_cgroups": pods_cgroups,
        "ca": lambda: certificates(f"{PKI}/ca.crt"),
        "authority_secrets": authority_secrets,
        "cni_files": cni_files,
        "felix_ready": lambda: http("http://127.0.0.1:9099/readiness")[0],
        "proxy_mode": lambda: http("http://127.0.0.1:10249/proxyMode")[1],
        "bundle": bundle,
        "endpoint": lambda: http(f"https://{endpoint}/readyz") if endpoint else (0, "there is none"),
    }


def main(question: dict[str, Any]) -> dict[str, Any]:
    """Answer with every fact; ``clock`` is read first and last, which tells within what limits clocks agree."""
    begun, address = time.time(), question["address"]
    tasks = every_node(address, question["endpoint"])
    if question["control_plane"]:
        tasks.update(control_plane(address))
    answers = together(tasks)
    answers["clock"] = [begun, time.time()]
    return answers
