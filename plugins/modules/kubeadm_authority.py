#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_authority
short_description: The keys that a cluster's control planes share
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Reads, on a control plane, what a further one must have before it joins, namely keys and certificates of the
    cluster's CAs, the key of service accounts, and the key by which secrets are encrypted in etcd if there is one.
  - They travel over Ansible's own connections and are kept nowhere on the way; give the task C(no_log).
attributes:
  check_mode:
    support: full
    description: It only reads.
  diff_mode:
    support: none
    description: A secret is not shown.
"""

EXAMPLES = r"""
- name: Read what the control planes share
  kubesmith.cluster.kubeadm_authority:
  register: authority
  no_log: true
  delegate_to: cp1
"""

RETURN = r"""
files:
  description: Each path with its content. Secret.
  type: dict
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import kubeadm


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    try:
        module.exit_json(changed=False, files=kubeadm.authority())
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename} cannot be read ({error.strerror}): without it no control plane can be added. "
            "Where the CA's keys are kept elsewhere, put them there for the time of the join"
        )


if __name__ == "__main__":
    main()
