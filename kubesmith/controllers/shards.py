"""The workers of a cluster in parts, and each part as the stream that ansible-runner transmits."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ansible_runner

from kubesmith import execute, job, ordinary, paths
from kubesmith.errors import InputError, KubesmithError

FEWEST, MOST = 5, 50  # hosts of a shard: what a lost controller loses, against what a shard costs by itself
ROUNDS = 3  # shards for each place to work at, so that none waits long for the last one
PLAYBOOK = "kubesmith.cluster.workers"
PLANES, WORKERS = "kube_control_plane", "kube_node"
#: Worked out where the shard is carried out: the folder that it is unpacked to, and the bundle that is there.
THERE = "{{ inventory_dir }}"
BUNDLE = (
    "{{ lookup('ansible.builtin.env', 'KUBESMITH_BUNDLE') "
    "or lookup('ansible.builtin.env', 'KUBESMITH_BUNDLES') ~ '/' ~ kubesmith_kubernetes }}"
)
BUNDLES = ("containerd_bundle", "kubeadm_worker_bundle", "kubeadm_master_bundle", "calico_bundle")
#: Of no use on another machine.
LEFT_OUT = ("kubesmith_state", "kubeadm_master_kubeconfig")


@dataclass(frozen=True)
class Shard:
    """A part of the workers. ``payload`` is what ``ansible-runner transmit`` says; it holds SSH's private keys."""

    name: str
    hosts: tuple[str, ...]
    payload: bytes = field(repr=False)


def parts(hosts: Sequence[str], places: int) -> list[list[str]]:
    """Return the hosts in parts of nearly the same size for so many places to work at, each host once."""
    if not hosts:
        return []
    size = min(MOST, max(FEWEST, math.ceil(len(hosts) / (max(1, places) * ROUNDS))))
    count = math.ceil(len(hosts) / size)
    return [list(hosts[number::count]) for number in range(count)]


def make(work: job.Job, places: int) -> list[Shard]:
    """Return the shards of a cluster's workers; InputError where another machine could not enter the hosts."""
    if os.environ.get("KUBESMITH_SSH_SOCKETS"):
        raise InputError(
            "these machines are entered by password, which is not handed to other controllers", fix="give access.key"
        )
    listing = _listing(work)
    variables = listing["_meta"]["hostvars"]
    groups = {name: [host for host in _members(listing, name) if host in variables] for name in (PLANES, WORKERS)}
    workers = [host for host in groups[WORKERS] if host not in groups[PLANES]]
    ways = _ways(work, [*groups[PLANES], *workers], variables)
    _bundle_there(variables, str(work.bundle))
    return [
        _shard(f"shard-{number:03d}", hosts, groups[PLANES], variables, ways)
        for number, hosts in enumerate(parts(workers, places), 1)
    ]


def _listing(work: job.Job) -> dict[str, Any]:
    """Return the inventory with all variables of each host, as Ansible itself works it out."""
    command = [str(Path(sys.executable).parent / "ansible-inventory"), "-i", str(work.inventory), "--list"]
    environment = os.environ | execute.environment(work.state)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise KubesmithError(f"Ansible cannot list {work.inventory}: {done.stderr.strip()[-600:]}")
    listing: dict[str, Any] = json.loads(done.stdout)
    return listing


def _bundle_there(variables: Mapping[str, dict[str, Any]], bundle: str) -> None:
    """Put the other machine's bundle in the place of ours; a bundle that somebody named stays the one named."""
    for own in variables.values():
        own |= {name: BUNDLE for name in BUNDLES if ordinary.unwrapped(own.get(name)) == bundle}


def _members(listing: Mapping[str, Any], group: str) -> list[str]:
    row = listing.get(group, {})
    below = [host for child in row.get("children", ()) for host in _members(listing, child)]
    return list(dict.fromkeys([*row.get("hosts", ()), *below]))


@dataclass(frozen=True)
class Way:
    """How a host is entered: its variables for Ansible, the private key and the known hosts that go with them."""

    variables: Mapping[str, Any]
    key: str = ""
    known_hosts: str = ""


def _ways(work: job.Job, hosts: Sequence[str], variables: Mapping[str, Any]) -> dict[str, Way]:
    handed = work.spec.provider != "ssh" or bool(work.spec.access.key)  # else each controller has keys of its own
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda host: way(host, ordinary.unwrapped(variables[host]), handed=handed), hosts)
        return dict(zip(hosts, found, strict=True))


