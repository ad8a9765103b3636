# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The state of a systemd unit, and whether it still runs with older files than those in place."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

from ansible_collections.kubesmith.cluster.plugins.module_utils.process import run

PROPERTIES = (
    "LoadState",
    "ActiveState",
    "UnitFileState",
    "NeedDaemonReload",
    "MainPID",
    "ExecMainStartTimestampMonotonic",
    "FragmentPath",
    "DropInPaths",
)


def properties(unit: str) -> dict[str, str]:
    """Return the PROPERTIES of a unit as strings; an unknown unit has LoadState not-found."""
    said = run(["systemctl", "show", "--property=" + ",".join(PROPERTIES), unit], timeout=30)
    rows = (line.partition("=") for line in said.out.splitlines())
    found = {key: value for key, _sign, value in rows}
    return {key: found.get(key, "") for key in PROPERTIES}


def stale_reason(state: Mapping[str, str], watched: Sequence[str]) -> str:
    """Return why a running unit must be restarted to use what is in place, or an empty string.

    Its program was replaced (the kernel knows), or a watched file is newer than its start. Neither depends on a
    handler that an interrupted run would have lost.
    """
    if state["ActiveState"] not in ("active", "activating", "reloading"):
        return ""
    if state["NeedDaemonReload"] == "yes":
        return "its unit file changed"
    if program_replaced(state["MainPID"]):
        return "its program was replaced"
    started = start_time(state["ExecMainStartTimestampMonotonic"], time.time(), time.monotonic())
    for path in [*state["FragmentPath"].split(), *state["DropInPaths"].split(), *watched]:
        try:
            changed = Path(path).stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            continue
        if started is not None and changed > started:
            return f"{path} changed"
    return ""


def watched_files(state: Mapping[str, str], watched: Sequence[str]) -> list[str]:
    """Return the files whose change makes a running unit stale: its program, unit files and those ``watched``."""
    if state["ActiveState"] not in ("active", "activating", "reloading"):
        return []
    try:
        program = [str(Path(f"/proc/{state['MainPID']}/exe").readlink())]
    except OSError:
        program = []
    return [path for path in [*program, state["FragmentPath"], *state["DropInPaths"].split(), *watched] if path]


def program_replaced(pid: str) -> bool:
    """Tell whether the program file of process ``pid`` (a string) has been replaced or removed since it started."""
    try:
        return str(Path(f"/proc/{pid}/exe").readlink()).endswith(" (deleted)")
    except OSError:
        return False


def start_time(monotonic_us: str, now: float, monotonic: float) -> Optional[float]:
    """Return a unit's start as seconds since the epoch, from its microseconds since boot; None if it never started."""
    return now - monotonic + int(monotonic_us) / 1e6 if monotonic_us.isdigit() and int(monotonic_us) else None
