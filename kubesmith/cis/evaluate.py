"""Controls to findings: pure functions of what was read from the nodes and from the API server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

Status = Literal["pass", "fail", "manual", "na"]
STATUSES: tuple[Status, ...] = ("pass", "fail", "manual", "na")
PLACES = ("control-plane", "etcd", "node", "cluster")
BENCHMARK = "CIS Kubernetes Benchmark 1.12"
SYSTEM = "kube-system"
SHOWN = 5  # names of a list in an evidence
STRONG = {"secretbox", "aescbc", "kms"}
#: What Kubernetes and kubeadm bring along, and what is given by nobody else.
BUILT_IN = re.compile(
    r"(system:|kubeadm:|cluster-admin$|admin$|edit$|view$|kube-system/system:|kube-public/system:|calico-)"
)
Data = Mapping[str, Any]


@dataclass(frozen=True)
class Control:
    """One control: ``check`` as in controls.yml, ``exception`` the reason why profile cis is otherwise on purpose."""

    id: str
    title: str
    where: str
    check: Data | None = None
    manual: bool = False
    exception: str = ""
    na: str = ""

    @property
    def order(self) -> tuple[int, ...]:
        """The number, to sort by."""
        return tuple(int(part) for part in self.id.split("."))


@dataclass(frozen=True)
class Node:
    """What was read on one node; ``kubelet`` is the configuration it works with, None if it could not be asked."""

    name: str
    control_plane: bool
    state: Data
    kubelet: Data | None
    cluster: Data

    def flag(self, program: str, name: str) -> str | None:
        """Return the value of a program's argument, None where it is not given; the last one counts."""
        words = self.state["programs"].get(program, [])
        found = None
        for word, after in zip(words, [*words[1:], ""], strict=True):
            if word.startswith(f"--{name}="):
                found = word.partition("=")[2]
            elif word == f"--{name}":
                found = "true" if after.startswith("--") or not after else after
        return found


@dataclass(frozen=True)
class Finding:
    """How a control ended at one place, a node or ``cluster``, and what was seen there."""

    place: str
    status: Status
    evidence: str


@dataclass(frozen=True)
class Row:
    """A control with what was found everywhere; its status is the worst of them."""

    control: Control
    findings: tuple[Finding, ...]

    @property
    def status(self) -> Status:
        """Return the worst status: fail, then manual, then pass; not applicable only if it is so everywhere."""
        seen = {finding.status for finding in self.findings}
        return next((status for status in ("fail", "manual", "pass") if status in seen), "na")


@dataclass(frozen=True)
class Outcome:
    """What an evaluator says: ``ok`` is None where the control does not apply."""

    ok: bool | None
    evidence: str


@cache
def controls() -> tuple[Control, ...]:
    """Return the controls in the benchmark's order."""
    rows = yaml.safe_load(Path(__file__).with_name("controls.yml").read_text())
    return tuple(sorted((Control(**row) for row in rows), key=lambda control: control.order))


def patterns() -> list[str]:
    """Return the patterns of all files that a control looks at."""
    found = {name for control in controls() for check in _inner(control.check) for name in _files(check)}
    return sorted(found)


def _inner(check: Data | None) -> Iterable[Data]:
    for part in (check or {}).get("any", (check or {}).get("all", [check] if check else [])):
        yield from _inner(part) if "any" in part or "all" in part else [part]


def _files(check: Data) -> Sequence[str]:
    inside = check.get("modes") or check.get("owner") or {}
    return tuple(inside.get("files", ()))


def evaluate(nodes: Sequence[Node], wanted: Sequence[Control] | None = None) -> list[Row]:
    """Return a row for each control. ``nodes`` are all that could be read; the cluster's state is the first's."""
    return [Row(control, tuple(_findings(control, nodes))) for control in wanted or controls()]


def _findings(control: Control, nodes: Sequence[Node]) -> Iterable[Finding]:
    if control.na:
        return [Finding("cluster", "na", control.na)]
    if control.where == "cluster":
        error = nodes[0].cluster.get("error")
        if error and control.check:
            return [Finding("cluster", "manual", f"the API server could not be asked: {error}")]
        return [_finding(control, "cluster", nodes[0])]
    there = [node for node in nodes if node.control_plane or control.where == "node"]
    return [_finding(control, node.name, node) for node in there]


