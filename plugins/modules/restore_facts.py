#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: restore_facts
short_description: What a restore must know of a node before it touches anything
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Says of which cluster the node is a member, and how its etcd is. Changes nothing.
attributes:
  check_mode:
    support: full
    description: Changes nothing anyway.
  diff_mode:
    support: none
    description: Changes nothing.
"""

EXAMPLES = r"""
- name: See whose node this is
  kubesmith.cluster.restore_facts:
"""

RETURN = r"""
restore:
  description:
    - C(member) and C(control_plane) (V(absent), V(partial), V(complete)), C(authority) (SHA-256 of the cluster's CA),
      C(name) and C(peer) of its etcd member, C(etcd) (version, revision and more, empty where it does not answer), and
      C(interrupted), whether an earlier restore did not end.
  type: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import restoring


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, restore=restoring.facts())


if __name__ == "__main__":
    main()
