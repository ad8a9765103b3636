# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""An ordinary Ansible inventory, held to the rules of a cluster file.

Its groups and variables become the same data that a cluster file holds, and the same Spec judges it; problems are told
under the inventory's own names. Variables that only a run can work out ("{{ … }}") are left to the first play of site.
"""

from __future__ import annotations

import contextlib
import difflib
import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path as File
from typing import Any

import yaml
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import load, spec
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.problems import Path, Problem, SpecError, dotted, shown

PLANES, WORKERS = "kube_control_plane", "kube_node"
ROLES = ("containerd", "kubeadm_master", "kubeadm_worker", "calico")
OLDER = {
    PLANES: ("kube-master", "kube_master", "kube-control-plane", "masters", "control_plane", "controlplane"),
    WORKERS: ("kube-node", "nodes", "workers", "kube_nodes", "kube_worker", "kube_workers"),
}
OWN = (
    *("kubesmith_cluster", "kubesmith_kubernetes", "kubesmith_state", "kubesmith_container_node"),
    *("kubesmith_node_address", "kubesmith_verify_image", "kubesmith_ready_timeout", "kubesmith_patience"),
    "kubesmith_firewall_rules",
    *("kubesmith_group", "kubesmith_max_unavailable", "kubesmith_adopted"),
)
TYPO = 0.92  # so near to one of our variables that it cannot be somebody else's
SHARED: tuple[tuple[str, Path], ...] = (
    ("kubeadm_master_cluster_name", ("cluster", "name")),
    ("kubesmith_cluster", ("cluster", "name")),
    ("kubesmith_kubernetes", ("cluster", "kubernetes")),
    ("kubeadm_master_endpoint", ("cluster", "endpoint")),
    ("kubeadm_master_vip", ("cluster", "vip")),
    ("kubeadm_master_vip_port", ("cluster", "vip_port")),
    ("kubeadm_master_pod_cidr", ("network", "pods")),
    ("kubeadm_master_service_cidr", ("network", "services")),
    ("kubeadm_master_dns_domain", ("network", "dns_domain")),
    ("calico_encapsulation", ("network", "calico", "encapsulation")),
    ("calico_mtu", ("network", "calico", "mtu")),
    ("kubeadm_master_cert_sans", ("kubeadm", "cert_sans")),
    ("kubeadm_master_kubelet_config", ("kubeadm", "kubelet")),
    ("kubeadm_master_proxy_config", ("kubeadm", "proxy")),
    ("kubeadm_master_profile", ("security", "profile")),
)
NODE = (("ansible_port", "port"), ("ansible_user", "user"))
WORDS = (  # what a rule says of a cluster file, and what that is here
    ("cluster.vip", "kubeadm_master_vip"),
    ("cluster.endpoint", "kubeadm_master_endpoint"),
    ("network.pods", "kubeadm_master_pod_cidr"),
    ("network.services", "kubeadm_master_service_cidr"),
    ("give one node 'role: control-plane'", f"put a host into the group {PLANES}"),
    ("provider ssh makes no machines and none is listed", f"no host is in {PLANES} and {WORKERS}"),
    ("list each with name, role and address", "put hosts into these groups"),
    ("provider ssh needs the address of each node", "set ansible_host or {role}_node_address to its IP address"),
)
Groups = Mapping[str, Sequence[str]]
Variables = Mapping[str, Mapping[str, Any]]


def check(
    groups: Groups,
    variables: Variables,
    file: str,
    *,
    text: str = "",
    name: str = "kubernetes",
    own: Mapping[str, ipaddress.IPv4Network] | None = None,
    others: Sequence[str] = (),
    beside: Mapping[str, str] | None = None,
) -> spec.Spec | None:
    """Return the Spec of an inventory, None if only a run can tell; raise SpecError with every problem in it.

    ``groups`` are the hosts of the two groups, ``variables`` those of each host, group variables included; ``text`` is
    the inventory's file, in which problems are placed; ``name`` is the cluster's if no variable says it; ``own`` are
    this machine's networks by interface, where they are known; ``others`` are all groups that there are, and ``beside``
    the files of variables beside the inventory, by path: places of problems too.
    """
    problems = [*_twice(text, file), *_misnamed(groups, others)]
    data, names = translated(groups, variables, name)
    made: spec.Spec | None = None
    try:
        made = spec.check(load.Document(data, {}), file, own)
    except SpecError as error:
        renamed = (_renamed(problem, names, data) for problem in error.problems)
        later = _unknown_shared(groups, variables)
        kept = [problem for problem in renamed if not any(key in problem.text("") for key in later)]
        problems += [_known_later(problem, variables) for problem in kept]
    if made is not None:
        problems += _calico_apart(made, variables, groups)
    problems += _at_odds(groups, variables)
    told = {problem.path[-1:] for problem in problems}
    problems += [problem for problem in misspelt(groups, variables) if problem.path[-1:] not in told]
    if problems:
        raise SpecError(file, [_placed(problem, text, beside or {}) for problem in problems])
    return made


def _misnamed(groups: Groups, others: Sequence[str]) -> Iterator[Problem]:
    """Yield groups that were meant as one of the two, where that one has no host."""
    for wanted in (PLANES, WORKERS):
        for name in others if not groups.get(wanted) else ():
            if name in OLDER.get(wanted, ()):
                hint = f"call it {wanted}; a whole inventory of kubespray: runner.py import kubespray PATH"
                yield Problem(0, 0, (name,), "is no group of this collection", hint)
            elif name not in (PLANES, WORKERS) and difflib.get_close_matches(name, [wanted], cutoff=0.75):
                yield Problem(0, 0, (name,), "is no group of this collection", f"did you mean {wanted}?")


def _known_later(problem: Problem, variables: Variables) -> Problem:
    """Return a problem with a missing address as it is: an address that only a run could work out."""
    host = str(problem.path[0]) if problem.path else ""
    given = variables.get(host, {}).get("ansible_host")
    if not problem.message.endswith("has no address") or not _later(given):
        return problem
    hint = "write the address out, here or as the node's address"
    return Problem(0, 0, (host, "ansible_host"), f"{shown(given)} is known in a run only", hint)


def _unknown_shared(groups: Groups, variables: Variables) -> set[str]:
    """Return the settings of the cluster that only the run knows: nothing is said of them before."""
    nodes = hosts_of(groups)
    shared = variables.get(nodes[0][0], {}) if nodes else {}
    return {key for key, _path in SHARED if _later(shared.get(key))}


def hosts_of(groups: Groups) -> list[tuple[str, str]]:
    """Return (host, role of kubesmith) of each node: a host in both groups is a control plane."""
    planes = list(dict.fromkeys(groups.get(PLANES, ())))
    workers = [host for host in dict.fromkeys(groups.get(WORKERS, ())) if host not in planes]
    return [(host, "kubeadm_master") for host in planes] + [(host, "kubeadm_worker") for host in workers]


def address(host: str, role: str, variables: Mapping[str, Any]) -> Any:
    """Return a node's address as the roles are to get it: said, else where SSH reaches it if that is an address."""
    for key in (f"{role}_node_address", "kubesmith_node_address"):
        if variables.get(key):
            return variables[key]
    return next((value for value in (variables.get("ansible_host"), host) if _is_address(value)), None)