def _finding(control: Control, place: str, node: Node) -> Finding:
    if control.check is None:
        return Finding(place, "manual", "left to a person")
    if control.where == "etcd" and "etcd" not in node.state["programs"]:
        return Finding(place, "na", "no etcd runs on this node")
    outcome = _judge(control.check, node)
    if outcome.ok is None:
        return Finding(place, "na", outcome.evidence)
    bad: Status = "manual" if control.manual else "fail"
    return Finding(place, "pass" if outcome.ok else bad, outcome.evidence)


def _judge(check: Data, node: Node) -> Outcome:
    if "any" in check or "all" in check:
        found = [_judge(part, node) for part in check.get("any", check.get("all", ()))]
        told = [outcome for outcome in found if outcome.ok is not None]
        if not told:
            return found[0]
        if "any" in check:
            good = [outcome for outcome in told if outcome.ok]
            return good[0] if good else Outcome(False, "; ".join(outcome.evidence for outcome in told))
        bad = [outcome for outcome in told if not outcome.ok]
        return Outcome(not bad, "; ".join(outcome.evidence for outcome in bad or told))
    if "named" in check:
        return NAMED[check["named"]](check, node)
    kind = next(iter(check))
    return KINDS[kind](check[kind], node)


def _matching(inside: Data, node: Node) -> dict[str, Sequence[str]]:
    seen: Mapping[str, Sequence[str]] = node.state["files"]
    return {path: row for path, row in seen.items() if any(fnmatch(path, pattern) for pattern in inside["files"])}


def _modes(inside: Data, node: Node) -> Outcome:
    most = int(inside["most"], 8)
    found = _matching(inside, node)
    bad = {path: row[0] for path, row in found.items() if int(row[0], 8) & 0o7777 & ~most}
    return _about_files(found, bad, inside, {path: row[0] for path, row in found.items()})


def _owner(inside: Data, node: Node) -> Outcome:
    found = _matching(inside, node)
    bad = {path: row[1] for path, row in found.items() if row[1] != inside["is"]}
    return _about_files(found, bad, inside, {path: row[1] for path, row in found.items()})


def _about_files(found: Data, bad: Data, inside: Data, values: Data) -> Outcome:
    if not found:
        return Outcome(None, f"there is no {' or '.join(inside['files'][:2])}")
    shown = bad or values
    return Outcome(not bad, some([f"{path} {values[path]}" for path in shown]))


