# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What the bundle's action plugins share: the description read here, and parts sent to a node that lacks them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.kubesmith.cluster.plugins.module_utils.bundle import BundleError


def read_bundle(folder: str) -> tuple[Path, dict[str, Any]]:
    """Return a bundle's folder and its description; AnsibleActionFail says how to get one."""
    root = Path(folder).expanduser()
    try:
        return root, json.loads((root / "bundle.json").read_text())
    except FileNotFoundError:
        raise AnsibleActionFail(f"no bundle at {root}; build one with: python3 runner.py bundle build") from None
    except (OSError, ValueError) as error:
        raise AnsibleActionFail(f"the bundle at {root} cannot be read: {error}") from error


def identity(root: Path, bundle: dict[str, Any]) -> dict[str, str]:
    """Return what tells a node which bundle is meant; a link to one beside it stands for that one."""
    real = root.resolve()
    folder = real.name if real.parent == root.parent.resolve() else root.name
    return {"arch": bundle["arch"], "kubernetes": bundle["kubernetes"], "folder": folder, "digest": bundle["digest"]}


class BundleAction(ActionBase):  # type: ignore[misc]
    """Runs the module of the same name; sends what it says the node lacks, and runs it once more."""

    _supports_check_mode = True

    def rows(self, root: Path, bundle: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the module's arguments that are taken from the bundle."""
        raise NotImplementedError

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if not arguments.get("bundle"):
            raise AnsibleActionFail("bundle is required: the bundle's folder on the controller")
        root, bundle = read_bundle(arguments["bundle"])
        try:
            arguments.update(self.rows(root, bundle, arguments), **identity(root, bundle))
        except BundleError as error:
            raise AnsibleActionFail(str(error)) from error
        result = self._module(arguments, task_vars)
        if result.get("missing"):
            missing = result["missing"]
            try:
                result = self._module(arguments | {"pushed": self._send(root, missing)}, task_vars)
            finally:
                self._remove_tmp_path(self._connection._shell.tmpdir)
            result["sent"] = len(missing)
        result.pop("invocation", None)  # the rows of a bundle are long, and its own bundle.json shows them better
        return result

    def _module(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(
            module_name=self._task.action, module_args=arguments, task_vars=task_vars
        )
        return result

    def _send(self, root: Path, missing: dict[str, str]) -> dict[str, str]:
        """Send files to a temporary folder on the node; return {sha256: path there}."""
        folder = self._connection._shell.tmpdir or self._make_tmp_path()
        sent = {}
        for digest, relative in missing.items():
            sent[digest] = self._connection._shell.join_path(folder, digest)
            self._transfer_file(str(root / relative), sent[digest])
        self._fixup_perms2([folder, *sent.values()], execute=False)
        return sent