def lacking(host: str, role: str, variables: Mapping[str, Any]) -> dict[str, str]:
    """Return variables of the roles that follow from others and that the inventory does not give."""
    found = {f"{role}_node_address": address(host, role, variables)}
    if role == "kubeadm_master":
        found["calico_pod_cidr"] = variables.get("kubeadm_master_pod_cidr")
    return {name: str(value) for name, value in found.items() if value is not None and name not in variables}


def _is_address(value: object) -> bool:
    """Tell whether a value is an address, or was meant as one: 10.0.0.300 is no name (RFC 1123, 2.1)."""
    try:
        ipaddress.ip_address(str(value))
    except ValueError:
        return bool(re.fullmatch(r"[\d.]+\.\d+", str(value)))
    return True


def translated(groups: Groups, variables: Variables, name: str) -> tuple[dict[str, Any], dict[Path, Path]]:
    """Return (a cluster file's data, {path in it: what the inventory calls that})."""
    data: dict[str, Any] = {"cluster": {"name": name}, "provider": "ssh", "nodes": []}
    names: dict[Path, Path] = {("nodes",): ()} | {path: (key,) for key, path in reversed(SHARED)}
    nodes = hosts_of(groups)
    shared = variables.get(nodes[0][0], {}) if nodes else {}
    for key, path in SHARED:
        if key in shared and not _later(shared[key]):
            _put(data, path, _plain(key, shared[key]))
            names[path] = (key,)
    for index, (host, role) in enumerate(nodes):
        own = {key: value for key, value in variables.get(host, {}).items() if not _later(value)}
        node, keys = _node(host, role, own, later=_later(address(host, role, variables.get(host, {}))))
        data["nodes"].append(node)
        names[("nodes", index)] = (host,)
        names |= {("nodes", index, ours): (host, theirs) for ours, theirs in keys.items()}
    return data, names