def some(names: Sequence[str], most: int = SHOWN) -> str:
    """Return a list in words, long ones by their beginning and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _flag(inside: Data, node: Node) -> Outcome:
    program, name = inside["of"], inside["name"]
    if program not in node.state["programs"]:
        return Outcome(False, f"{program} does not run")
    value = node.flag(program, name)
    seen = f"{program} --{name}={value}" if value is not None else f"{program} --{name} is not set"
    return Outcome(_meets(inside, value), seen)


def _kubelet(inside: Data, node: Node) -> Outcome:
    if node.kubelet is None:
        return Outcome(False, "the kubelet could not be asked for its configuration")
    value: Any = node.kubelet
    for part in inside["key"].split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    shown = "is not set" if value in (None, "", []) else f"= {_text(value)}"
    return Outcome(_meets(inside, None if value in (None, "", []) else value), f"kubelet {inside['key']} {shown}")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _meets(rule: Data, value: Any) -> bool:
    """Tell whether a value is as the rule wants it; ``value`` None is one that is not set."""
    if "set" in rule:
        return (value is not None) is rule["set"]
    value = rule.get("default") if value is None else value
    words = value if isinstance(value, list) else str(value).split(",") if value is not None else []
    if "has" in rule or "lacks" in rule:
        return rule["has"] in words if "has" in rule else rule["lacks"] not in words
    if "among" in rule:
        return bool(words) and set(words) <= set(rule["among"])
    if "least" in rule:
        return value is not None and float(value) >= rule["least"]
    if "not" in rule:
        return value is not None and value != rule["not"]
    return value is not None and _text(value) == _text(rule["is"])


def _anonymous_off(_check: Data, node: Node) -> Outcome:
    text = node.state["texts"].get("--authentication-config")
    if text is None:
        return Outcome(False, "everybody may ask anonymously")
    rule = (yaml.safe_load(text) or {}).get("anonymous") or {}
    paths = [condition.get("path", "") for condition in rule.get("conditions") or []]
    if rule.get("enabled") and paths:
        return Outcome(False, f"anonymous only at {some(paths, 10)}")
    return Outcome(not rule.get("enabled", True), f"anonymous.enabled: {_text(rule.get('enabled', True))}")


def _encrypts(_check: Data, node: Node) -> Outcome:
    found = node.state["providers"]
    if not found:
        return Outcome(False, "nothing is encrypted")
    return Outcome(found[0] in STRONG, f"writes with {found[0]}, reads with {', '.join(dict.fromkeys(found))}")


def _audit_policy(_check: Data, node: Node) -> Outcome:
    text = node.state["texts"].get("--audit-policy-file")
    if text is None:
        return Outcome(False, "there is no audit policy")
    rules = (yaml.safe_load(text) or {}).get("rules") or []
    wanted = {
        "reading secrets": ("", "secrets", "get"),
        "changing pods": ("", "pods", "update"),
        "changing deployments": ("apps", "deployments", "update"),
        "pods/exec": ("", "pods/exec", "create"),
        "pods/portforward": ("", "pods/portforward", "create"),
        "services/proxy": ("", "services/proxy", "create"),
    }
    lacking = [name for name, request in wanted.items() if _audited(rules, *request) == "None"]
    levels = {name: _audited(rules, "", name, "update") for name in ("secrets", "configmaps")}
    bodies = [name for name, level in levels.items() if level not in ("None", "Metadata")]
    texts = [f"nothing is written of {some(lacking)}"] if lacking else []
    texts += [f"the content of {some(bodies)} is written"] if bodies else []
    if texts:
        return Outcome(False, "; ".join(texts))
    return Outcome(True, f"{len(rules)} rules: {some(list(wanted), 9)}")


def _audited(rules: Sequence[Data], group: str, resource: str, verb: str) -> str:
    """Return the level at which an ordinary user's request is written: that of the first rule that fits."""
    for rule in rules:
        if rule.get("users") or rule.get("userGroups") or rule.get("nonResourceURLs") or rule.get("namespaces"):
            continue
        if rule.get("verbs") and verb not in rule["verbs"]:
            continue
        groups = rule.get("resources")
        if groups and not any(
            row.get("group", "") == group and _names_resource(row.get("resources") or ["*"], resource) for row in groups
        ):
            continue
        return str(rule.get("level"))
    return "None"


def _names_resource(names: Sequence[str], resource: str) -> bool:
    whole, _slash, part = resource.partition("/")
    return bool({"*", resource, f"{whole}/*" if part else "", f"*/{part}" if part else ""} & set(names))


def _closed(check: Data, node: Node) -> Outcome:
    addresses = node.state["listening"].get(str(check["port"]), [])
    return Outcome(not addresses, f"port {check['port']}: {some(addresses) or 'closed'}")


def _local_only(check: Data, node: Node) -> Outcome:
    addresses = node.state["listening"].get(str(check["port"]), [])
    if "kube-proxy" not in node.state["programs"]:
        return Outcome(None, "no kube-proxy runs on this node")
    open_to = [address for address in addresses if address not in ("127.0.0.1", "::1")]
    return Outcome(not open_to, f"kube-proxy listens on {some(addresses) or 'nothing'} (port {check['port']})")


def _cluster_admins(_check: Data, node: Node) -> Outcome:
    usual = ("cluster-admin", "kubeadm:cluster-admins")
    rows = [row for row in node.cluster["bindings"] if row["role"] == "cluster-admin"]
    told = [f"{row['name']} ({some(row['subjects'])})" for row in rows]
    return Outcome(all(row["name"] in usual for row in rows), some(told) or "nobody is")


