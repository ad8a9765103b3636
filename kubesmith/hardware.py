"""Read a list of machines in CSV (a ``hardware.csv``) into a cluster file, and say what became of every column."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kubesmith.errors import InputError
from kubesmith.kubespray import Imported, as_lab, validated

#: Our setting of a node, and the columns that may hold it, as several tools call them.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "name": ("hostname", "name", "host_name", "node"),
    "address": ("ip_address", "address", "ip", "ipv4"),
    "role": ("role", "type"),
    "labels": ("labels", "label"),
    "user": ("user", "ssh_user"),
    "port": ("port", "ssh_port"),
    "host": ("ssh_host", "management_ip"),
}
CONTROL_PLANE = {"cp", "control-plane", "controlplane", "control_plane", "master", "server"}
WORKER = {"worker", "node", "agent", "w", ""}
TYPE = "type"  # the label by which a hardware.csv tells control planes (type=cp) from workers (type=worker)
WHY_IGNORED = {
    "mac": "machines are not booted from the network here",
    "bmc_ip": "machines are not switched on and off here",
    "bmc_username": "machines are not switched on and off here",
    "bmc_password": "machines are not switched on and off here; the password is not copied",
    "disk": "the operating system is installed already",
    "netmask": "the operating system is configured already",
    "gateway": "the operating system is configured already",
    "nameservers": "the operating system is configured already",
    "vlan_id": "the operating system is configured already",
}


def read(path: Path, *, lab: bool = False) -> Imported:
    """Import the CSV at ``path``: a line of column names, then a line for each machine.

    Raises InputError for a file that cannot be read, lacks names or addresses, or gives values that no cluster file
    may hold.
    """
    rows = _rows(path)
    columns = _columns(rows[0], path)
    imported = Imported()
    nodes = [_node(imported, row, columns, line) for line, row in enumerate(rows, start=2)]
    ignored = [column for column in rows[0] if column not in columns.values()]
    imported.ignored += [f"column {name}: {WHY_IGNORED.get(name, 'has no meaning here')}" for name in ignored]
    return finish(imported, nodes, path, lab=lab)


def finish(imported: Imported, nodes: list[dict[str, Any]], path: Path, *, lab: bool) -> Imported:
    """Complete the cluster file of ``nodes``: a name, a control plane; check it by the rules of every cluster file."""
    name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:32].strip("-")
    if not any(node.get("role") == "control-plane" for node in nodes):
        nodes[0]["role"] = "control-plane"
        first = f"{nodes[0]['name']}: {nodes[0]['address']}, "
        imported.kept = [f"{first}control-plane" if row == f"{first}worker" else row for row in imported.kept]
        imported.translated.append(f"no machine is marked as control plane → {nodes[0]['name']}, the first, is it")
    nodes.sort(key=lambda node: node.get("role") != "control-plane")
    imported.data = {
        "plugin": "kubesmith.cluster.spec",
        "cluster": {"name": name or "imported", "kubernetes": "stable"},
        "provider": "ssh",
        "nodes": nodes,
    }
    if lab:
        as_lab(imported)
    validated(imported, path)
    return imported


def role(word: str, where: str) -> str:
    """Return our role for another tool's word; InputError for one that is not known."""
    plain = word.strip().lower()
    if plain in CONTROL_PLANE:
        return "control-plane"
    if plain in WORKER:
        return "worker"
    raise InputError(
        f"{where}: {word[:80]!r} is no role of a node",
        fix=f"control plane: {', '.join(sorted(CONTROL_PLANE))}; or worker",
    )


def text(path: Path) -> str:
    """Return the file's text; InputError where it cannot be read or is no text."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", fix="check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not text in UTF-8: {error.reason} at byte {error.start}", fix="save it so"
        ) from error


def _rows(path: Path) -> list[dict[str, str]]:
    content = text(path)
    first = content.partition("\n")[0]
    separator = ";" if first.count(";") > first.count(",") else ","
    try:
        reader = csv.DictReader(io.StringIO(content), delimiter=separator, skipinitialspace=True, strict=True)
        found = [_clean(row, line, path) for line, row in enumerate(reader, start=2)]
    except csv.Error as error:
        raise InputError(f"{path} is no CSV: {error}", fix="the first line names the columns") from error
    rows = [row for row in found if any(row.values())]
    if not rows:
        raise InputError(f"{path} lists no machine", fix="a line of column names, then a line for each machine")
    return rows


def _clean(row: Mapping[str | None, Any], line: int, path: Path) -> dict[str, str]:
    """Return a row with its column names in lower case; a row with more or fewer fields is refused."""
    if None in row or (None in row.values() and any(row.values())):
        raise InputError(
            f"{path}, row {line}: it has not as many fields as the first line has names",
            fix="give each column a field, empty or not; quote a field that holds the separator",
        )
    return {str(key).strip().lower(): str(value or "").strip() for key, value in row.items()}


def _columns(row: Mapping[str, str], path: Path) -> dict[str, str]:
    """Return which of the file's columns holds which of our settings."""
    found = {ours: next((name for name in names if name in row), "") for ours, names in COLUMNS.items()}
    for needed in ("name", "address"):
        if not found[needed]:
            raise InputError(
                f"{path} has no column for the {needed} of a machine, only {', '.join(map(repr, row))}",
                fix=f"call one of them {' or '.join(COLUMNS[needed])}",
            )
    return {ours: name for ours, name in found.items() if name}


def _node(imported: Imported, row: Mapping[str, str], columns: Mapping[str, str], line: int) -> dict[str, Any]:
    value = {ours: row[name] for ours, name in columns.items()}
    labels = _labels(value.get("labels", ""), line)
    node: dict[str, Any] = {"name": value["name"].lower(), "address": value["address"]}
    if not node["name"] or not node["address"]:
        raise InputError(f"row {line} has no {'address' if node['name'] else 'name'}", fix="fill it in")
    if node["name"] != value["name"]:
        imported.translated.append(f"{value['name']} → {node['name']}: names of nodes have no capitals")
    word = value.get("role") or labels.pop(TYPE, "")
    if role(word, f"row {line}") == "control-plane":
        node["role"] = "control-plane"
    for ours in ("user", "host"):
        if value.get(ours):
            node[ours] = value[ours]
    if port := value.get("port"):
        if not re.fullmatch(r"[0-9]{1,5}", port):
            raise InputError(f"row {line}: the port {port[:80]!r} is not a number", fix="22 as a rule")
        node["port"] = int(port)
    if labels:
        node["labels"] = labels
    imported.kept.append(f"{node['name']}: {node['address']}, {node.get('role', 'worker')}")
    return node


def _labels(words: str, line: int) -> dict[str, str]:
    """Return ``a=1|b=2`` as a mapping."""
    pairs: Sequence[str] = [pair.strip() for pair in words.replace(";", "|").split("|") if pair.strip()]
    for pair in pairs:
        if "=" not in pair:
            raise InputError(f"row {line}: the label {pair[:80]!r} is not key=value", fix="separate labels by '|'")
    return dict(pair.split("=", 1) for pair in pairs)