def _node(host: str, role: str, own: Mapping[str, Any], *, later: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a node of a cluster file, and {setting: variable} of what it was made from."""
    named = f"{role}_node_name"
    node: dict[str, Any] = {"name": own.get(named, host)}
    keys = {"name": named} if named in own else {}
    if role == "kubeadm_master":
        node["role"] = "control-plane"
    found = address(host, role, own)
    said = (f"{role}_node_address", "kubesmith_node_address", "ansible_host")
    keys["address"] = next((key for key in said if own.get(key)), said[0])
    if found is not None:
        node["address"] = found if isinstance(found, str) else str(found)
    elif later:
        node["address"] = _unknown(host)
    named6 = f"{role}_node_address6"
    keys["address6"] = named6
    if own.get(named6):
        node["address6"] = str(own[named6])
    for theirs, ours in (
        *NODE,
        (f"{role}_labels", "labels"),
        (f"{role}_taints", "taints"),
        (f"{role}_kubelet_settings", "kubelet"),
    ):
        if theirs in own:
            node[ours], keys[ours] = _plain(theirs, own[theirs]), theirs
    return node, keys


def _unknown(host: str) -> str:
    """Return an address that stands for one which only the run knows; out of a range that nobody uses (RFC 5737)."""
    return str(ipaddress.IPv4Address("192.0.2.0") + sum(host.encode()) % 256)


def _put(data: dict[str, Any], path: Path, value: Any) -> None:
    for part in path[:-1]:
        data = data.setdefault(str(part), {})
    data[str(path[-1])] = value


def _later(value: Any) -> bool:
    """Tell whether a value, or any part of it, is worked out when a play runs; vaulted ones are not opened here."""
    if isinstance(value, Mapping):
        return "__ansible_vault" in value or any(map(_later, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_later, value))
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def _plain(key: str, value: Any) -> Any:
    """Return a role's value as a cluster file has it: an endpoint without its port, numbers out of an INI file."""
    if isinstance(value, Mapping):
        settings = key.endswith(("_config", "_settings"))  # their numbers and booleans are meant as such
        return {str(name): _plain(key, inner) if settings else str(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain("", item) for item in value]
    if key in ("ansible_port", "calico_mtu", "kubeadm_master_vip_port") and re.fullmatch(r"\d{1,6}", str(value)):
        return int(value)
    if key == "kubesmith_kubernetes" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)  # an INI file's 1.37
    if key == "kubeadm_master_endpoint":
        return (
            re.sub(r":\d+$", "", str(value)).strip("[]") if str(value).count(":") == 1 or "]" in str(value) else value
        )
    return str(value) if isinstance(value, str) else value


def _renamed(problem: Problem, names: Mapping[Path, Path], data: Mapping[str, Any]) -> Problem:
    """Return a problem under the inventory's own names."""
    path = problem.path
    rest: Path = ()
    while path and path not in names:
        path, rest = path[:-1], (path[-1], *rest)
    message, hint = problem.message, problem.hint
    role = "kubeadm_worker"
    if path[:1] == ("nodes",) and len(path) > 1:
        role = "kubeadm_master" if data["nodes"][path[1]].get("role") else role
        rest = rest if names[path][1:] else tuple(part for part in rest if part not in ("address", "address6"))
    for theirs, ours in WORDS:
        message, hint = message.replace(theirs, ours), hint.replace(theirs, ours.replace("{role}", role))
    return Problem(0, 0, (*names.get(path, ()), *rest), re.sub(r"nodes\[\d+\]", "another host", message), hint)


def _calico_apart(made: spec.Spec, variables: Variables, groups: Groups) -> Iterator[Problem]:
    """Calico's pool must be a part of the pods' network."""
    shared = variables[hosts_of(groups)[0][0]]
    pool = shared.get("calico_pod_cidr")
    if pool is None or _later(pool) or _later(shared.get("kubeadm_master_pod_cidr")):
        return
    try:
        wanted = [ipaddress.ip_network(part.strip()) for part in str(pool).split(",")]
    except ValueError as error:
        yield Problem(0, 0, ("calico_pod_cidr",), str(error), "for example 10.244.0.0/16")
        return
    pods = [ipaddress.ip_network(part) for part in made.network.pods.split(",")]
    for part in wanted:
        if not any(part.version == whole.version and part.subnet_of(whole) for whole in pods):  # type: ignore[arg-type]
            hint = "leave calico_pod_cidr out, or take a part of that"
            message = f"{part} is no part of kubeadm_master_pod_cidr {made.network.pods}"
            yield Problem(0, 0, ("calico_pod_cidr",), message, hint)


def _at_odds(groups: Groups, variables: Variables) -> Iterator[Problem]:
    """Yield settings of the whole cluster that one host has otherwise: versions that are skewed, two pod networks."""
    nodes = hosts_of(groups)
    for key, _path in SHARED:
        role = next((role for role in ROLES if key.startswith(f"{role}_")), "")
        asked = [host for host, own in nodes if role in ("", "calico", own) and key in variables.get(host, {})]
        first = variables[asked[0]][key] if asked else None
        for host in asked[1:]:
            value = variables[host][key]
            if value != first and not (_later(value) or _later(first)):
                message = f"{shown(value)} differs from {asked[0]}'s {shown(first)}"
                yield Problem(0, 0, (host, key), message, "it is the whole cluster's: give all hosts the same")


@cache
def options(role: str) -> dict[str, Any]:
    """Return the options that a role of this collection takes."""
    file = File(__file__).parents[2] / "roles" / role / "meta" / "argument_specs.yml"
    found: dict[str, Any] = yaml.safe_load(file.read_text())["argument_specs"]["main"]["options"]
    return found


def misspelt(groups: Groups, variables: Variables) -> Iterator[Problem]:
    """Yield variables that bear a role's name and are none of its options, and values that the role would refuse."""
    known = {name for role in ROLES for name in options(role)} | set(OWN)
    seen: set[tuple[str, str]] = set()
    for host, _role in hosts_of(groups):
        own = variables.get(host, {})
        for problem in (*_unknown_names(own, known), *_refused(own)):
            key = dotted(problem.path), problem.message
            if key not in seen:
                seen.add(key)
                yield problem


def _unknown_names(own: Mapping[str, Any], known: set[str]) -> Iterator[Problem]:
    for name in sorted(set(own) - known):
        role = next((role for role in (*ROLES, "kubesmith") if name.startswith(f"{role}_")), "")
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6 if role else TYPO)
        hint = f"did you mean {near[0]}?" if near else f"the variables are listed in roles/{role}/README.md"
        if role:
            what = f"is not a variable of the role {role}" if role != "kubesmith" else "is not a variable of kubesmith"
            yield Problem(0, 0, (name,), what, hint)
        elif near:
            yield Problem(0, 0, (name,), "is not a variable of this collection", hint)


