"""Rules on what is on a machine already: other clusters, other network plug-ins, other runtimes."""

from __future__ import annotations

from collections.abc import Iterator

from kubesmith.preflight.model import Finding, Node, Whole
from kubesmith.preflight.ownership import NONE, OTHER, UNKNOWN

RESET = "kubeadm reset --force --cleanup-tmp-dir; rm -rf /etc/cni/net.d"
OWN_CNI = {"10-calico.conflist", "calico-kubeconfig", "calico.conflist"}
OTHERS = ("docker", "crio", "k3s", "k3s-agent", "rke2-server", "rke2-agent", "snap.microk8s.daemon-kubelite")
OWN_PROGRAMS = {"containerd": "/usr/local/bin/containerd", "kubelet": "/usr/local/bin/kubelet"}
SHOWN = 4


def cluster(node: Node, whole: Whole) -> Iterator[Finding]:
    """Judge a cluster, or parts of one, that is not this one."""
    traces, owner = node.facts["traces"], whole.owner[node.name]
    rule = f"nothing of a cluster but {whole.cluster.name}"
    if owner == OTHER:
        fix = f"take it out of its cluster; if that is gone: {RESET}"
        yield node.error("other cluster", belongs(node), rule, fix)
    elif owner == UNKNOWN and node.container:
        # Its data volumes outlive its container, and both are only this cluster's.
        yield node.warning("leftovers", ", ".join(remains(node)), rule, "nothing to do: up resets them")
    elif owner == UNKNOWN:
        yield node.error("leftovers", ", ".join(remains(node)), rule, f"if nobody needs them: {RESET}")
    for name, conf in traces["confs"].items():
        wanted = whole.ca or traces["ca"]
        if whole.ours(node) and wanted and conf["ca"] not in ("", wanted):
            seen = f"/etc/kubernetes/{name} trusts another CA ({conf['server']})"
            yield node.error("other cluster", seen, "all its files are of one cluster", f"rm /etc/kubernetes/{name}")


def belongs(node: Node) -> str:
    """Return in words which cluster a node is in."""
    traces = node.facts["traces"]
    servers = sorted({conf["server"] for conf in traces["confs"].values() if conf["server"]})
    named = f" {traces['cluster']}" if traces["cluster"] else ""
    return f"{traces['member']} member of cluster{named} at {', '.join(servers) or 'an unknown server'}"


def remains(node: Node) -> list[str]:
    """Return what is there of a cluster that cannot be told."""
    traces = node.facts["traces"]
    found = [f"/etc/kubernetes/{name}" for name in traces["confs"]]
    found += [f"/etc/kubernetes/manifests/{name}" for name in traces["manifests"]]
    found += ["/etc/kubernetes/pki/ca.crt"] if traces["ca"] else []
    found += ["/var/lib/etcd"] if traces["etcd"] else []
    return found or ["/var/lib/kubelet/config.yaml"]


def plain_files(node: Node, whole: Whole) -> Iterator[Finding]:
    """Judge files that make no member, and yet are in kubeadm's way."""
    if whole.owner[node.name] != NONE:
        return
    traces = node.facts["traces"]
    found = [f"/etc/kubernetes/{name}" for name in traces["confs"]]
    found += [f"/etc/kubernetes/manifests/{name}" for name in traces["manifests"]]
    if found:
        yield node.error("leftovers", ", ".join(found), "kubeadm starts without them", f"if nobody needs them: {RESET}")
    if traces["etcd"] and node.control_plane:
        seen = f"/var/lib/etcd holds {', '.join(traces['etcd'][:SHOWN])}"
        yield node.error(
            "leftovers", seen, "kubeadm starts with an empty one", "if nobody needs it: rm -rf /var/lib/etcd/*"
        )


def network_plugins(node: Node, _whole: Whole) -> Iterator[Finding]:
    """Judge configuration of other network plug-ins: containerd takes the first file by name."""
    for name in node.facts["traces"]["cni"]:
        if name in OWN_CNI or not name.endswith((".conf", ".conflist", ".json")):
            continue
        first = name < "10-calico.conflist"
        rule = "containerd takes the first file by name" if first else "Calico is the only network plug-in"
        make = node.error if first else node.warning
        yield make("CNI", f"/etc/cni/net.d/{name}", rule, f"rm /etc/cni/net.d/{name}")


def chains(node: Node, whole: Whole) -> Iterator[Finding]:
    """Warn of packet filter chains that a cluster left behind."""
    found = node.facts["firewall"]["chains"]
    if found and not whole.ours(node):
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        fix = "reboot, or nft flush ruleset if nothing else filters packets here"
        yield node.warning("leftovers", ", ".join(found[:SHOWN]) + more, "no chains of a cluster that is gone", fix)


def other_services(node: Node, whole: Whole) -> Iterator[Finding]:
    """Judge runtimes and distributions of Kubernetes that run beside ours."""
    running = node.facts["services"]
    for name in OTHERS:
        if name in running:
            make = node.warning if name in ("docker", "crio") else node.error
            yield make("service", f"{name} runs", "one cluster on a machine", f"systemctl disable --now {name}")
    for name, program in OWN_PROGRAMS.items():
        seen = running.get(name, {}).get("program", program)
        if seen != program:
            rule = f"kubesmith runs {program}"
            yield node.warning(
                "service", f"{name} is {seen}", rule, f"remove its package; up replaces the running {name}"
            )
    if (
        "kubelet" in running
        and whole.owner[node.name] == NONE
        and running["kubelet"]["program"] != OWN_PROGRAMS["kubelet"]
    ):
        yield node.error(
            "service", "kubelet runs", "no kubelet before the node is a member", "systemctl disable --now kubelet"
        )


RULES = (cluster, plain_files, network_plugins, chains, other_services)
