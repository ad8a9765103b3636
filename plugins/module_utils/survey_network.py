# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What preflight wants to know about a machine's network. Reads; sends a few small packets; leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.kubesmith.cluster.plugins.module_utils import node
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import run
from ansible_collections.kubesmith.cluster.plugins.module_utils.survey import text

# Who listens where once the node is a member: (protocol, port) → (only on a control plane, the programs).
PORTS = {
    ("tcp", 6443): (True, ("kube-apiserver",)),
    ("tcp", 2379): (True, ("etcd",)),
    ("tcp", 2380): (True, ("etcd",)),
    ("tcp", 2381): (True, ("etcd",)),
    ("tcp", 10257): (True, ("kube-controller-manager",)),
    ("tcp", 10259): (True, ("kube-scheduler",)),
    ("tcp", 10248): (False, ("kubelet",)),
    ("tcp", 10250): (False, ("kubelet",)),
    ("tcp", 10249): (False, ("kube-proxy",)),
    ("tcp", 10256): (False, ("kube-proxy",)),
    ("tcp", 9099): (False, ("calico-node",)),
    ("tcp", 179): (False, ("bird",)),
    ("udp", 4789): (False, ("kernel", "vxlan.calico")),
}
LISTENING = {"tcp": "0A", "udp": "07"}
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2  # <linux/in.h>; Python has no names for them
ECHO, ECHO_REPLY, HEADERS, SMALL = 8, 0, 28, 64
ARP, IPV4, ARP_REQUEST, ARP_REPLY, ARP_BYTES = 0x0806, 0x0800, 1, 2, 42
ROUNDS, ROUND_SECONDS, ANSWER_SECONDS = 2, 0.4, 0.8
PODS = re.compile(r"(cali|vxlan\.calico|tunl0|lo$|kube-|nodelocaldns|veth|docker0|br-|cni0|flannel|cilium|lxc)")
OF_KUBERNETES = re.compile(r"(KUBE-|cali-|kube-proxy|cali$|CILIUM_|FLANNEL)")


def interfaces() -> dict[str, dict[str, Any]]:
    """Return {name: {mtu, addresses, mac, pods}}; ``pods`` marks those that belong to pods or containers."""
    rows = json.loads(run(["ip", "-json", "address"], timeout=20).out or "[]")
    known = node.interfaces(json.dumps([dict(row, ifname="x" + row["ifname"]) for row in rows if row.get("ifname")]))
    return {
        row["ifname"]: dict(
            known["x" + row["ifname"]], mac=row.get("address", ""), pods=bool(PODS.match(row["ifname"]))
        )
        for row in rows
        if row.get("ifname") and row["ifname"] != "lo"
    }


def default_route(root: str = "/") -> bool:
    """Tell whether there is a default route (IPv4)."""
    rows = [line.split() for line in text(Path(root) / "proc/net/route").splitlines()[1:]]
    return any(len(row) > 7 and row[1] == "00000000" and row[7] == "00000000" for row in rows)


def ports_in_use(role: str, root: str = "/", more: Sequence[int] = ()) -> list[dict[str, Any]]:
    """Return who listens on the ports that a node of this role needs: [{protocol, port, address, process, pid}].

    ``more`` are further TCP ports that it needs, as those of a load balancer.

    A socket of the kernel itself, such as a VXLAN device's, has process "kernel", or "vxlan.calico".
    """
    kernel = "vxlan.calico" if Path(root, "sys/class/net/vxlan.calico").exists() else "kernel"
    wanted = {place for place, (central, _programs) in PORTS.items() if role == "control-plane" or not central}
    wanted |= {("tcp", port) for port in more}
    found = [row for row in sockets(root) if (row["protocol"], row["port"]) in wanted]
    owners = socket_owners({row["inode"] for row in found}, root) if found else {}
    rows = []
    for row in found:
        pid, process = owners.get(row.pop("inode"), (0, kernel if row["protocol"] == "udp" else "kernel"))
        rows.append(dict(row, pid=pid, process=process))
    return rows


def sockets(root: str) -> Iterator[dict[str, Any]]:
    """Yield every listening socket of /proc/net."""
    for protocol in ("tcp", "udp"):
        for family in ("", "6"):
            for line in text(Path(root) / "proc/net" / (protocol + family)).splitlines()[1:]:
                fields = line.split()
                if len(fields) > 9 and fields[3] == LISTENING[protocol]:
                    raw, port = fields[1].rsplit(":", 1)
                    yield {
                        "protocol": protocol,
                        "port": int(port, 16),
                        "address": readable(raw),
                        "inode": fields[9],
                    }


