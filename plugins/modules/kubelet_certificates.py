#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: kubelet_certificates
short_description: Approve the serving certificates of kubelets, and wait until each has one
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - A request is approved if a node of O(nodes) asks for its own name and its own addresses and for nothing else; every
    other one is denied, with the reason.
options:
  nodes:
    description: The addresses of each node by its name, as the inventory has them.
    type: dict
    required: true
  timeout:
    description: Seconds to wait until the kubelet of every node that has joined shows a certificate.
    type: int
    default: 120
attributes:
  check_mode:
    support: full
    description: Says what would be approved and denied, and does not wait.
  diff_mode:
    support: none
    description: There is no content to compare.
"""

EXAMPLES = r"""
- name: Approve the kubelets' certificates
  kubesmith.cluster.kubelet_certificates:
    nodes: {cp1: [192.168.10.11], w1: [192.168.10.21]}
"""

RETURN = r"""
approved:
  description: Nodes whose requests were approved.
  type: list
  elements: str
  returned: always
denied:
  description: Who asked for what it may not have, and why it may not.
  type: list
  elements: str
  returned: always
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import approver
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import Api, ApiError


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={"nodes": {"type": "dict", "required": True}, "timeout": {"type": "int", "default": 120}},
        supports_check_mode=True,
    )
    nodes = module.params["nodes"]
    ends = time.monotonic() + module.params["timeout"]
    approved: list[str] = []
    denied: list[str] = []
    try:
        api = Api()
        present = [item["metadata"]["name"] for item in api.get("/api/v1/nodes")["items"]]
        while True:
            for _name, user, why in approver.judge(api, nodes, only_look=module.check_mode):
                (denied if why else approved).append(f"{user}: {why}" if why else user)
            lacking = approver.without(nodes, present)
            if not lacking or module.check_mode:
                break
            if time.monotonic() > ends:
                module.fail_json(
                    msg=f"no serving certificate after {module.params['timeout']} s: {', '.join(lacking)}; "
                    f"denied: {'; '.join(denied) or 'none'}"
                )
            time.sleep(1)
    except ApiError as error:
        module.fail_json(msg=f"the kubelets' certificates were not approved: {error}")
    module.exit_json(changed=bool(approved or denied), approved=approved, denied=denied)


if __name__ == "__main__":
    main()
