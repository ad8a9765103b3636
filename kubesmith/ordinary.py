"""Ordinary Ansible inventories (groups kube_control_plane and kube_node) in the place of a cluster file."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.plugin_utils.load import MAX_BYTES
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.own_networks import own_networks
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import LABEL, Spec

from kubesmith import paths
from kubesmith.errors import InputError

NAMES = ("inventory.ini", "hosts.ini", "hosts", "hosts.yml", "hosts.yaml", "inventory.yml", "inventory.yaml")
BESIDE = ("group_vars", "host_vars")


@dataclass(frozen=True)
class Listed:
    """An inventory as Ansible reads it, found right: each host's variables, its Spec, and its own kubeconfig's path."""

    file: Path
    spec: Spec
    hosts: Mapping[str, Mapping[str, Any]]
    kubeconfig: str = ""


def is_one(file: Path) -> bool:
    """Tell whether ``file`` is an ordinary inventory and no cluster file; OSError if it cannot be read."""
    from ansible_collections.kubesmith.cluster.plugins.plugin_utils import ordinary  # noqa: PLC0415 - imports Ansible

    if file.suffix == ".ini":  # whatever is wrong in it
        return os.access(file, os.R_OK)
    with file.open("rb") as content:
        return bool(ordinary.is_ordinary(content.read(MAX_BYTES).decode(errors="replace")))


def read(file: Path) -> Listed:
    """Return the inventory; SpecError lists every problem in it, InputError says why Ansible cannot read it."""
    from ansible_collections.kubesmith.cluster.plugins.plugin_utils import ordinary  # noqa: PLC0415

    listing = _listing(file)
    variables = {host: unwrapped(own) for host, own in listing.get("_meta", {}).get("hostvars", {}).items()}
    groups = {name: _members(listing, name) for name in (ordinary.PLANES, ordinary.WORKERS)}
    text = file.read_text(errors="replace")
    spec = ordinary.check(
        groups,
        variables,
        str(file),
        text=text,
        name=name_of(file),
        own=own_networks(),
        others=sorted(set(listing) - {"_meta"}),
        beside=_beside(file),
    )
    if spec is None:
        raise InputError(
            f"{file}: its settings cannot be checked before they are worked out",
            fix="write network ranges and addresses out, without {{ }}, or run ansible-playbook site.yml",
        )
    hosts = {host: variables.get(host, {}) for host, _role in ordinary.hosts_of(groups)}
    names = {node.name for node in spec.machines()}
    if odd := sorted(set(hosts) - names):
        raise InputError(
            f"{file}: {odd[0]} is to be called otherwise in the cluster, by its node_name",
            fix="runner.py knows nodes by their inventory names: rename the host, or run ansible-playbook site.yml",
        )
    kubeconfig = next((str(own.get("kubeadm_master_kubeconfig") or "") for own in hosts.values()), "")
    return Listed(file, spec, hosts, "" if "{{" in kubeconfig else kubeconfig)


def name_of(file: Path) -> str:
    """Return a cluster's name for an inventory that says none: the file's, or its folder's if that says more."""
    stem = file.parent.name if file.name in NAMES else file.stem
    word = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:32].strip("-")
    return word if LABEL.fullmatch(word) else "kubernetes"


def _listing(file: Path) -> dict[str, Any]:
    """Let Ansible itself read the inventory: it knows every form, and the group_vars beside it."""
    command = [str(Path(sys.executable).parent / "ansible-inventory"), "-i", str(file), "--list"]
    with tempfile.TemporaryDirectory(prefix="kubesmith-") as folder:
        config = Path(folder) / "ansible.cfg"  # empty, and named so that no other one is found
        config.touch()
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment(file, config))
    if done.returncode:
        raise InputError(f"{file} cannot be read by Ansible: {reason(done.stderr)}", fix="mend the file")
    listing: dict[str, Any] = json.loads(done.stdout)
    return listing


def reader(file: Path) -> str:
    """Return which of Ansible's plugins reads ``file``: of two, the wrong one would tell what is wrong."""
    from ansible_collections.kubesmith.cluster.plugins.plugin_utils import ordinary  # noqa: PLC0415

    kinds = {".ini": "ini", ".yml": "yaml", ".yaml": "yaml", ".json": "yaml"}
    by_content = "ini" if ordinary.is_ini(file.read_text(errors="replace")) else "yaml"
    return f"ansible.builtin.{kinds.get(file.suffix, by_content)}"


TOLD = re.compile(r"plugin: (.*?)(?=\n\s*(?:Failed to parse inventory|<<< caused|Origin:|\[ERROR\])|\Z)", re.DOTALL)
MOST = 400  # characters of it


