# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Holds the running play's inventory to the rules of a cluster file; works on the controller alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.problems import SpecError

try:
    from ansible_collections.kubesmith.cluster.plugins.plugin_utils import ordinary
    from ansible_collections.kubesmith.cluster.plugins.plugin_utils.own_networks import own_networks
except ImportError as error:  # pydantic is absent; ansible-doc must still be able to load this file
    MISSING: ImportError | None = error
else:
    MISSING = None

REACH = ("ansible_host", "ansible_port", "ansible_user")


class ActionModule(ActionBase):  # type: ignore[misc]
    """Reads the variables of all hosts, worked out, and asks the rules."""

    _supports_check_mode = True
    _requires_connection = False
    _VALID_ARGS: frozenset[str] = frozenset()

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        super().run(tmp, task_vars)
        if MISSING:
            raise AnsibleActionFail(str(MISSING))
        variables = task_vars or {}
        groups = {name: list(variables["groups"].get(name, ())) for name in (ordinary.PLANES, ordinary.WORKERS)}
        nodes = ordinary.hosts_of(groups)
        hosts = {host: _ours(variables["hostvars"][host], host) for host, _role in nodes}
        lacking = {host: ordinary.lacking(host, role, hosts[host]) for host, role in nodes}
        if not any(own.get("ansible_host", "").endswith(".not-made.invalid") for own in hosts.values()):
            try:
                ordinary.check(groups, hosts, "the inventory", name=_name(variables), own=own_networks())
            except SpecError as error:
                # The first line is the first problem: some outputs show no more.
                raise AnsibleActionFail(f"{error}\n{len(error.problems)} problem(s) in all") from error
        return {"changed": False, "lacking": {host: own for host, own in lacking.items() if own}}


def _name(variables: Mapping[str, Any]) -> str:
    return str(variables.get("kubesmith_cluster", "kubernetes"))


def _ours(variables: Mapping[str, Any], host: str) -> dict[str, Any]:
    """Return a host's variables that concern this collection, with their templates worked out."""
    found = {}
    for name in list(variables):
        if name in REACH or name.startswith(("kubesmith_", "kubead", "kubadm", "contain", "calic")):
            try:
                found[name] = _bare(variables[name])
            except AnsibleError as error:
                raise AnsibleActionFail(f"{host}: {name} cannot be worked out: {error}") from error
    return found


def _bare(value: Any) -> Any:
    """Return a value without Ansible's own types: YAML and pydantic want the plain ones."""
    if isinstance(value, Mapping):
        return {str(key): _bare(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_bare(item) for item in value]
    if isinstance(value, bool) or value is None:
        return value
    return next((kind(value) for kind in (str, int, float) if isinstance(value, kind)), str(value))
