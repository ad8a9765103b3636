"""On a pod's node: questions to DNS and connections, made from inside the pod's network."""

from __future__ import annotations

from typing import Any

from kubesmith.tour.remote.flow import fetch, lookup
from kubesmith.verify.remote.common import each, read, run, together
from kubesmith.verify.remote.paths import network_of, process_of

TIMEOUT = 2.0


def connections(address: str) -> list[str]:
    """Return the kernel's entries of connections to an address: they show what it was translated to."""
    return run("sh", "-c", f"conntrack -L -d {address} 2>/dev/null | head -4").splitlines()


def main(question: dict[str, Any]) -> dict[str, Any]:
    """Answer, for the pod ``uid``: its resolv.conf, the addresses of ``names``, and which of ``urls`` answer (by name).

    ``track`` is an address whose connections are told, seen by the node, empty for none.
    """
    pid = process_of(question["uid"])
    resolver = read(f"/proc/{pid}/root/etc/resolv.conf").strip()
    server = next(line.split()[1] for line in resolver.splitlines() if line.startswith("nameserver"))

    def name(wanted: str) -> list[str]:
        with network_of(pid):
            return lookup(server, wanted)

    def page(url: str) -> list[Any]:
        with network_of(pid):
            return list(fetch(url, TIMEOUT))

    names = together(each({wanted: wanted for wanted in question["names"]}, name))
    pages = together(each(question["urls"], page))
    track = connections(question["track"]) if question["track"] else []
    return {"resolver": resolver, "server": server, "names": names, "pages": pages, "connections": track}