def reason(words: str) -> str:
    """Return the sentence that says most among those of Ansible, which tells one failure up to four times."""
    if found := TOLD.search(words):
        return " ".join(found[1].split()).removeprefix("Failed to parse inventory: ")[:MOST]
    lines = [line.strip() for line in words.splitlines() if line.strip() and not line.startswith("Origin:")]
    telling = [line for line in lines if "decrypt" in line] or lines[-1:] or ["it says nothing"]
    return telling[0].removeprefix("[ERROR]: ")[:MOST]


def _beside(file: Path) -> dict[str, str]:
    """Return {path from the inventory's folder: text} of the variables' files beside an inventory."""
    found = [path for name in BESIDE for path in sorted((file.parent / name).rglob("*")) if path.is_file()]
    return {str(path.relative_to(file.parent)): path.read_text(errors="replace") for path in found}


def _environment(file: Path, config: Path) -> dict[str, str]:
    return os.environ | {
        "ANSIBLE_CONFIG": str(config),
        "ANSIBLE_COLLECTIONS_PATH": str(paths.COLLECTIONS),
        "ANSIBLE_INVENTORY_ENABLED": reader(file),
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "ANSIBLE_NOCOLOR": "true",
        "LC_ALL": "C.UTF-8",
    }


def _members(listing: Mapping[str, Any], group: str) -> list[str]:
    """Return the hosts of a group, those of its children included, in the file's order."""
    hosts: list[str] = []
    waiting, seen = [group], set()
    while waiting:
        name = waiting.pop(0)
        if name not in seen:
            seen.add(name)
            hosts += listing.get(name, {}).get("hosts", [])
            waiting += listing.get(name, {}).get("children", [])
    return list(dict.fromkeys(hosts))


def unwrapped(value: Any) -> Any:
    """Return a value of ``ansible-inventory --list`` without the mark that Ansible puts on text from outside."""
    if isinstance(value, dict):
        if set(value) == {"__ansible_unsafe"}:
            return value["__ansible_unsafe"]
        return {key: unwrapped(inner) for key, inner in value.items() if key != "ansible_local"}
    return [unwrapped(item) for item in value] if isinstance(value, list) else value


def reach(listed: Listed, spec: Spec) -> dict[str, dict[str, Any]]:
    """Return each node's variables, with those filled in that say how SSH reaches it."""
    found = {}
    for node in spec.machines():
        own = dict(listed.hosts[node.name])
        own.setdefault("ansible_host", node.name)
        found[node.name] = own | {"kubesmith_node_address": node.address}
    return found


def linked(listed: Listed, state: Path) -> Path:
    """Return a folder that is the inventory and, below it in precedence, what the wrapper adds to it.

    Ansible reads the user's own files, through links: nothing of them is copied, and what they say wins.
    """
    folder = paths.make_private(state) / "inventory"
    shutil.rmtree(folder, ignore_errors=True)
    paths.make_private(folder)
    added = {"all": {"vars": _added(listed, state), "hosts": _addresses(listed.spec)}}
    (folder / "00-kubesmith.yml").write_text(json.dumps(added, indent=1) + "\n")
    # Ansible leaves out some suffixes in a folder, .ini among them
    name = f"10-{listed.file.stem}" + (listed.file.suffix if listed.file.suffix in (".yml", ".yaml", ".json") else "")
    (folder / name).symlink_to(listed.file)
    for beside in BESIDE:
        if (listed.file.parent / beside).is_dir():
            (folder / beside).symlink_to(listed.file.parent / beside)
    return folder


def _addresses(spec: Spec) -> dict[str, dict[str, str]]:
    roles = {"control-plane": "kubeadm_master", "worker": "kubeadm_worker"}
    nodes = [(node, str(node.address)) for node in spec.machines()]
    return {
        node.name: {"kubesmith_node_address": address, f"{roles[node.role]}_node_address": address}
        for node, address in nodes
    }


def _added(listed: Listed, state: Path) -> dict[str, Any]:
    spec = listed.spec
    added: dict[str, Any] = {
        "kubesmith_cluster": spec.cluster.name,
        "kubesmith_state": str(state),
        "calico_pod_cidr": spec.network.pods,
        "kubeadm_master_cluster_name": spec.cluster.name,
        "kubeadm_master_kubeconfig": f"{state}/kubeconfig",
        "ansible_become": "{{ ansible_user | default('root') != 'root' }}",
        # A template, so that group_vars beside the inventory still win.
        "containerd_host": {"hosts": "{{ {inventory_hostname: kubesmith_node_address} }}"},
    }
    return added | {
        f"{role}_bundle": str(paths.bundle(spec.cluster.kubernetes))
        for role in ("containerd", "kubeadm_master", "kubeadm_worker", "calico")
    }