def _refused(own: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what Ansible's own check of a role's arguments would say, before any node is touched."""
    # Here and not above: whoever only asks what kind of file one is does not wait for Ansible to load.
    from ansible.module_utils.common.arg_spec import ArgumentSpecValidator  # noqa: PLC0415

    for role in ROLES:
        accepted = {name: _optional(option) for name, option in options(role).items()}
        given = {name: own[name] for name in accepted if name in own and not _later(own[name])}
        for name, value in given.items():
            try:
                said = ArgumentSpecValidator({name: accepted[name]}).validate({name: value}).error_messages
            except (TypeError, AttributeError):  # Ansible looks into what should be a mapping before it asks whether
                kind = str(accepted[name].get("type", "str"))
                said = [f"is not {ARTICLES.get(kind, kind)} of what the role takes, but {shown(value)}"]
            for message in said:
                yield Problem(0, 0, (name,), _sentence(message, name), "")


def _optional(option: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in option.items() if key not in ("required", "default", "description")}


def _sentence(message: str, name: str) -> str:
    """Return Ansible's message as the end of a sentence that begins with the variable."""
    message = re.sub(rf"^(argument|value of) '?{name}'? (is|must be) ", r"\2 ", " ".join(message.split()))
    message = re.sub(
        r"^\S+?\.(\S+)\. Supported parameters include: (.*)\.$", r"has the unknown part \1, not one of \2", message
    )
    message = re.sub(r"^Elements value for option '\w+' is", "holds an element that is", message)
    wrong = re.match(r"is of type (\S+) and we were unable to convert to (\w+)", message)
    if wrong:
        return f"is {ARTICLES.get(wrong[1], wrong[1])}, not {ARTICLES.get(wrong[2], wrong[2])}"
    return message if re.match(r"(is|is not|must be|holds|has) ", message) else f"is not right: {message}"


ARTICLES = {
    **{"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "list": "a list"},
    "dict": "a mapping",
}


def _placed(problem: Problem, text: str, beside: Mapping[str, str]) -> Problem:
    """Return a problem with the line that speaks of it, of the inventory's file or else of one beside it."""
    words = [str(part) for part in problem.path if isinstance(part, str)]
    if problem.line or not words:
        return problem
    if found := _line(text, words):
        return Problem(*found, problem.path, problem.message, problem.hint)
    for name, content in beside.items():
        if found := _line(content, words[-1:]):
            return Problem(0, 0, problem.path, f"{problem.message} ({name}:{found[0]}:{found[1]})", problem.hint)
    return problem


def _line(text: str, words: Sequence[str]) -> tuple[int, int] | None:
    """Return line and column of the words of a path in a file: together, else the last, else the first."""
    lines = text.splitlines()
    for wanted in (words[:2], words[-1:], words[:1]):
        patterns = [re.compile(rf"(?<![\w.-]){re.escape(word)}(?![\w-])") for word in wanted]
        for number, line in enumerate(lines, 1):
            found = [pattern.search(line) for pattern in patterns]
            if all(found) and not line.lstrip().startswith(("#", ";")):
                return number, (found[-1].start() if found[-1] else 0) + 1
    return None


def _twice(text: str, file: str) -> Iterator[Problem]:
    """Yield hosts that a file lists twice in one group: Ansible makes one of them, with the later one's variables."""
    if not is_ini(text):
        with contextlib.suppress(SpecError):  # what is no YAML is Ansible's to tell
            yield from load.parse(text.encode(), file).repeated
        return
    section = ""
    seen: dict[tuple[str, str], int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        if line.strip().startswith("["):
            section = line.strip().strip("[]")
        elif words and ":" not in section and not words[0].startswith(";"):
            first = seen.setdefault((section, words[0]), number)
            if first != number:
                message = f"is listed twice in the group {section}, first in line {first}"
                yield Problem(number, 1, (words[0],), message, "keep one of the two")


INI = re.compile(r"\[\s*[\w.-]+(:(vars|children))?\s*\]\s*([#;].*)?")
TOP = re.compile(rf"^[\"']?(all|{PLANES}|{WORKERS})[\"']?\s*:", re.MULTILINE)
CLUSTER = re.compile(r"^[\"']?(cluster|provider|nodes|workers)[\"']?\s*:", re.MULTILINE)


def is_ini(text: str) -> bool:
    """Tell whether a file is an INI inventory: it has sections."""
    return any(INI.fullmatch(line.strip()) for line in text.splitlines())


def is_ordinary(text: str) -> bool:
    """Tell whether a file is an ordinary inventory and no cluster file."""
    return not CLUSTER.search(text) and bool(is_ini(text) or TOP.search(text))
