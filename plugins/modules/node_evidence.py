#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: node_evidence
short_description: Bring what explains a failure from a node, without its secrets
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Gathers journals, logs of pods, disks, ports, units, certificates' dates and configuration. Changes nothing.
  - Secret values of the node are read there and taken out of every text before it leaves the node, as they are, as
    base64, and line by line for private keys. What looks like a secret goes too.
  - Texts are bounded in size, the whole in time.
options:
  dest:
    description:
      - Folder on the controller. The texts come to a folder there with the host's name, with the facts as
        C(facts.json).
    type: path
    required: true
  age:
    description: Only what is younger than so many seconds; 0 for everything.
    type: float
    default: 0
  full:
    description: Gather everything rather than what is mostly enough.
    type: bool
    default: false
  cluster:
    description: Add the cluster's objects, as the administrator's kubeconfig of this host shows them.
    type: bool
    default: false
  most:
    description: How many bytes of text are brought at most; 0 for 24 MiB in full, else 4 MiB.
    type: int
    default: 0
  seconds:
    description: How long it may take.
    type: float
    default: 60
attributes:
  check_mode:
    support: full
    description: It only reads.
  diff_mode:
    support: none
    description: It only reads.
"""

EXAMPLES = r"""
- name: Bring what explains a failure
  kubesmith.cluster.node_evidence:
    dest: /root/evidence
    age: 300
"""

RETURN = r"""
texts:
  description: How many texts were brought.
  type: int
  returned: always
bytes:
  description: Their size.
  type: int
  returned: always
missing:
  description: What could not be gathered, and why.
  type: list
  elements: str
  returned: always
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import evidence


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "age": {"type": "float", "default": 0},
            "full": {"type": "bool", "default": False},
            "cluster": {"type": "bool", "default": False},
            "most": {"type": "int", "default": 0},
            "seconds": {"type": "float", "default": 60},
        },
        supports_check_mode=True,
    )
    age = module.params["age"]
    scope = evidence.Scope(
        time.time() - age if age else None, module.params["full"], module.params["seconds"], module.params["most"]
    )
    answer = evidence.gather(scope, module.params["cluster"])
    module.exit_json(changed=False, packed=evidence.packed(answer))


if __name__ == "__main__":
    main()
