#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: node_permissions
short_description: Keep what only root may read of a cluster to root
version_added: 0.2.0
author: kubesmith maintainers (@kubesmith)
description:
  - Takes away what files of a cluster allow to others, and gives them to whom they belong.
  - Which ones follows from O(profile).
  - Never adds a right. A file that is not on the node is no matter.
options:
  profile:
    description:
      - V(standard) is about keys, kubeconfigs, manifests and the kubelet's configuration.
      - V(cis) adds what the CIS benchmark asks for, the kubelet's unit files, and etcd's data for a user V(etcd),
        who is made where etcd has data.
    type: str
    choices: [standard, cis]
    default: standard
attributes:
  check_mode:
    support: full
    description: Says what would be changed.
  diff_mode:
    support: full
    description: Shows modes and owners before and after.
"""

EXAMPLES = r"""
- name: Keep what only root may read to root
  kubesmith.cluster.node_permissions:
    profile: cis
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
  sample: ["/var/lib/kubelet/config.yaml: 0644 root:root → 0600 root:root"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import files, permissions
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={"profile": {"type": "str", "choices": ["standard", "cis"], "default": "standard"}},
        supports_check_mode=True,
    )
    profile = module.params["profile"]
    actions: list[str] = []
    try:
        if permissions.lacks_user(profile):
            actions.append(f"make the system user {permissions.ETCD_USER}")
            if not module.check_mode:
                permissions.make_user()
        found = list(permissions.wrong(profile))
        actions += [str(row) for row in found]
        for row in found if not module.check_mode else []:
            permissions.mend(row)
    except (CommandError, OSError) as error:
        module.fail_json(msg=str(error), actions=actions)
    sides = {
        str(row.path): (
            f"{row.mode:04o} {row.owner}",
            f"{row.mode & row.wanted.mode:04o} {row.wanted.owner}:{row.wanted.owner}",
        )
        for row in found
    }
    module.exit_json(changed=bool(actions), actions=actions, diff=files.rows_difference("modes and owners", sides))


if __name__ == "__main__":
    main()
