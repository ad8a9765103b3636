#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: node_facts
short_description: The whole state of a node in one call
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Reads a host's system and network, and how far it is a node of a cluster. Changes nothing.
options:
  versions:
    description: Also ask each installed program for its version, which takes about half a second.
    type: bool
    default: false
  require:
    description: Fail with the list of everything that makes the host unfit for a node.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: It only reads.
  diff_mode:
    support: none
    description: It only reads.
"""

EXAMPLES = r"""
- name: Look at the node
  kubesmith.cluster.node_facts:

- name: Tell how far it is a member
  ansible.builtin.debug:
    msg: "{{ ansible_facts.kubesmith.member }}"
"""

RETURN = r"""
ansible_facts:
  description: The facts.
  returned: always
  type: dict
  contains:
    kubesmith:
      description: Everything below one name.
      type: dict
      returned: always
      contains:
        member:
          description: >-
            How far the host is a cluster's member: V(absent), V(partial) (kubeadm was stopped in the middle) or
            V(complete).
          type: str
          returned: always
        control_plane:
          description: How far it is a control plane, with the same values.
          type: str
          returned: always
        foreign:
          description: >-
            The kubelet and containerd of a member that other hands set up, each with C(path), C(version), C(unit) and
            C(package); empty where the kubelet is the bundle's.
          type: dict
          returned: always
        services:
          description: Whether containerd and kubelet are installed, enabled and active.
          type: dict
          returned: always
        timers:
          description: Jobs that the host does on a timer of this collection's own.
          type: list
          returned: always
        interfaces:
          description: MTU and addresses of each network interface that is not a pod's.
          type: dict
          returned: always
        tunnels:
          description: Which tunnels the kernel can make (C(vxlan), C(ipip)).
          type: dict
          returned: always
        swap:
          description: Active swap devices.
          type: list
          elements: str
          returned: always
        firewall:
          description: Whether a firewall of ours is on the host, see M(kubesmith.cluster.host_firewall).
          type: bool
          returned: always
        edited:
          description: >-
            The static pods' manifests and the kubelet's configuration that somebody edited after kubeadm had written
            them for us, each with its path, the path of the copy of what was written, and both texts.
          type: list
          elements: dict
          returned: always
        versions:
          description: Versions of the installed programs, empty where one is absent.
          type: dict
          returned: when O(versions) is true
        kernel:
          description: Release of the kernel.
          type: str
          returned: always
        cgroups:
          description: V(v1) or V(v2).
          type: str
          returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import node


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "versions": {"type": "bool", "default": False},
            "require": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    facts = node.gather(versions=module.params["versions"])
    problems = node.problems(facts)
    if module.params["require"] and problems:
        module.fail_json(msg="this host cannot be a node:\n" + "\n".join(f"- {problem}" for problem in problems))
    module.exit_json(changed=False, ansible_facts={"kubesmith": facts})


if __name__ == "__main__":
    main()