def readable(raw: str) -> str:
    """Return an address of /proc/net, whose words are in the machine's own byte order, as text."""
    words = [struct.pack("=I", int(raw[start : start + 8], 16)) for start in range(0, len(raw), 8)]
    return socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, b"".join(words))


def socket_owners(inodes: set[str], root: str = "/") -> dict[str, tuple[int, str]]:
    """Return {inode: (pid, program)} of sockets that some process holds."""
    links = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[str, tuple[int, str]] = {}
    for folder in Path(root, "proc").glob("[0-9]*"):
        try:
            held = {str(handle.readlink()) for handle in (folder / "fd").iterdir()} & set(links)
        except OSError:
            continue  # it has ended meanwhile
        for link in held:
            found[links[link]] = (int(folder.name), program(folder))
        if len(found) == len(inodes):
            break
    return found


def program(folder: Path) -> str:
    """Return the name of a process's program; its own idea of it may be cut at 15 characters."""
    first = text(folder / "cmdline").split("\0")[0]
    return first.rsplit("/", 1)[-1] or text(folder / "comm").strip()


def dns(root: str = "/") -> dict[str, Any]:
    """Return {servers, answering, behind}: ``behind`` are those that systemd-resolved's stub asks."""
    servers = nameservers(text(Path(root) / "etc/resolv.conf"))
    behind = nameservers(text(Path(root) / "run/systemd/resolve/resolv.conf"))
    return {"servers": servers, "behind": behind, "answering": answering(servers)}


def nameservers(resolv_conf: str) -> list[str]:
    """Return the name servers of a resolv.conf."""
    rows = [line.split() for line in resolv_conf.splitlines()]
    return [row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"]


def answering(servers: Sequence[str], port: int = 53, seconds: float = ANSWER_SECONDS) -> list[str]:
    """Return the name servers that answer anything at all, even a refusal, to a question for the root."""
    question = b"\x4b\x53\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + b"\x00" + b"\x00\x02\x00\x01"
    asked: dict[socket.socket, str] = {}
    for server in servers:
        family = socket.AF_INET6 if ":" in server else socket.AF_INET
        link = socket.socket(family, socket.SOCK_DGRAM)
        asked[link] = server
        try:
            link.connect((server.split("%")[0], port))
            link.send(question)
        except OSError:
            continue
    return sorted(answers(asked, seconds), key=list(servers).index)


def answers(asked: Mapping[socket.socket, str], seconds: float) -> set[str]:
    """Return the servers whose sockets got an answer in time; closes the sockets."""
    waiting, found, deadline = dict(asked), set(), time.monotonic() + seconds
    while waiting and (left := deadline - time.monotonic()) > 0:
        for link in select.select(list(waiting), [], [], left)[0]:
            server = waiting.pop(link)
            try:
                link.recv(512)
                found.add(server)
            except OSError:
                continue  # refused: nobody listens there
    for link in asked:
        link.close()
    return found


def paths(peers: Sequence[str], mtu: int) -> dict[str, str]:
    """Return how far unfragmented packets get to each IPv4 address: ``full``, ``small`` (64 bytes only) or ``none``.

    An empty answer means that this login or kernel lets us send no such packets.
    """
    try:
        link = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    except OSError:
        return {}
    identity, sizes = os.getpid() & 0xFFFF, {1: SMALL, 2: max(SMALL, mtu)}
    missing = {(address, number) for address in peers for number in sizes}
    with link:
        link.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
        for _round in range(ROUNDS):
            for address, number in sorted(missing):
                echo(link, address, identity, number, sizes[number])
            missing -= replies(link, identity, missing)
            if not missing:
                break
    word = {0: "full", 1: "small", 2: "none"}
    return {address: word[sum((address, number) in missing for number in sizes)] for address in peers}


def holder(address: str, interface: str, seconds: float = ANSWER_SECONDS) -> str:
    """Return the hardware address of whoever has an IPv4 address on the network of ``interface``; "" for nobody.

    Asked by ARP, as a machine does that is about to take an address (RFC 5227): nobody can be silent on it, and no
    neighbour learns a thing. Empty, too, where this login or kernel lets us send no such packets.
    """
    try:
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP))
    except OSError:
        return ""
    with link:
        try:
            link.bind((interface, ARP))
        except OSError:
            return ""
        own, wanted = link.getsockname()[4], socket.inet_aton(address)
        question = b"\xff" * 6 + own + struct.pack("!HHHBBH", ARP, 1, IPV4, 6, 4, ARP_REQUEST)
        question += own + bytes(4) + bytes(6) + wanted
        for _round in range(ROUNDS):
            try:
                link.send(question)
            except OSError:
                return ""
            if found := _answered(link, wanted, seconds / ROUNDS):
                return found
    return ""