def way(host: str, own: Mapping[str, Any], *, handed: bool) -> Way:
    """Return how another machine enters ``host``, out of what SSH here makes of its variables.

    ``handed``: the private key is handed over; else the other machine uses its own.
    """
    argv = job.ssh_argv(dict(own))
    said = subprocess.run([argv[0], "-G", *argv[1:]], capture_output=True, text=True, check=False)
    if said.returncode:
        raise KubesmithError(f"{host}: ssh -G ended with {said.returncode}: {said.stderr.strip()}")
    rows = [line.partition(" ") for line in said.stdout.splitlines()]
    options = {key: value for key, _space, value in rows}
    keys = [Path(value).expanduser() for key, _space, value in rows if key == "identityfile"] if handed else []
    private = next((key for key in keys if key.is_file()), None)
    if handed and private is None:
        raise InputError(f"{host}: none of SSH's keys is there: {', '.join(map(str, keys))}", fix="give access.key")
    alias = options.get("hostkeyalias", "none")
    arguments = [f"-o HostKeyAlias={alias}"] if alias != "none" else []
    arguments += [f"-J {options['proxyjump']}"] if options.get("proxyjump", "none") != "none" else []
    files = shlex.split(f"{options.get('userknownhostsfile', '')} {options.get('globalknownhostsfile', '')}")
    known = [Path(name).expanduser() for name in files]
    return Way(
        {
            "ansible_host": options["hostname"],
            "ansible_port": int(options["port"]),
            "ansible_user": options["user"],
            "ansible_ssh_common_args": " ".join([*arguments, f"-o UserKnownHostsFile={THERE}/known_hosts"]),
        },
        private.read_text() if private else "",
        "".join(file.read_text() for file in known if file.is_file()),
    )


def _shard(
    name: str, hosts: Sequence[str], planes: Sequence[str], variables: Mapping[str, Any], ways: Mapping[str, Way]
) -> Shard:
    members = [*planes, *hosts]
    keys = {
        key: f"key-{hashlib.sha256(key.encode()).hexdigest()[:12]}" for key in (ways[h].key for h in members) if key
    }
    inventory = {
        PLANES: {"hosts": {host: _host(variables[host], ways[host], keys) for host in planes}},
        WORKERS: {"hosts": {host: _host(variables[host], ways[host], keys) for host in hosts}},
    }
    known = "".join(dict.fromkeys(line for host in members for line in ways[host].known_hosts.splitlines(True)))
    files = {"known_hosts": known} | {name: key for key, name in keys.items()}
    return Shard(name, tuple(hosts), transmitted(name, inventory, files))


def _host(own: Mapping[str, Any], its: Way, keys: Mapping[str, str]) -> dict[str, Any]:
    made = {key: value for key, value in own.items() if key not in LEFT_OUT and key != "ansible_ssh_private_key_file"}
    made |= dict(its.variables)
    if its.key:
        made["ansible_ssh_private_key_file"] = f"{THERE}/{keys[its.key]}"
        made["ansible_ssh_common_args"] += " -o IdentitiesOnly=yes -o IdentityAgent=none"
    return made


def transmitted(name: str, inventory: Mapping[str, Any], files: Mapping[str, str], playbook: str = PLAYBOOK) -> bytes:
    """Return a shard as ``ansible-runner transmit`` sends it; ``files`` lie beside its inventory."""
    with tempfile.TemporaryDirectory(prefix="kubesmith-shard-") as folder, tempfile.TemporaryFile() as stream:
        paths.make_private(Path(folder) / "inventory")
        for file, text in files.items():
            target = Path(folder) / "inventory" / file
            target.touch(mode=0o600)
            target.write_text(text)
        ansible_runner.run(
            streamer="transmit",
            _output=stream,
            private_data_dir=folder,
            playbook=playbook,
            inventory=dict(inventory),
            extravars={"shard": name},
            ident="ansible",
            settings={"suppress_ansible_output": True, "idle_timeout": 1800},
        )
        stream.seek(0)
        return stream.read()


def code_digest() -> str:
    """Return a digest of all that a shard is carried out with, so that two controllers can be seen to have the same."""
    digest = hashlib.sha256()
    folders: Iterable[Path] = (
        paths.PACKAGE,
        *(paths.collection() / name for name in ("playbooks", "plugins", "roles")),
    )
    for folder in folders:
        for file in sorted(folder.rglob("*")):
            if file.suffix in (".py", ".yml", ".j2") and "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