def _granted(check: Data, node: Node) -> Outcome:
    """Judge whom something is allowed beyond what Kubernetes itself brings along."""
    able = {
        role["name"]
        for role in node.cluster["roles"]
        if any(_allows(rule, check["verbs"], check["resources"]) for rule in role["rules"])
    }
    rows = [row for row in node.cluster["bindings"] if row["role"] in able and row["subjects"]]
    others = [row for row in rows if not BUILT_IN.match(row["name"])]
    told = [f"{row['name']} → {some(row['subjects'], 2)}" for row in others]
    return Outcome(not others, some(told) or f"by {len(rows)} bindings that the system brings along")


def _allows(rule: Data, verbs: Sequence[str], resources: Sequence[str]) -> bool:
    able = {"*", *verbs} & set(rule.get("verbs") or ())
    there = set(rule.get("resources") or ())
    wanted = {"*", *resources, *(f"{name.partition('/')[0]}/*" for name in resources if "/" in name)}
    return bool(able) and (bool(there & wanted) if resources else bool(there) and bool(set(verbs) & able))


def _wildcards(_check: Data, node: Node) -> Outcome:
    names = [
        role["name"]
        for role in node.cluster["roles"]
        if any("*" in (rule.get(key) or ()) for rule in role["rules"] for key in ("verbs", "resources", "apiGroups"))
    ]
    others = [name for name in names if not BUILT_IN.match(name)]
    return Outcome(not others, some(others) or f"{len(names)} roles that the system brings along")


def _default_accounts(_check: Data, node: Node) -> Outcome:
    given = sorted(namespace for namespace, mounted in node.cluster["accounts"].items() if mounted)
    return Outcome(not given, f"a token is given in {some(given)}" if given else "no token is given by default")


def _pods(check: Data, node: Node) -> Outcome:
    rows = [pod["name"] for pod in node.cluster["pods"] if check["does"] in pod["does"]]
    others = [name for name in rows if not name.startswith(f"{SYSTEM}/")]
    inside = f"{len(rows) - len(others)} in {SYSTEM}"
    return Outcome(not others, f"{some(others)}; {inside}" if others else f"none outside {SYSTEM}, {inside}")


def _pod_security(_check: Data, node: Node) -> Outcome:
    text = node.state["texts"].get("--admission-control-config-file")
    plugins = (yaml.safe_load(text) or {}).get("plugins") or [] if text else []
    found = next((row.get("configuration") or {} for row in plugins if row.get("name") == "PodSecurity"), {})
    level = (found.get("defaults") or {}).get("enforce", "privileged")
    free = (found.get("exemptions") or {}).get("namespaces") or []
    told = f"Pod Security enforces {level} where a namespace says nothing" + (f", not in {some(free)}" if free else "")
    return Outcome(level in ("baseline", "restricted"), told)


def _network_policies_work(_check: Data, node: Node) -> Outcome:
    names = [pod["name"] for pod in node.cluster["pods"]]
    able = ("calico-node", "cilium", "antrea-agent", "kube-router")
    known = sorted({name for name in able for pod in names if name in pod})
    return Outcome(bool(known), f"{some(known)} runs" if known else "no plug-in that is known to")


def _namespaces_with_policies(_check: Data, node: Node) -> Outcome:
    lacking = sorted(set(node.cluster["namespaces"]) - set(node.cluster["policies"]))
    return Outcome(not lacking, f"none in {some(lacking)}" if lacking else "all have one")


def _default_namespace(_check: Data, node: Node) -> Outcome:
    rows = [pod["name"] for pod in node.cluster["pods"] if pod["name"].startswith("default/")]
    return Outcome(not rows, some(rows) or "no pod is in it")


KINDS: Mapping[str, Callable[[Data, Node], Outcome]] = {
    "modes": _modes,
    "owner": _owner,
    "flag": _flag,
    "kubelet": _kubelet,
}
NAMED: Mapping[str, Callable[[Data, Node], Outcome]] = {
    "anonymous_off": _anonymous_off,
    "encrypts": _encrypts,
    "audit_policy": _audit_policy,
    "closed": _closed,
    "local_only": _local_only,
    "cluster_admins": _cluster_admins,
    "granted": _granted,
    "wildcards": _wildcards,
    "default_accounts": _default_accounts,
    "pods": _pods,
    "pod_security": _pod_security,
    "network_policies_work": _network_policies_work,
    "namespaces_with_policies": _namespaces_with_policies,
    "default_namespace": _default_namespace,
}
