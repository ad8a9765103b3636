# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Brings the administrator's kubeconfig of a control plane to the controller."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


def rewritten(text: str, server: str, name: str) -> str:
    """Return a kubeconfig with the server's address and with names that tell clusters apart in a merged file."""
    server, name = str(server), str(name)  # Ansible's strings are tagged, YAML refuses them
    config = yaml.safe_load(text)
    user = f"{name}-admin"
    cluster, context = config["clusters"][0], config["contexts"][0]
    cluster["cluster"]["server"] = server
    cluster["name"], context["name"], config["users"][0]["name"] = name, name, user
    context["context"] = {"cluster": name, "user": user}
    config["current-context"] = name
    return str(yaml.safe_dump(config, sort_keys=False))


def write_private(path: Path, text: str) -> None:
    """Write a file with mode 0600, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
    temporary.replace(path)


class ActionModule(ActionBase):  # type: ignore[misc]
    """Reads C(admin.conf) on the node and writes it, mode 0600, on the controller. Its content is never returned."""

    _supports_check_mode = True
    _VALID_ARGS = frozenset({"src", "dest", "server", "name"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        super().run(tmp, task_vars)
        arguments = self._task.args
        dest = Path(arguments["dest"]).expanduser()
        source = arguments.get("src", "/etc/kubernetes/admin.conf")
        read = self._execute_module(
            module_name="ansible.builtin.slurp", module_args={"src": source}, task_vars=task_vars
        )
        if read.get("failed"):
            if self._task.check_mode:
                return {"changed": True, "dest": str(dest), "msg": f"{source} does not exist yet"}
            raise AnsibleActionFail(f"the administrator's kubeconfig could not be read: {read.get('msg')}")
        text = rewritten(base64.b64decode(read["content"]).decode(), arguments["server"], arguments["name"])
        same = dest.is_file() and dest.read_text() == text and dest.stat().st_mode & 0o777 == 0o600
        if not same and not self._task.check_mode:
            write_private(dest, text)
        return {"changed": not same, "dest": str(dest)}
