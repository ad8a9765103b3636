"""Brings a backup from the control plane that made it to the controller; it is encrypted on the whole way."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.kubesmith.cluster.plugins.module_utils.backup import FOLDER, SUFFIX

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
PIECE = 8  # MiB that one command on the node prints


class ActionModule(ActionBase):  # type: ignore[misc]
    """Runs the module, then copies what it made below O(dest), whole or not at all."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the action."""
        super().run(tmp, task_vars)
        answer: dict[str, Any] = self._execute_module(module_args=dict(self._task.args), task_vars=task_vars)
        answer.pop("invocation", None)
        if self._task.args.get("dest") and not answer.get("failed"):
            folder = Path(self._task.args["dest"]).expanduser()
            made = [answer["backup"]] if "backup" in answer else answer.get("backups", [])
            new = [meta for meta in made if not (folder / f"{meta['id']}.json").exists()]
            answer["brought"] = [meta["id"] for meta in new]
            answer["changed"] = bool(answer.get("changed") or new)
            for meta in new if not self._task.check_mode else ():
                if not NAME.fullmatch(meta["id"]):
                    raise AnsibleActionFail(f"the node gave a name that is refused: {meta['id'][:100]!r}")
                self.fetch(meta, folder)
        return answer

    def fetch(self, meta: dict[str, Any], folder: Path) -> None:
        """Copy a backup and its description; AnsibleActionFail where the copy is not what the node made."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        source = f"{FOLDER}/{meta['id']}{SUFFIX}"
        temporary = folder / f".{meta['id']}.new"
        digest = hashlib.sha256()
        try:
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                for piece in self.pieces(source, int(meta["bytes"])):
                    digest.update(piece)
                    out.write(piece)
                out.flush()
                os.fsync(out.fileno())
            if digest.hexdigest() != meta["sha256"]:
                raise AnsibleActionFail(f"{source} was not copied as it is: its sha256 there is {meta['sha256']}")
            temporary.replace(folder / f"{meta['id']}{SUFFIX}")
        finally:
            temporary.unlink(missing_ok=True)
        described = folder / f".{meta['id']}.json.new"
        with os.fdopen(os.open(described, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(json.dumps(meta, indent=1) + "\n")
        described.replace(folder / f"{meta['id']}.json")

    def pieces(self, path: str, size: int) -> Iterator[bytes]:
        """Yield the content of a file of the node: Ansible's own fetch holds the whole of it, several times."""
        for number in range((size + (PIECE << 20) - 1) // (PIECE << 20)):
            command = f"dd if={shlex.quote(path)} bs={PIECE}M skip={number} count=1 status=none | base64 -w0"
            said = self._low_level_execute_command(command, executable="/bin/sh")
            if said["rc"] != 0:
                raise AnsibleActionFail(f"{path} cannot be read on the node: {said.get('stderr', '').strip()}")
            yield base64.b64decode(said["stdout"])
