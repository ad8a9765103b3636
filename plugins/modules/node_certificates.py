#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: node_certificates
short_description: The certificates of a node, and which of them its programs work with
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Reads every certificate and kubeconfig that kubeadm and the kubelet made, and asks by a TLS handshake on the node
    what its servers show. Changes nothing and returns no key.
attributes:
  check_mode:
    support: full
    description: Changes nothing anyway.
  diff_mode:
    support: none
    description: Changes nothing.
"""

EXAMPLES = r"""
- name: See what ends when
  kubesmith.cluster.node_certificates:
"""

RETURN = r"""
certificates:
  description:
    - A row for each file, with C(path), C(pem), C(user) (the program that works with it), C(served) (what that program
      shows, if it is a server) and C(current) (whether that is the one in the file).
  type: list
  elements: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import served


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, certificates=served.rows())


if __name__ == "__main__":
    main()
