#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: certificates_renew
short_description: New certificates for a node, and its programs work with them
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - On a control plane C(kubeadm certs renew all), which the existing CAs sign; then each static pod that works with an
    older certificate is restarted, one after the other, and waited for until it shows the new one.
  - On every node the kubelet's own serving certificate, where it signed it itself. Its client certificate the kubelet
    renews without help.
  - CAs are not renewed.
options:
  timeout:
    description: Seconds that a restarted program may take until it works with its new certificate.
    type: int
    default: 180
attributes:
  check_mode:
    support: full
    description: Says what would be done.
  diff_mode:
    support: none
    description: There is no content to compare.
"""

EXAMPLES = r"""
- name: Renew certificates, one control plane after the other
  kubesmith.cluster.certificates_renew:
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
  sample: ["kubeadm certs renew all", "restart etcd"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import renewal
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, lock


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(argument_spec={"timeout": {"type": "int", "default": 180}}, supports_check_mode=True)
    timeout, check_mode = module.params["timeout"], module.check_mode
    try:
        with lock("kubeadm", timeout, check_mode) as handle:
            actions = renewal.renew(check_mode, timeout, handle)
    except (CommandError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(actions), actions=actions)


if __name__ == "__main__":
    main()
