# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Writes the evidence of a node on the controller; it never is part of a task's result."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path, PurePosixPath
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.kubesmith.cluster.plugins.module_utils.evidence import unpacked

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@=:-]{0,200}")


def safe(name: str) -> bool:
    """Tell whether a file name that a node gave stays below the folder meant for it."""
    parts = PurePosixPath(name).parts
    return 0 < len(parts) <= 4 and all(NAME.fullmatch(part) for part in parts)


def write(folder: Path, texts: dict[str, str]) -> int:
    """Write texts below ``folder``, which only its owner may read; return their size."""
    size = 0
    for name, text in texts.items():
        if not safe(name):
            raise AnsibleActionFail(f"the node gave a file name that is refused: {name[:100]!r}")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as out:
            size += out.write(text)
    return size


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs the module and puts what it gathered below O(dest), in a folder with the host's name."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        super().run(tmp, task_vars)
        asked = time.time()
        answer = self._execute_module(module_args=dict(self._task.args), task_vars=task_vars)
        if "packed" not in answer:
            return dict(answer, failed=True)
        try:
            found = unpacked(answer.pop("packed"))
        except ValueError as error:
            raise AnsibleActionFail(f"what the node sent is refused: {error}") from error
        # The node's clock is judged by the controller's before and after.
        facts = dict(found["facts"], asked=asked, answered=time.time(), missing=found["missing"])
        host = str((task_vars or {})["inventory_hostname"])
        folder = Path(self._task.args["dest"]).expanduser() / host
        size = write(folder, dict(found["texts"], **{"facts.json": json.dumps(facts, indent=1)}))
        return {"changed": False, "texts": len(found["texts"]), "bytes": size, "missing": found["missing"]}
