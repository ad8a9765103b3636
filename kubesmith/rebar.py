"""Read Digital Rebar's machines into a cluster file: what ``drpcli machines list`` prints, or its Ansible listing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubesmith import hardware
from kubesmith.errors import InputError
from kubesmith.kubespray import Imported, short

MASTERS = "krib/cluster-masters"  # KRIB's list of {Name, Uuid, Address}
IS_MASTER = "krib/i-am-master"
ROLE = "krib/role"
KEPT = {"Name", "Address", "Params", "Profiles", "Uuid", "Meta"}
GROUPS = ("kube_control_plane", "kube-master", "masters", "control-plane")


def read(path: Path, *, lab: bool = False) -> Imported:
    """Import the JSON at ``path``; InputError if it is none, lists no machine, or lacks an address."""
    try:
        content = json.loads(hardware.text(path))
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path} is no JSON: {error.msg} in line {error.lineno}", fix="drpcli machines list > machines.json"
        ) from error
    except RecursionError:
        raise InputError(f"{path} is nested too deep", fix="drpcli machines list > machines.json") from None
    machines = _machines(content)
    if not machines:
        raise InputError(f"{path} lists no machine", fix="drpcli machines list > machines.json")
    imported = Imported()
    planes = _planes(machines)
    nodes = [_node(imported, machine, planes) for machine in machines]
    fields = sorted({field for machine in machines for field in machine if field not in KEPT})
    if fields:
        imported.ignored.append(short(f"fields {', '.join(fields)}: the machines are installed already"))
    return hardware.finish(imported, nodes, path, lab=lab)


def _machines(content: Any) -> list[dict[str, Any]]:
    """Return Digital Rebar's machine objects, whichever of its forms they come in."""
    if isinstance(content, dict) and isinstance(content.get("_meta"), dict):
        return _listed(content)
    if isinstance(content, dict):
        content = next((content[key] for key in ("Machines", "machines") if key in content), [content])
    if isinstance(content, dict):  # by Uuid
        content = list(content.values())
    machines = [entry for entry in content if isinstance(entry, dict)] if isinstance(content, list) else []
    return [machine for machine in machines if "Name" in machine]


def _listed(listing: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the hosts of a dynamic Ansible inventory as if they were machine objects."""
    given = listing["_meta"].get("hostvars")
    hosts = {name: own for name, own in given.items() if isinstance(own, dict)} if isinstance(given, dict) else {}
    planes = {host for group in GROUPS for host in _members(listing.get(group))}
    return [
        {
            "Name": name,
            "Address": variables.get("ansible_host") or variables.get("rebar_address", ""),
            "Params": {ROLE: "control-plane"} if name in planes else {},
            "User": variables.get("ansible_user", ""),
        }
        for name, variables in hosts.items()
    ]


def _members(group: Any) -> list[str]:
    hosts = group.get("hosts") if isinstance(group, dict) else group
    return [str(host) for host in hosts] if isinstance(hosts, (list, dict)) else []


def _planes(machines: list[dict[str, Any]]) -> set[str]:
    """Return the names and ids that KRIB notes as masters, on any machine."""
    lists = [_params(machine).get(MASTERS) for machine in machines]
    noted = [entry for noted in lists if isinstance(noted, list) for entry in noted]
    return {str(entry.get(key)) for entry in noted if isinstance(entry, dict) for key in ("Name", "Uuid")} - {"None"}


def _params(machine: Mapping[str, Any]) -> dict[str, Any]:
    params = machine.get("Params")
    return params if isinstance(params, dict) else {}


def _node(imported: Imported, machine: Mapping[str, Any], planes: set[str]) -> dict[str, Any]:
    name, address = str(machine["Name"]), str(machine.get("Address") or "")
    if not address:
        raise InputError(f"the machine {name[:80]} has no Address", fix="drpcli machines update … or leave it out")
    node: dict[str, Any] = {"name": name.lower(), "address": address}
    params = _params(machine)
    master = bool({name, str(machine.get("Uuid"))} & planes) or params.get(IS_MASTER) is True
    if master or hardware.role(str(params.get(ROLE, "")), name) == "control-plane":
        node["role"] = "control-plane"
    if machine.get("User"):
        node["user"] = machine["User"]
    imported.kept.append(f"{node['name']}: {address}, {node.get('role', 'worker')}")
    rest = sorted(set(params) - {MASTERS, IS_MASTER, ROLE})
    if rest:  # names only: a parameter may hold a secret
        imported.ignored.append(short(f"{name}: parameters {', '.join(rest)}"))
    return node
