#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: node_software
short_description: What software is on a node
version_added: 0.2.0
author: kubesmith maintainers (@kubesmith)
description:
  - Reads the packages, the cluster's programs by their SHA-256, and the images that containers run. Changes nothing.
attributes:
  check_mode:
    support: full
    description: Changes nothing anyway.
  diff_mode:
    support: none
    description: Changes nothing.
"""

EXAMPLES = r"""
- name: See what is on the node
  kubesmith.cluster.node_software:
"""

RETURN = r"""
software:
  description: C(os), C(kernel), C(machine), C(packages), C(programs) and C(images) of the node.
  type: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import software


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, software=software.look())


if __name__ == "__main__":
    main()
