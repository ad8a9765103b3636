#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: etcd_recover
short_description: Make one surviving member of etcd a cluster of its own, with all that it has
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - For a cluster whose etcd lost its majority. The member starts once with C(--force-new-cluster), which forgets the
    others and keeps the data, the log of what was not yet written out included; then as usual.
  - A member that has a leader is refused, since nothing is lost.
  - It must be known that the others are gone, or they must be reset. Two halves that both go on are two clusters.
options:
  lost:
    description: Nodes that are gone. They count as lost until they answer, so that new machines can have their names.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds that etcd and the API server may take to answer.
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
- name: Go on with the member that is left
  kubesmith.cluster.etcd_recover:
    lost: [cp2, cp3]
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
forgotten:
  description: Members that were forgotten.
  type: list
  elements: str
  returned: outside check mode
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import etcd_data as etcd
from ansible_collections.kubesmith.cluster.plugins.module_utils import restoring
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import ApiError
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, lock


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "lost": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 180},
        },
        supports_check_mode=True,
    )
    actions = ["start etcd as a new cluster of one member", "start it as usual"]
    forgotten: list[str] = []
    try:
        etcd.require()
        if restoring.has_leader() and not restoring.forced():
            raise CommandError("etcd has a leader, so that no majority is lost; nothing was done")
        if not module.check_mode:
            with lock("kubeadm", module.params["timeout"]):
                forgotten = restoring.force(module.params["timeout"])
                restoring.forget_heartbeats("", only=module.params["lost"])
    except (CommandError, ApiError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True, actions=actions, forgotten=forgotten)


if __name__ == "__main__":
    main()
