#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_member
short_description: Take members of nodes out of etcd
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Removes the members of etcd that belong to nodes; the nodes are not asked and may be gone. Runs on another control
    plane.
  - Refuses, before the first is removed, if the remaining members could not decide anything any more, or cannot now.
options:
  absent:
    description:
      - Names of the nodes, each with its address, by which a member is known that joined and never started.
      - Members that do not answer are removed first, so that the others can agree.
    type: dict
    required: true
attributes:
  check_mode:
    support: full
    description: Removes nothing, and refuses what it would refuse.
  diff_mode:
    support: none
    description: There is no content to compare.
"""

EXAMPLES = r"""
- name: Take the member of a control plane out that is no more
  kubesmith.cluster.etcd_member:
    absent: {cp2: 192.168.10.12}
  delegate_to: cp1
"""

RETURN = r"""
members:
  description: Names of the members that are left, or in check mode would be.
  type: list
  elements: str
  returned: always
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import etcd
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError


def work(absent: Mapping[str, str], check_mode: bool) -> dict[str, Any]:
    """Remove the members; return the module's answer."""
    members = etcd.members()
    found = [etcd.find(members, name, str(address or "")) for name, address in absent.items()]
    going = [member for member in found if member is not None]
    if going:
        healthy = etcd.healthy(members)
        going.sort(key=lambda member: member.number in healthy)
        left = list(members)
        for gone in going:
            if reason := etcd.refusal(left, healthy, gone):
                raise CommandError(f"nothing is taken out of etcd: {reason}")
            left.remove(gone)
    for gone in going if not check_mode else []:
        etcd.remove(gone)
    names = sorted(member.name for member in members if member not in going)
    return {"changed": bool(going), "members": names}


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(argument_spec={"absent": {"type": "dict", "required": True}}, supports_check_mode=True)
    try:
        module.exit_json(**work(module.params["absent"], module.check_mode))
    except (CommandError, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
