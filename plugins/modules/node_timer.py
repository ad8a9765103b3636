#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: node_timer
short_description: Have a node do one of this collection's jobs by itself, on a systemd timer
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Puts the code that the modules of this collection run, and no other, on the node, with a unit and a timer for it.
  - Without O(calendar) the timer, its unit and its settings are taken away.
options:
  job:
    description: What is to be done.
    type: str
    choices: [approver, backup, renewal]
    required: true
  delay:
    description: Seconds by which the timer may be late, always the same on one node, so that not all begin at once.
    type: int
    default: 0
  calendar:
    description: When, as in systemd's C(OnCalendar=), such as V(daily) or V(*-*-* 03:00). Empty means never.
    type: str
    default: ""
  settings:
    description: What the job is told. It is kept on the node, mode 0600.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: Says what would change.
  diff_mode:
    support: full
    description: Shows the timer and its unit.
"""

EXAMPLES = r"""
- name: Back up the cluster each night
  kubesmith.cluster.node_timer:
    job: backup
    calendar: "*-*-* 03:00"
    settings: {cluster: lab, recipients: [age1…], spec: "", reason: timer, keep: 14}
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
"""

import json
import sys
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import (
    approver,  # noqa: F401 - what timers run must be here to be copied
    backup,  # noqa: F401
    before,
    files,
    renewal,  # noqa: F401
    systemd,
)
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, must, run

PACKAGE = "ansible_collections.kubesmith.cluster.plugins.module_utils"
CODE = "/usr/local/lib/kubesmith"
SETTINGS = "/etc/kubesmith"
UNITS = "/usr/local/lib/systemd/system"
JOBS = {
    "backup": "Backup of the cluster",
    "renewal": "Certificates that end soon are renewed",
    "approver": "Serving certificates of kubelets are approved",
}
SERVICE = """\
# Managed by kubesmith.
[Unit]
Description={text}
After=kubelet.service

[Service]
Type=oneshot
UMask=0077
Nice=10
Environment=PYTHONPATH={code} PYTHONDONTWRITEBYTECODE=1
ExecStart={python} -m {package}.{job} {settings}
"""
TIMER = """\
# Managed by kubesmith.
[Unit]
Description={text}, on time

[Timer]
OnCalendar={calendar}
AccuracySec=1s
RandomizedDelaySec={delay}
FixedRandomDelay=true
Persistent=true

[Install]
WantedBy=timers.target
"""


def wanted(job: str, calendar: str, settings: dict[str, Any], delay: int = 0) -> dict[str, tuple[str, int]]:
    """Return {path: (content, mode)} of everything that the job needs on the node."""
    place = f"{SETTINGS}/{job}.json"
    names = {"text": JOBS[job], "job": job, "calendar": calendar, "settings": place, "delay": str(delay)}
    names |= {"code": CODE, "package": PACKAGE, "python": sys.executable}
    made = {
        place: (json.dumps(settings, indent=1) + "\n", 0o600),
        f"{UNITS}/kubesmith-{job}.service": (SERVICE.format(**names), 0o644),
        f"{UNITS}/kubesmith-{job}.timer": (TIMER.format(**names), 0o644),
    }
    return {**{path: (text, 0o644) for path, text in code().items()}, **made}


def code() -> dict[str, str]:
    """Return {path: source} of the collection's own code that this module has loaded."""
    found = {}
    for name, loaded in sorted(sys.modules.items()):
        loader: Any = getattr(getattr(loaded, "__spec__", None), "loader", None)
        if name.startswith(f"{PACKAGE}.") and hasattr(loader, "get_source"):
            found[f"{CODE}/{name.replace('.', '/')}.py"] = loader.get_source(name) or ""
    return found


def check_calendar(calendar: str) -> None:
    """Raise CommandError for what systemd does not take for a time."""
    result = run(["systemd-analyze", "calendar", calendar], timeout=30)
    if result.rc != 0:
        raise CommandError(f"{calendar!r} is not a time that systemd knows: {result.said}")


def present(job: str, given: dict[str, Any], check_mode: bool) -> tuple[list[str], list[Any]]:
    """Bring the timer about; return (actions, diff)."""
    check_calendar(given["calendar"])
    files_wanted = wanted(job, given["calendar"], given["settings"], given["delay"])
    todo = [
        path for path, (text, mode) in files_wanted.items() if files.read(path) != text or files.mode_of(path) != mode
    ]
    units = [path for path in todo if path.startswith(UNITS)]
    diff = [files.difference(path, files.read(path), files_wanted[path][0]) for path in units]
    state = systemd.properties(f"kubesmith-{job}.timer")
    idle = state["ActiveState"] != "active" or state["UnitFileState"] != "enabled"
    actions = [f"write {path}" for path in todo]
    actions += [f"start kubesmith-{job}.timer"] if idle or units else []
    if not check_mode and actions:
        before.note(todo)
        for path in todo:
            files.put(path, *files_wanted[path])
        if units or state["NeedDaemonReload"] == "yes":
            must(["systemctl", "daemon-reload"], timeout=60)
        if idle or units:
            must(["systemctl", "enable", f"kubesmith-{job}.timer"], timeout=60)
            must(["systemctl", "restart", f"kubesmith-{job}.timer"], timeout=60)
    return actions, diff


def absent(job: str, check_mode: bool) -> tuple[list[str], list[Any]]:
    """Take the timer away; return (actions, diff). The code stays while another job may need it."""
    paths = [f"{UNITS}/kubesmith-{job}.timer", f"{UNITS}/kubesmith-{job}.service", f"{SETTINGS}/{job}.json"]
    there = [path for path in paths if Path(path).exists()]
    diff = [files.difference(path, files.read(path), None) for path in there if path.startswith(UNITS)]
    if there and not check_mode:
        if paths[0] in there:
            must(["systemctl", "disable", "--now", f"kubesmith-{job}.timer"], timeout=60)
        for path in there:
            files.remove(path)
        must(["systemctl", "daemon-reload"], timeout=60)
    return [f"remove {path}" for path in there], diff


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "job": {"type": "str", "choices": sorted(JOBS), "required": True},
            "calendar": {"type": "str", "default": ""},
            "settings": {"type": "dict", "default": {}},
            "delay": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    job = module.params["job"]
    try:
        if module.params["calendar"]:
            actions, diff = present(job, module.params, module.check_mode)
        else:
            actions, diff = absent(job, module.check_mode)
    except (CommandError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(actions), actions=actions, diff=diff)


if __name__ == "__main__":
    main()
