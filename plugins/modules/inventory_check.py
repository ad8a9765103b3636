#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: inventory_check
short_description: Hold the inventory to the rules of a cluster file
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Finds what is wrong with the hosts of the groups C(kube_control_plane) and C(kube_node) and their variables, all
    in one go, such as networks that overlap, addresses used twice, no control plane, or a misspelt variable of a role.
  - Works on the controller alone; no host is reached.
requirements:
  - pydantic >= 2 on the controller
attributes:
  check_mode:
    support: full
    description: It changes nothing anyway.
  diff_mode:
    support: none
    description: There is no content to compare.
"""

EXAMPLES = r"""
- name: Check the inventory
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Check the inventory by the rules of a cluster file
      kubesmith.cluster.inventory_check:
"""

RETURN = r"""
lacking:
  description: >-
    Variables of the roles that the inventory does not give and that follow from others, by host: the address of the
    node, which is the one that SSH uses, and Calico's network.
  returned: success
  type: dict
  sample: {w1: {kubeadm_worker_node_address: 192.168.10.21}}
"""
