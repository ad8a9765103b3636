#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: kubeconfig
short_description: Bring the administrator's kubeconfig to the controller
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Reads the kubeconfig on a control plane and writes it on the controller with mode 0600.
  - Cluster, context and user are named after the cluster, so that several kubeconfigs can be merged.
options:
  src:
    description: Path on the control plane.
    type: path
    default: /etc/kubernetes/admin.conf
  dest:
    description: Path on the controller.
    type: path
    required: true
  server:
    description: Address of the API server as the controller reaches it, such as V(https://192.168.10.11:6443).
    type: str
    required: true
  name:
    description: Name of the cluster.
    type: str
    required: true
attributes:
  action:
    support: full
    description: Runs on the controller.
  check_mode:
    support: full
    description: Says whether the file would change.
  diff_mode:
    support: none
    description: A secret is not shown.
"""

EXAMPLES = r"""
- name: Fetch the kubeconfig
  kubesmith.cluster.kubeconfig:
    dest: ~/.kube/lab
    server: https://192.168.10.11:6443
    name: lab
"""

RETURN = r"""
dest:
  description: Where the kubeconfig is.
  type: str
  returned: always
"""
