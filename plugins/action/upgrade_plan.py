# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Makes the plan of an upgrade of what the nodes told; works on the controller alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.kubesmith.cluster.plugins.module_utils.upgrade import numbers
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import upgrade_plan

ROLES = {"kube_control_plane": "control-plane", "kube_node": "worker"}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Reads the registered answers of all hosts, and returns the plan."""

    _supports_check_mode = True
    _requires_connection = False
    _VALID_ARGS = frozenset(("to", "bundle", "force"))

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        target, folder = (str(self._task.args.get(name) or "") for name in ("to", "bundle"))
        try:
            numbers(target)
        except ValueError as error:
            raise AnsibleActionFail(f"to: {error}") from error
        roles = {host: role for group, role in ROLES.items() for host in variables["groups"].get(group, ())}
        hosts = {host: variables["hostvars"][host] for host in roles}
        silent = [host for host, own in hosts.items() if "survey" not in (own.get("upgrade_survey") or {})]
        if silent:
            raise AnsibleActionFail(
                f"{', '.join(silent)} did not tell its state: every node must answer before an upgrade begins"
            )
        wanted = upgrade_plan.Wanted(
            target.removeprefix("v"),
            {host: own["upgrade_survey"] for host, own in hosts.items()},
            roles,
            _bundle(folder),
            {
                host: (str(own.get("kubesmith_group", "")), own.get("kubesmith_max_unavailable", 1))
                for host, own in hosts.items()
            },
            frozenset(self._task.args.get("force") or ()),
        )
        return {"changed": False, "plan": upgrade_plan.make(wanted).data()}


def _bundle(folder: str) -> dict[str, Any]:
    """Return the target's bundle.json, empty where there is none."""
    file = Path(folder).expanduser() / "bundle.json"
    try:
        made: dict[str, Any] = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise AnsibleActionFail(f"{file} cannot be read: {error}") from error
    return made
