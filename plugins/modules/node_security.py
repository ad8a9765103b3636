#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: node_security
short_description: What a benchmark wants to know about a node and its cluster
version_added: 0.2.0
author: kubesmith maintainers (@kubesmith)
description:
  - Reads the command lines of the cluster's programs, modes and owners of files, the ports that are open, and on a
    control plane what the API server says of roles, namespaces and pods. Changes nothing and returns no secret.
options:
  patterns:
    description: Patterns of the files whose mode and owner are wanted.
    type: list
    elements: str
    default: []
  cluster:
    description: Whether to ask the API server too, as the administrator of this control plane.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Changes nothing anyway.
  diff_mode:
    support: none
    description: Changes nothing.
"""

EXAMPLES = r"""
- name: See how the node is run
  kubesmith.cluster.node_security:
    patterns: [/etc/kubernetes/*.conf]
"""

RETURN = r"""
node:
  description: C(programs), C(files), C(texts), C(providers) and C(listening) of the node.
  type: dict
  returned: always
cluster:
  description: What the API server says; C(error) if it does not answer.
  type: dict
  returned: when O(cluster) is true
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import security


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "patterns": {"type": "list", "elements": "str", "default": []},
            "cluster": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    answer = {"node": security.look(module.params["patterns"])}
    if module.params["cluster"]:
        answer["cluster"] = security.cluster()
    module.exit_json(changed=False, **answer)


if __name__ == "__main__":
    main()