def _answered(link: socket.socket, wanted: bytes, seconds: float) -> str:
    """Return who says within a time that it has an address; packets of others are passed over."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([link], [], [], left)[0]:
            break
        if found := has(link.recv(2048), wanted):
            return found
    return ""


def has(packet: bytes, wanted: bytes) -> str:
    """Return the sender's hardware address if an Ethernet packet is an ARP reply for an address; else ""."""
    if len(packet) < ARP_BYTES or packet[12:14] != struct.pack("!H", ARP):
        return ""
    if packet[20:22] != struct.pack("!H", ARP_REPLY) or packet[28:32] != wanted:
        return ""
    return ":".join(f"{byte:02x}" for byte in packet[22:28])


def echo(link: socket.socket, address: str, identity: int, number: int, size: int) -> None:
    """Send one echo request of ``size`` bytes, IP header included."""
    body = b"k" * (size - HEADERS)
    head = struct.pack("!BBHHH", ECHO, 0, 0, identity, number)
    packet = struct.pack("!BBHHH", ECHO, 0, checksum(head + body), identity, number) + body
    try:
        link.sendto(packet, (address, 0))
    except OSError:
        return  # too large for the way that the kernel knows, or no way at all: it stays unanswered


def checksum(data: bytes) -> int:
    """Return the Internet checksum."""
    data += b"\0" * (len(data) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def replies(link: socket.socket, identity: int, missing: set[tuple[str, int]]) -> set[tuple[str, int]]:
    """Return which of the ``missing`` (address, number) pairs were answered within a round's time."""
    found: set[tuple[str, int]] = set()
    deadline = time.monotonic() + ROUND_SECONDS
    while missing - found and (left := deadline - time.monotonic()) > 0:
        if not select.select([link], [], [], left)[0]:
            break
        packet, (address, _port) = link.recvfrom(65535)
        start = (packet[0] & 0x0F) * 4
        kind, _code, _sum, seen, number = struct.unpack("!BBHHH", packet[start : start + 8])
        if kind == ECHO_REPLY and seen == identity:
            found.add((address, number))
    return found & missing


def firewall() -> dict[str, Any]:
    """Return {drops, chains}: hooks whose policy drops, and the chains of Kubernetes and its network plug-ins."""
    said = run(["nft", "list", "chains"], timeout=20)
    found = (
        nft_chains(said.out) if said.rc == 0 else iptables_chains("iptables", run(["iptables", "-S"], timeout=20).out)
    )
    if text("/proc/net/ip_tables_names").strip():
        for table in ("filter", "nat"):
            legacy = iptables_chains("iptables-legacy", run(["iptables-legacy", "-t", table, "-S"], timeout=20).out)
            found = {key: found[key] + legacy[key] for key in found}
    return {key: sorted(set(rows)) for key, rows in found.items()}


def nft_chains(listing: str) -> dict[str, list[str]]:
    """Return {drops, chains} of ``nft list chains``."""
    found: dict[str, list[str]] = {"drops": [], "chains": []}
    table = chain = ""
    for line in listing.splitlines():
        words = line.split()
        if words[:1] == ["table"]:
            table = " ".join(words[1:3])
        elif words[:1] == ["chain"]:
            chain = words[1]
            if OF_KUBERNETES.match(chain) or OF_KUBERNETES.match(table.split()[-1]):
                found["chains"].append(f"nft {table} {chain}")
        elif re.search(r"hook (input|forward) .*policy drop", line):
            found["drops"].append(f"nft {table} {chain}")
    return found


def iptables_chains(command: str, rules: str) -> dict[str, list[str]]:
    """Return {drops, chains} of ``iptables -S``."""
    drops = re.findall(r"^-P (INPUT|FORWARD) (?:DROP|REJECT)", rules, re.MULTILINE)
    chains = [name for name in re.findall(r"^-N (\S+)", rules, re.MULTILINE) if OF_KUBERNETES.match(name)]
    return {"drops": [f"{command} {name}" for name in drops], "chains": [f"{command} {name}" for name in chains]}


def unreachable(urls: Sequence[str]) -> dict[str, str]:
    """Return {address: why} of the http(s) servers to which no connection can be made."""
    return {url: why for url in urls for why in [connection_error(url)] if why}


def connection_error(url: str) -> str:
    """Return why no connection to the server of ``url`` can be made, an empty string if one can."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""
