#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_backup
short_description: Back up a cluster from one of its control planes
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Takes a snapshot of etcd, checks it with C(etcdutl), and packs it with C(/etc/kubernetes), the keys included, and
    the cluster file into one file that is encrypted with age.
  - The node needs public keys only, and cannot read what it wrote.
  - The file stays in C(/var/lib/kubesmith/backups) on the node, and is brought to O(dest) on the controller.
options:
  cluster:
    description: Name of the cluster; backups are named after it.
    type: str
    required: true
  take:
    description:
      - V(false) takes none, and only brings those that the node has and O(dest) has not, as its timer made them.
    type: bool
    default: true
  recipients:
    description: Public keys of age (V(age1…)). Whoever has the private key of one of them can read the backup.
    type: list
    elements: str
    default: []
  spec:
    description: Text of the cluster file, to be kept with the data.
    type: str
    default: ""
  reason:
    description: Why the backup is made; it is shown in lists.
    type: str
    default: asked for
  keep:
    description: How many backups of this cluster stay on the node; the oldest go. V(0) keeps all.
    type: int
    default: 14
  dest:
    description: Folder on the controller that the backup is brought to, mode 0600. If left out it stays on the node.
    type: path
attributes:
  action:
    support: full
    description: Brings the file to the controller.
  check_mode:
    support: full
    description: Says that a backup would be made, and makes none.
  diff_mode:
    support: none
    description: There is no content to compare.
"""

EXAMPLES = r"""
- name: Back up the cluster
  kubesmith.cluster.cluster_backup:
    cluster: prod
    recipients: [age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq]
    dest: ~/backups
"""

RETURN = r"""
backup:
  description: What the backup is (C(id), C(created), C(kubernetes), C(etcd), C(snapshot), C(bytes), C(sha256), more).
  type: dict
  returned: outside check mode, if one was taken
backups:
  description: What backups the node has.
  type: list
  elements: dict
  returned: with O(take=false)
brought:
  description: IDs of those that were copied to the controller.
  type: list
  elements: str
  returned: with O(dest)
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import backup
from ansible_collections.kubesmith.cluster.plugins.module_utils import etcd_data as etcd
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "cluster": {"type": "str", "required": True},
            "take": {"type": "bool", "default": True},
            "recipients": {"type": "list", "elements": "str", "default": []},
            "spec": {"type": "str", "default": ""},
            "reason": {"type": "str", "default": "asked for"},
            "keep": {"type": "int", "default": 14},
            "dest": {"type": "path"},
        },
        required_if=[("take", True, ("recipients",)), ("take", False, ("dest",))],
        supports_check_mode=True,
    )
    if not module.params["take"]:
        module.exit_json(changed=False, backups=backup.listed(cluster=module.params["cluster"]))
    try:
        if module.check_mode:
            etcd.require()
            module.exit_json(changed=True)
        made = backup.create(module.params)
    except (CommandError, OSError) as error:
        module.fail_json(msg=f"no backup was made: {error}")
    module.exit_json(changed=True, backup=made)


if __name__ == "__main__":
    main()
