# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Inventory plugin: a cluster file as Ansible hosts, groups and variables."""

from __future__ import annotations

DOCUMENTATION = r"""
name: spec
short_description: A kubesmith cluster file as inventory
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Reads the same C(cluster.yml) that C(runner.py) reads, checks it by the same rules, and yields the groups
    C(kube_control_plane) and C(kube_node) with the variables of the collection's roles.
  - Machines that a provider makes are looked up in the cluster's state folder, E(KUBESMITH_STATE).
requirements:
  - pydantic >= 2 on the controller
notes:
  - Any YAML file with C(plugin=kubesmith.cluster.spec) at its top, or with a top-level mapping C(cluster) that has
    a name, is accepted.
options:
  plugin:
    description: Name of this plugin; lets Ansible find it without C(enable_plugins).
    type: str
    choices: [kubesmith.cluster.spec]
"""

EXAMPLES = r"""
plugin: kubesmith.cluster.spec
cluster:
  name: metal
provider: ssh
access: {user: admin, key: ~/.ssh/id_ed25519}
nodes:
  - {name: cp1, role: control-plane, address: 192.168.10.11}
  - {name: w1, address: 192.168.10.21}
"""

import json
import os
import re
from pathlib import Path
from typing import Any, NoReturn

from ansible.plugins.inventory import BaseInventoryPlugin
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import places
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.problems import SpecError

try:
    from ansible_collections.kubesmith.cluster.plugins.plugin_utils import inventory as builder
    from ansible_collections.kubesmith.cluster.plugins.plugin_utils import spec as spec_module
    from ansible_collections.kubesmith.cluster.plugins.plugin_utils.own_networks import own_networks
except ImportError as error:  # pydantic is absent; ansible-doc must still be able to load this file
    MISSING: ImportError | None = error
else:
    MISSING = None

PLUGIN = re.compile(rb"^plugin\s*:\s*[\"']?kubesmith\.cluster\.spec\b", re.MULTILINE)
MOST = 2**23  # more than a cluster file may have; that it has too much is told when it is read
TOP_LEVEL = re.compile(rb"^[\"']?(cluster|provider|nodes|workers)[\"']?\s*:", re.MULTILINE)
#: A cluster that says its name, where the other words are misspelt. A group of hosts has no such entry.
NAMED = re.compile(
    rb"^[\"']?cluster[\"']?\s*:[ \t]*(?:\{[^}\n]*\bname[\"']?\s*:|"
    rb"(?:#[^\n]*)?\r?\n(?:[ \t]*(?:#[^\n]*)?\r?\n)*[ \t]+[\"']?(?:name|kubernetes|endpoint)[\"']?\s*:)",
    re.MULTILINE,
)


class InventoryModule(BaseInventoryPlugin):  # type: ignore[misc]
    """Yields the hosts of one cluster file."""

    NAME = "kubesmith.cluster.spec"

    def verify_file(self, path: str) -> bool:
        """Tell whether ``path`` looks like a cluster file."""
        if not super().verify_file(path) or not path.endswith((".yml", ".yaml")):
            return False
        with Path(path).open("rb") as content:
            text = content.read(MOST)
        # "cluster" alone could be a group of an ordinary inventory.
        known = {b"cluster"} < set(TOP_LEVEL.findall(text))
        return known or bool(PLUGIN.search(text) or NAMED.search(text))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill ``inventory`` from the cluster file at ``path``; every problem of the file is one error."""
        super().parse(inventory, loader, path, cache)
        if MISSING:
            self._refuse(str(MISSING))
        try:
            spec = spec_module.read(Path(path), own_networks())
        except SpecError as error:
            self._refuse(f"the cluster file has {len(error.problems)} problem(s):\n{error}")
        state = places.state(spec.cluster.name)
        machines = _machines(state)
        if spec.provider != "ssh" and not machines:
            self.display.warning(
                f"the machines of cluster {spec.cluster.name} have not been made; "
                f"run: python3 runner.py up --inventory {path}"
            )
        sockets = os.environ.get("KUBESMITH_SSH_SOCKETS", "")  # set by runner.py, which opened connections by password
        bundle = str(places.bundle(spec.cluster.kubernetes))
        built = builder.build(spec, machines, state=str(state), bundle=bundle, sockets=sockets)
        self._fill(built)

    def _refuse(self, message: str) -> NoReturn:
        # An ordinary plugin error would let Ansible try its own YAML plugin on the same file, take "network" for a
        # group, and end with success on no host.
        self.display.error(message, wrap_text=False)
        raise SystemExit(2)

    def _fill(self, built: Any) -> None:
        for name, value in built.variables.items():
            self.inventory.set_variable("all", name, value)
        for group, hosts in built.groups.items():
            self.inventory.add_group(group)
            for host in hosts:
                self.inventory.add_host(host, group=group)
        for host, variables in built.hosts.items():
            for name, value in variables.items():
                self.inventory.set_variable(host, name, value)


def _machines(state: Path) -> list[dict[str, Any]]:
    file = state / "machines.json"
    if not file.exists():
        return []
    machines: list[dict[str, Any]] = json.loads(file.read_text())["machines"]
    return machines
