"""T15: from a name to a pod: DNS, the service's address, the connection; and a NetworkPolicy that forbids it."""

from __future__ import annotations

from dataclasses import dataclass

from kubesmith.tour.api import Object
from kubesmith.tour.stage import Stage
from kubesmith.tour.workload import PORT, pod, service, web

FRIEND = {"kubesmith.io/friend": "yes"}
SPREAD = 30.0  # seconds for a policy to reach the kernel


def take(stage: Stage) -> None:
    """Take the tour."""
    stage.space()
    image = stage.image()
    stage.create(web(image), service())
    stage.create(pod(image, "friend", labels={"app": "friend"} | FRIEND), pod(image, "stranger"))
    server, friend, stranger = stage.ready("web")[0], stage.ready("friend")[0], stage.ready("stranger")[0]
    address = stage.api.get(f"/api/v1/namespaces/{stage.namespace}/services/web")["spec"]["clusterIP"]
    name = f"web.{stage.namespace}.svc.{stage.job.spec.network.dns_domain}"
    urls = {"service": f"http://{address}/hostname", "pod": f"http://{server['status']['podIP']}:{PORT}/hostname"}
    _path(stage, friend, Place(name, address), urls, server)
    matrix = {"friend": friend, "stranger": stranger}
    _open(stage, matrix, urls, {"friend": True, "stranger": True}, "open")
    stage.say("deny")
    stage.act("deny", lambda: stage.create(policy("nobody", [])))
    _open(stage, matrix, urls, {"friend": False, "stranger": False}, "denied")
    _rules(stage, server)
    stage.say("allow")
    stage.act("allow", lambda: stage.create(policy("friends", [{"from": [{"podSelector": {"matchLabels": FRIEND}}]}])))
    _open(stage, matrix, urls, {"friend": True, "stranger": False}, "friends")


@dataclass(frozen=True)
class Place:
    """A service's name in the DNS, and its address."""

    name: str
    address: str


def policy(name: str, ingress: list[Object]) -> Object:
    """Return a NetworkPolicy on the pods app=web that lets in what ``ingress`` says, nothing without."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"], "ingress": ingress},
    }


def ask(stage: Stage, asker: Object, urls: dict[str, str], names: list[str], track: str = "") -> Object:
    """Ask from inside a pod's network."""
    question = {"uid": asker["metadata"]["uid"], "names": names, "urls": urls, "track": track}
    return stage.nodes.ask(asker["spec"]["nodeName"], "inside", question)


def _path(stage: Stage, friend: Object, place: Place, urls: dict[str, str], server: Object) -> None:
    name, address = place.name, place.address
    seen = stage.must("name", lambda: _named(ask(stage, friend, urls, [name], address), name), 30)
    dns = stage.api.get("/api/v1/namespaces/kube-system/services/kube-dns")["spec"]["clusterIP"]
    stage.see("resolver", source="probe", server=seen["server"], pod="friend")
    stage.claim("resolver", seen["server"] == dns, server=seen["server"], dns=dns)
    stage.see("name", source="probe", name=name, address=", ".join(seen["names"][name]))
    stage.claim("name", seen["names"][name] == [address], name=name, address=address)
    status, body = seen["pages"]["service"]
    stage.see("page", source="probe", url=urls["service"], body=body)
    stage.claim("page", status == 200 and body == server["metadata"]["name"], pod=body)
    ip = server["status"]["podIP"]
    translated = [row for row in seen["connections"] if f"src={ip}" in row]
    stage.open("proxy", "network", f"conntrack {address}", "\n".join(seen["connections"]) or "-")
    stage.claim("translated", translated, service=address, pod=ip)
    stage.open("dns", "network", "/etc/resolv.conf", seen["resolver"])


def _named(answer: Object, name: str) -> Object | None:
    good = answer["names"][name] and answer["pages"]["service"][0] == 200
    return answer if good else None


def _open(stage: Stage, askers: dict[str, Object], urls: dict[str, str], wanted: dict[str, bool], key: str) -> None:
    """Wait until who may ask is answered and who may not is not; then assert each."""

    def look() -> dict[str, bool]:
        return {who: _answered(ask(stage, asker, urls, []), urls) for who, asker in askers.items()}

    stage.until(lambda: look() == wanted, SPREAD)
    seen = look()
    words = {who: "@frame.open" if answer else "@frame.closed" for who, answer in seen.items()}
    stage.claim(key, seen == wanted, **words)


def _answered(answer: Object, urls: dict[str, str]) -> bool:
    return any(answer["pages"][name][0] == 200 for name in urls)


def _rules(stage: Stage, server: Object) -> None:
    """Show the rules that Calico made of the policy, on the server's node."""
    listed = "{ iptables-save; iptables-legacy-save; nft list ruleset; } 2>/dev/null"
    script = f"{listed} | grep -E 'cali-(pi|tw|fw)' | head -60 || true"
    rows = stage.nodes.run(server["spec"]["nodeName"], script).splitlines()
    own = [row for row in rows if "cali-pi" in row]
    stage.see("rules", source="probe", node=server["spec"]["nodeName"], count=len(own))
    stage.open("cni", "rules", "cali-pi-*", "\n".join(rows) or "-")
    stage.claim("rules", own, count=len(own))
