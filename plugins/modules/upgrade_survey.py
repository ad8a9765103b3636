#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: upgrade_survey
short_description: What an upgrade has to know of a node
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Reads versions, static pods, images, disk space, certificates, and what an earlier upgrade left. On a control plane
    also the cluster as its own API server tells it.
  - M(kubesmith.cluster.upgrade_plan) makes a plan of the answers of all nodes.
attributes:
  check_mode:
    support: full
    description: It changes nothing anyway.
  diff_mode:
    support: none
    description: There is no content to compare.
"""

EXAMPLES = r"""
- name: Look at the node
  kubesmith.cluster.upgrade_survey:
  register: upgrade_survey
"""

RETURN = r"""
survey:
  description: The state of the node.
  type: dict
  returned: always
cluster:
  description: The cluster as a control plane sees it; empty on a worker, and where the API server does not answer.
  type: dict
  returned: always
error:
  description: Why a control plane could not tell of its cluster.
  type: str
  returned: always
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import kubeadm, upgrade
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import ApiError


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    answer: dict[str, Any] = {"changed": False, "survey": upgrade.survey(), "cluster": {}, "error": ""}
    if answer["survey"]["control_plane"] == kubeadm.COMPLETE:
        try:
            answer["cluster"] = upgrade.cluster()
        except (ApiError, KeyError, OSError) as error:
            answer["error"] = str(error)
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
