"""Writes what every task of a playbook's run came to: the rows that runner.py keeps of its own runs, in the same file.

Molecule starts ansible-playbook without ansible-runner. Each run gets a folder below KUBESMITH_TASK_ROWS, named by its
time and its playbook; without that variable nothing is written, and values never are.
"""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: task_rows
type: notification
short_description: A row for each task and host of a run
description: Writes tasks.jsonl into a folder of its own below E(KUBESMITH_TASK_ROWS).
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "task_rows"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self.above = os.environ.get("KUBESMITH_TASK_ROWS", "")
        self.disabled = not self.above
        self.folder = Path()
        self.play = ""
        self.began: dict[tuple[str, str], float] = {}

    def v2_playbook_on_start(self, playbook: Any) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%S") + f".{time.time_ns() % 1_000_000_000:09d}"
        self.folder = Path(self.above) / f"{stamp}-{Path(playbook._file_name).stem}"
        self.folder.mkdir(parents=True)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self.play = play.get_name()

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self.began[host.get_name(), task._uuid] = time.time()

    def v2_runner_on_ok(self, result: Any) -> None:
        self._write(result, "ok", changed=bool(result.result.get("changed")))

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._write(result, "failed")

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._write(result, "skipped")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._write(result, "unreachable")

    def _write(self, result: Any, status: str, *, changed: bool = False) -> None:
        host, task, now = result.host.get_name(), result.task, time.time()
        start = self.began.pop((host, task._uuid), now)
        row = {
            "host": host,
            "play": self.play,
            "role": task._role._role_name if task._role else None,
            "task": task.name,
            "status": status,
            "changed": changed,
            "start": datetime.fromtimestamp(start, UTC).isoformat(),
            "seconds": now - start,
        }
        with (self.folder / "tasks.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")
