"""Proofs of the network, made on one node: from its own network, and from inside its probe pod's."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import struct
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from kubesmith.verify.remote.common import connects, each, http, read, run, together, until

HTTP, UDP = 8080, 8081
PATIENCE = 30.0  # seconds for a rule to reach every node: kube-proxy and Felix batch, and starve on a busy machine
CLONE_NEWNET = 0x40000000
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2
SIOCGIFMTU = 0x8921
UDP_HEADERS = 28  # IPv4 and UDP
OUTSIDE, API = "kubernetes.io", "kubernetes.default"
T = TypeVar("T")
Tasks = dict[str, Callable[[], Any]]


# --- inside a pod


def process_of(uid: str) -> int:
    """Return a process of the pod that sees the pod's own files (not its pause process)."""
    marks = (f"pod{uid}", f"pod{uid.replace('-', '_')}")
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            inside = any(mark in (folder / "cgroup").read_text() for mark in marks)
            if inside and (folder / "root/etc/resolv.conf").exists():
                return int(folder.name)
        except OSError:
            continue  # the process ended while it was looked at
    raise RuntimeError(f"no process of pod {uid} runs on this node")


@contextmanager
def network_of(process: int) -> Iterator[None]:
    """Let this thread, and no other, use the network of another process."""
    libc = ctypes.CDLL(None, use_errno=True)
    own = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
    other = os.open(f"/proc/{process}/ns/net", os.O_RDONLY)
    try:
        if libc.setns(other, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        yield
    finally:
        libc.setns(own, CLONE_NEWNET)
        os.close(own)
        os.close(other)


def inside(process: int, task: Callable[[], T]) -> T:
    """Run ``task`` in the network of ``process``."""
    with network_of(process):
        return task()


# --- HTTP


def hostname(address: str, port: int) -> str:
    """Ask a probe pod for its host name, from this node; return the answer or the reason for none."""
    code, body = http(f"http://{address}:{port}/hostname")
    return body if code == 200 else f"HTTP {code}: {body}" if code else body


def dial(via: str, host: str, port: int) -> str:
    """Let the probe pod at ``via`` ask host:port for its host name; return the answer or the pod's error."""
    query = urllib.parse.urlencode({"host": host, "port": port, "request": "hostname", "protocol": "http"})
    code, body = http(f"http://{via}:{HTTP}/dial?{query}", timeout=7)
    if code != 200:
        return f"HTTP {code} from the pod's own node: {body}"
    answer = json.loads(body)
    return str((answer.get("responses") or answer.get("errors") or ["no answer"])[0])


def eventually(task: Callable[[], str], wanted: set[str], seconds: float | None = None) -> str:
    """Return the task's answer as soon as it is a wanted one, or the last one when patience ends."""
    last = ""

    def once() -> bool:
        nonlocal last
        last = task()
        return last in wanted

    until(once, PATIENCE if seconds is None else seconds)
    return last


# --- DNS


def lookup(server: str, name: str, timeout: float = 1.5) -> list[str]:
    """Ask one name server for the IPv4 addresses of a full name; sorted; empty when there is no such name."""
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.rstrip(".").split("."))
    identity = os.urandom(2)
    query = identity + struct.pack(">HHHHH", 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(timeout)
        connection.connect((server, 53))
        connection.send(query)
        answer = connection.recv(4096)
        while answer[:2] != identity:
            answer = connection.recv(4096)
    return sorted(addresses(answer))


def addresses(answer: bytes) -> list[str]:
    """Return the IPv4 addresses in a DNS answer to one question."""
    count = struct.unpack(">H", answer[6:8])[0]
    at = skip_name(answer, 12) + 4
    found = []
    for _ in range(count):
        at = skip_name(answer, at)
        kind, _, _, length = struct.unpack(">HHIH", answer[at : at + 10])
        data = answer[at + 10 : at + 10 + length]
        at += 10 + length
        if kind == 1:
            found.append(socket.inet_ntoa(data))
    return found


def skip_name(answer: bytes, at: int) -> int:
    """Return where the name that starts at ``at`` ends."""
    while answer[at] and answer[at] < 0xC0:
        at += answer[at] + 1
    return at + (2 if answer[at] else 1)


def resolver(text: str) -> tuple[str, list[str]]:
    """Return the first name server and the search list of a resolv.conf."""
    rows = [line.split() for line in text.splitlines()]
    server = next((row[1] for row in rows if row[:1] == ["nameserver"]), "")
    return server, next((row[1:] for row in rows if row[:1] == ["search"]), [])


def resolve(text: str, name: str) -> str:
    """Resolve a short name as a pod's C library would; return the addresses, or why there are none."""
    server, search = resolver(text)
    try:
        found: list[str] = next((a for a in (lookup(server, f"{name}.{domain}") for domain in search) if a), [])
        return ",".join(found or lookup(server, name)) or f"{server} knows no {name}"
    except OSError as error:
        return f"{server}: {error}"


def many_lookups(text: str, name: str, times: int) -> dict[str, Any]:
    """Look one name up many times; return how many got no answer (three are enough to stop), and the slowest, in ms."""
    server, search = resolver(text)
    domain = next(d for d in search if d.startswith("svc."))
    lost, slow = 0, []
    for _ in range(times):
        begin = time.monotonic()
        try:
            lost += not lookup(server, f"{name}.{domain}", timeout=5)  # as the C library does
        except OSError:
            lost += 1
        slow.append((time.monotonic() - begin) * 1000)
        if lost == 3:
            break
    slow.sort()
    return {"lost": lost, "asked": len(slow), "p99_ms": round(slow[int(len(slow) * 0.99) - 1], 1)}


# --- packets


def mtu_of(interface: str) -> int:
    """Return the MTU of an interface of the network this thread is in."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16si", interface.encode(), 0)
        return int(struct.unpack("16si", fcntl.ioctl(handle, SIOCGIFMTU, request)[:20])[1])


def echo(address: str, size: int) -> str:
    """Send one UDP packet of ``size`` bytes, headers included, that nobody may fragment; return what came back."""
    text = b"echo ".ljust(size - UDP_HEADERS, b"a")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        connection.settimeout(1)
        try:
            connection.connect((address, UDP))
            connection.send(text)
            return "echoed" if set(connection.recv(65535)) == {ord("a")} else "garbled"
        except OSError as error:
            return str(error.strerror or error)


def full_packets(address: str) -> dict[str, Any]:
    """Send a packet as large as the pod's interface takes, and one byte more."""
    mtu = mtu_of("eth0")
    full = eventually(lambda: echo(address, mtu), {"echoed"})
    return {"mtu": mtu, "full": full, "one_more": echo(address, mtu + 1)}


def device_to(address: str) -> str:
    """Return the interface by which this node reaches an address."""
    return str(json.loads(run("ip", "-j", "route", "get", address))[0]["dev"])


# --- all of it


def main(question: dict[str, Any]) -> dict[str, Any]:
    """Answer with every proof that can be made on this node; ``pods`` and ``nodes`` are those that should answer."""
    pods: dict[str, dict[str, str]] = question["pods"]
    nodes: dict[str, str] = question["nodes"]
    own = pods[question["node"]]
    process = process_of(own["uid"])
    others = {name: pod for name, pod in pods.items() if name != question["node"]}
    groups = {
        "pod_to_pod": each(pods, lambda pod: eventually(lambda: dial(own["ip"], pod["ip"], HTTP), {pod["name"]})),
        "pod_to_pod6": each(pods, lambda pod: eventually(lambda: dial(own["ip"], pod["ip6"], HTTP), {pod["name"]}))
        if own.get("ip6")
        else {},
        "node_to_pod": each(pods, lambda pod: eventually(lambda: hostname(pod["ip"], HTTP), {pod["name"]})),
        "packets": each(others, lambda pod: inside(process, lambda: full_packets(pod["ip"]))),
        "device": each(others, lambda pod: device_to(pod["ip"])),
        "ports": each(
            {f"{node}:{port}": (nodes[node], port) for node, port in question["ports"]}, lambda place: connects(*place)
        ),
        "node_port": each(nodes, lambda node: eventually(lambda: hostname(node, question["node_port"]), names(pods))),
        "host_port": each(
            {name: (nodes[name], pod["name"]) for name, pod in pods.items()},
            lambda place: eventually(lambda: hostname(place[0], question["host_port"]), {place[1]}),
        ),
        "service": services(question, own, names(pods)),
        "dns": dns(question, process, sorted(pod["ip"] for pod in pods.values())),
    }
    return together({name: partial(together, tasks) for name, tasks in groups.items()})


def names(pods: Mapping[str, Mapping[str, str]]) -> set[str]:
    """Return the names of all probe pods: what a service may answer with."""
    return {pod["name"] for pod in pods.values()}


def services(question: dict[str, Any], own: dict[str, str], anyone: set[str]) -> Tasks:
    """Return the proofs of services: from the node, from its pod, from the pod to itself, and by name."""
    address, port = question["cluster_ip"], 80
    return {
        "from_node": lambda: eventually(lambda: hostname(address, port), anyone),
        "from_pod": lambda: eventually(lambda: dial(own["ip"], address, port), anyone),
        "hairpin": lambda: eventually(lambda: dial(own["ip"], question["local_ip"], port), {own["name"]}),
        "by_name": lambda: eventually(lambda: dial(own["ip"], "probe", port), anyone),
    }


def dns(question: dict[str, Any], process: int, pods: list[str]) -> Tasks:
    """Return the proofs of name resolution, made with the pod's resolv.conf in the pod's network."""
    conf = read(f"/proc/{process}/root/etc/resolv.conf")

    def in_pod(task: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: inside(process, task)

    return {
        "api": in_pod(lambda: eventually(lambda: resolve(conf, API), {question["api_ip"]})),
        "headless": in_pod(lambda: eventually(lambda: resolve(conf, "headless"), {",".join(pods)})),
        "many": in_pod(lambda: many_lookups(conf, API, question["lookups"])),
        "outside": in_pod(lambda: resolve(conf, OUTSIDE)),
        "outside_from_node": lambda: resolve(read("/etc/resolv.conf"), OUTSIDE),
    }
