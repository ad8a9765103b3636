#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_restore
short_description: Exchange the data of a running control plane for that of a backup
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - The steps of a restore in place, each to be done on all control planes before the next.
  - The revision is raised far beyond any that was given since the snapshot, and the older ones count as compacted, so
    that whoever watches the API lists anew.
options:
  step:
    description:
      - V(prepare) makes the new data beside the old while the cluster runs.
      - V(stop) ends the control plane's programs.
      - V(start) exchanges the data and starts them.
      - V(finish) removes the old data.
      - V(undo) brings the old data back and starts the programs.
    type: str
    choices: [prepare, stop, start, finish, undo]
    required: true
  archive:
    description: For V(prepare), the parts of a backup on the node, as the wrapper packs them.
    type: path
  name:
    description: For V(prepare), name of this node's etcd member.
    type: str
  members:
    description: For V(prepare), the peer address of every member by its name.
    type: dict
    default: {}
  timeout:
    description: Seconds that programs may take to end or to answer.
    type: int
    default: 180
attributes:
  check_mode:
    support: full
    description: Says that the step would be done.
  diff_mode:
    support: none
    description: There is no content to compare.
"""

EXAMPLES = r"""
- name: Stop the control planes
  kubesmith.cluster.etcd_restore:
    step: stop
"""

RETURN = r"""
step:
  description: What was done, or in check mode would be.
  type: str
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import restoring
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, lock


def work(wanted: dict[str, Any]) -> None:
    """Carry out the step."""
    step, timeout = wanted["step"], wanted["timeout"]
    if step == "prepare":
        restoring.prepare(wanted["archive"], wanted["name"], wanted["members"])
    elif step == "stop":
        restoring.stop(timeout)
    elif step == "start":
        restoring.exchange()
        restoring.start(timeout)
    elif step == "finish":
        restoring.finish()
    else:
        restoring.undo(timeout)


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "step": {"type": "str", "choices": ["prepare", "stop", "start", "finish", "undo"], "required": True},
            "archive": {"type": "path"},
            "name": {"type": "str"},
            "members": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 180},
        },
        required_if=[("step", "prepare", ("archive", "name", "members"))],
        supports_check_mode=True,
    )
    if not module.check_mode:
        try:
            with lock("kubeadm", module.params["timeout"]):
                work(module.params)
        except (CommandError, OSError) as error:
            module.fail_json(msg=f"{module.params['step']}: {error}", step=module.params["step"])
    module.exit_json(changed=True, step=module.params["step"])


if __name__ == "__main__":
    main()
