#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: unit
short_description: A systemd unit runs, with the files that are in place
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Enables and starts a unit, and restarts it when it still runs with an older program, unit file or configuration.
  - What is old is read from the system (the running program was replaced, or a file is newer than the process), not
    from a notification. A run that was interrupted between a change and the restart is therefore made good by the next.
options:
  name:
    description: Name of the unit, with its suffix or without it for a service.
    type: str
    required: true
  watch:
    description: Configuration files that the unit reads when it starts.
    type: list
    elements: path
    default: []
  start_when:
    description: Start the unit only where this file exists; enable it anyway.
    type: path
  timeout:
    description: Seconds that a start may take.
    type: int
    default: 90
attributes:
  check_mode:
    support: full
    description: Says what would be done; a unit that is not installed yet would be started.
  diff_mode:
    support: none
    description: There is no content to compare.
"""

EXAMPLES = r"""
- name: Run containerd with its present configuration
  kubesmith.cluster.unit:
    name: containerd
    watch: [/etc/containerd/config.toml]
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
  sample: ["restart: /etc/containerd/config.toml changed"]
unit:
  description: Name of the unit.
  type: str
  returned: always
watched:
  description: Files whose change restarts the unit, none while it does not run.
  type: list
  elements: str
  returned: always
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, journal, must
from ansible_collections.kubesmith.cluster.plugins.module_utils.systemd import (
    properties,
    stale_reason,
    watched_files,
)


def plan(state: Mapping[str, str], may_start: bool, watch: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return what to do as [(text, systemctl arguments)]."""
    steps = []
    if state["NeedDaemonReload"] == "yes" or state["LoadState"] == "not-found":
        steps.append(("", ["daemon-reload"]))
    if state["UnitFileState"] not in ("enabled", "static", "generated", "alias", "indirect"):
        steps.append(("enable", ["enable"]))
    stale = stale_reason(state, watch)
    if may_start and state["ActiveState"] in ("inactive", "failed", "deactivating", ""):
        steps.append(("start", ["start"]))
    elif stale:
        steps.append((f"restart: {stale}", ["restart"]))
    return steps


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "watch": {"type": "list", "elements": "path", "default": []},
            "start_when": {"type": "path"},
            "timeout": {"type": "int", "default": 90},
        },
        supports_check_mode=True,
    )
    name = module.params["name"]
    may_start = module.params["start_when"] is None or Path(module.params["start_when"]).exists()
    state = properties(name)
    steps, watched = plan(state, may_start, module.params["watch"]), watched_files(state, module.params["watch"])
    if not module.check_mode:
        try:
            for _text, verb in steps:
                must(
                    ["systemctl", *verb, *([] if verb == ["daemon-reload"] else [name])],
                    timeout=module.params["timeout"],
                )
        except CommandError as error:
            module.fail_json(msg=f"{error}\nThe journal of {name} ends with:\n{journal(name)}")
    actions = [text for text, _verb in steps if text]
    module.exit_json(changed=bool(actions), actions=actions, unit=name, watched=watched)


if __name__ == "__main__":
    main()
