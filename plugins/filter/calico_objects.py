# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Filter calico_objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import calico

DOCUMENTATION = r"""
name: calico_objects
short_description: Objects of Calico's manifest with a cluster's settings
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Sets the encapsulation, the pods' network and MTU, and how a node finds its address, in Calico's own manifest.
positional: _input
options:
  _input:
    description: The manifest, as Calico publishes it.
    type: str
    required: true
  encapsulation:
    description: V(vxlan), V(ipip) or V(none).
    type: str
    required: true
  pod_cidr:
    description: The pods' network.
    type: str
    required: true
  mtu:
    description: MTU of the pods' interfaces; V(0) works it out of O(interface_mtu).
    type: int
    required: true
  interface_mtu:
    description: MTU of the nodes' interfaces.
    type: int
    required: true
  block_size:
    description: Prefix length of the block of addresses that a node takes from the pods' network.
    type: int
    required: true
  node_address_detection:
    description: How Calico finds a node's address.
    type: str
    required: true
"""

EXAMPLES = r"""
objects: >-
  {{ lookup('ansible.builtin.file', 'calico.yml') | kubesmith.cluster.calico_objects(
    encapsulation='vxlan', pod_cidr='10.244.0.0/16', mtu=0, interface_mtu=1500, block_size=26,
    node_address_detection='kubernetes-internal-ip') }}
"""

RETURN = r"""
_value:
  description: The objects.
  type: list
  elements: dict
"""


def calico_objects(text: str, *, mtu: int, interface_mtu: int, **settings: Any) -> list[dict[str, Any]]:
    """Return the objects with the settings."""
    try:
        wanted = calico.pod_mtu(int(mtu), int(interface_mtu), settings["encapsulation"])
        if "," in settings["pod_cidr"] and not int(mtu):
            wanted -= calico.SIX[settings["encapsulation"]]
        plain = {key: str(value) for key, value in settings.items()}  # Ansible's strings are tagged, YAML refuses them
        return calico.objects(str(text), {**plain, "mtu": wanted})
    except (KeyError, ValueError) as error:
        raise AnsibleFilterError(f"calico_objects: {error}") from error


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"calico_objects": calico_objects}
