#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: upgrade_plan
short_description: The plan of an upgrade, and what speaks against it
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Says which way the upgrade takes, what is done on which node in which order, and every reason not to begin, each
    with its remedy.
  - Works on the controller alone, out of what M(kubesmith.cluster.upgrade_survey) answered on each host of the groups
    C(kube_control_plane) and C(kube_node), registered as C(upgrade_survey).
options:
  to:
    description: The Kubernetes version that is wanted.
    type: str
    required: true
  bundle:
    description: Folder of its bundle on the controller; it may be missing as long as only the plan is wanted.
    type: path
    required: true
  force:
    description: Codes of insights to pass over. Others than these cannot be passed over.
    type: list
    elements: str
    choices: [certificates, deprecated, lost, pdb, unready]
    default: []
attributes:
  check_mode:
    support: full
    description: It changes nothing anyway.
  diff_mode:
    support: none
    description: There is no content to compare.
"""

EXAMPLES = r"""
- name: Plan the upgrade
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Make the plan
      kubesmith.cluster.upgrade_plan:
        to: 1.37.2
        bundle: ~/.cache/kubesmith/bundle/1.37.2
      register: upgrade_plan
"""

RETURN = r"""
plan:
  description: >-
    C(way), the versions on the way; C(components), what else changes; C(steps), what happens on which node;
    C(insights); C(batches), the nodes in the order of work; C(blocked); C(nothing); C(control_planes), C(workers) and
    C(sizes) for the plays.
  returned: success
  type: dict
"""
