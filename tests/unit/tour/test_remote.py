"""What the scripts on the nodes make of what programs print."""

from __future__ import annotations

import base64
import json
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from kubesmith.tour.remote import flow, runtime

KLOG = """\
I1125 00:15:01.000001   77 loader.go:395] Config loaded from file:  /etc/kubernetes/admin.conf
I1125 00:15:01.250000   77 helper.go:113] "Request Body" body=<
\t{"kind":"Deployment"}
 >
I1125 00:15:01.250500   77 round_trippers.go:527] "Request" verb="POST" url="https://10.0.0.1:6443/apis/apps/v1"
I1125 00:15:01.262000   77 round_trippers.go:632] "Response" status="201 Created" milliseconds=11
"""
BEGIN = 1795565700 * 10**9  # 2026-11-25 00:15:00


def test_kubectls_log_from_its_post_on() -> None:
    rows = flow.klog(KLOG, BEGIN)
    assert [row["at"] - BEGIN for row in rows] == [1_250_000_000, 1_250_500_000, 1_262_000_000]
    assert rows[0]["text"].startswith('"Request Body"')
    assert '{"kind":"Deployment"}' in rows[0]["text"]
    assert "POST" in rows[1]["text"]


def test_a_log_without_a_post() -> None:
    assert flow.klog("nothing of klog", BEGIN) == []


def watch_line(*events: dict[str, Any]) -> str:
    return json.dumps({"Header": {}, "Events": list(events), "Created": False})


def event(key: str, value: bytes = b"", **more: Any) -> dict[str, Any]:
    pair = {"key": base64.b64encode(key.encode()).decode(), "create_revision": 5, "mod_revision": 7, "version": 2}
    return {"kv": pair | ({"value": base64.b64encode(value).decode()} if value else {}), **more}


def test_etcds_watch() -> None:
    line = watch_line(
        event("/registry/pods/mine/web", b"k8s\x00\x0a\x02Pod web"),
        event("/registry/pods/other/web", b"x"),
        event("/registry/secrets/mine/token", b"s3cret"),
        event("/registry/pods/mine/old", type=1),
    )
    rows = flow.etcd_rows([(123, line), (124, watch_line())], "mine")
    assert [(row["key"], row["deleted"]) for row in rows] == [
        ("/registry/pods/mine/web", False),
        ("/registry/pods/mine/old", True),
    ]
    assert (rows[0]["at"], rows[0]["revision"], rows[0]["created"], rows[0]["version"]) == (123, 7, 5, 2)
    assert (rows[0]["bytes"], rows[0]["text"]) == (13, "k8s Pod web")
    assert "s3cret" not in json.dumps(rows)


def test_the_apis_watch_leaves_out_what_is_no_object() -> None:
    item = {"metadata": {"resourceVersion": "9", "managedFields": [1], "name": "web"}}
    lines = [
        (1, json.dumps({"type": "ADDED", "object": item})),
        (2, json.dumps({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "10"}}})),
        (3, json.dumps({"type": "ERROR", "object": {"kind": "Status"}})),
    ]
    (row,) = flow.watch_rows(lines, "Pod")
    assert (row["at"], row["kind"], row["revision"]) == (1, "Pod", 9)
    assert "managedFields" not in row["object"]["metadata"]


@pytest.fixture
def dns() -> Iterator[tuple[str, list[bytes]]]:
    """A DNS server at 127.0.0.9:53 that says what it is told to, as often as it is asked."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        try:
            server.bind(("127.0.0.9", 53))
        except OSError as error:
            pytest.skip(f"port 53: {error}")
        answers: list[bytes] = []

        def serve() -> None:
            while True:
                try:
                    query, peer = server.recvfrom(512)
                except OSError:
                    return
                head = query[:2] + struct.pack(">HHHHH", 0x8400, 1, len(answers), 0, 0)
                server.sendto(head + query[12:] + b"".join(answers), peer)

        threading.Thread(target=serve, daemon=True).start()
        yield "127.0.0.9", answers
        server.close()


def test_dns_answers(dns: tuple[str, list[bytes]]) -> None:
    server, answers = dns
    assert flow.lookup(server, "web.mine.svc.cluster.local") == []
    pointer = b"\xc0\x0c"
    answers += [
        pointer + struct.pack(">HHIH", 5, 1, 30, 4) + b"\x01a\xc0\x0c",  # another name for it
        pointer + struct.pack(">HHIH", 1, 1, 30, 4) + bytes([10, 244, 1, 9]),
        b"\x01a" + pointer + struct.pack(">HHIH", 1, 1, 30, 4) + bytes([10, 244, 1, 10]),
    ]
    assert flow.lookup(server, "web.mine.svc.cluster.local") == ["10.244.1.9", "10.244.1.10"]


def test_a_dns_server_that_is_not_there() -> None:
    assert flow.lookup("127.0.0.10", "web", timeout=0.05) == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("0::/kubepods.slice/pod1\n", "/kubepods.slice/pod1"),
        ("12:cpu,cpuacct:/a\n5:memory:/kubepods/pod1\n1:name=systemd:/b\n0::/c\n", "/kubepods/pod1"),
        ("5:name=systemd:/b\n", "/b"),
    ],
)
def test_a_processes_cgroup(text: str, path: str) -> None:
    assert runtime.cgroup(text) == path


def test_rules_that_name_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    listing = """\
table ip kube-proxy {
\tmap service-ips {
\t\ttype ipv4_addr . inet_proto . inet_service : verdict
\t\telements = { 10.96.0.1 . tcp . 443 : goto service-A,
\t\t\t     10.96.7.7 . tcp . 80 : goto service-B }
\t}
\tchain endpoint-B {
\t\tip saddr 10.244.1.9 jump mark-for-masquerade
\t\tmeta l4proto tcp dnat to 10.244.1.9:8080
\t\tmeta l4proto tcp dnat to 10.244.1.90:8080
\t}
}"""
    monkeypatch.setattr(runtime.shutil, "which", lambda name: name == "nft" and "/nft")
    monkeypatch.setattr(runtime, "run", lambda *words, **_more: listing if words[0] == "nft" else "[]")
    rows = runtime.rules("10.244.1.9", ["10.96.7.7"])
    assert rows == [
        "table ip kube-proxy · map service-ips · 10.96.7.7 . tcp . 80 : goto service-B",
        "table ip kube-proxy · chain endpoint-B · ip saddr 10.244.1.9 jump mark-for-masquerade",
        "table ip kube-proxy · chain endpoint-B · meta l4proto tcp dnat to 10.244.1.9:8080",
    ]
    assert runtime.rules("", []) == []
