# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Filter node_registration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils.kubeadm import registration

DOCUMENTATION = r"""
name: node_registration
short_description: kubeadm's nodeRegistration of a node
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Returns the dictionary that kubeadm's configuration wants below C(nodeRegistration).
positional: _input
options:
  _input:
    description: Name of the node.
    type: str
    required: true
  address:
    description: Address that the kubelet announces.
    type: str
    required: true
  labels:
    description: Labels; those that a kubelet may not give itself are left out.
    type: dict
    default: {}
  taints:
    description: Taints, as V(key=value:Effect).
    type: list
    elements: str
    default: []
  ignore:
    description: Checks of kubeadm to pass over.
    type: list
    elements: str
    default: []
  extra_args:
    description: Further arguments of the kubelet, each name with its value.
    type: dict
    default: {}
"""

EXAMPLES = r"""
nodeRegistration: "{{ 'cp1' | kubesmith.cluster.node_registration(address='192.168.10.11') }}"
"""

RETURN = r"""
_value:
  description: The registration.
  type: dict
"""


def node_registration(
    name: str,
    *,
    address: str,
    labels: Mapping[str, str] | None = None,
    taints: Sequence[str] = (),
    ignore: Sequence[str] = (),
    extra_args: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return kubeadm's nodeRegistration."""
    found: dict[str, Any] = registration(name, address, labels or {}, taints, ignore, extra_args or {})
    return found


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"node_registration": node_registration}
