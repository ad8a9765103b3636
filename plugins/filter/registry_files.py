# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Filter registry_files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.plugin_utils.registries import hosts_files

DOCUMENTATION = r"""
name: registry_files
short_description: Registries and mirrors as files of containerd
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Turns a list of registries into the files below C(/etc/containerd/certs.d).
positional: _input
options:
  _input:
    description: Registries, as the role containerd takes them in C(containerd_registries).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
files: "{{ [{'upstream': 'docker.io', 'mirrors': [{'url': mirror}]}] | kubesmith.cluster.registry_files }}"
"""

RETURN = r"""
_value:
  description: Files with path and content.
  type: list
  elements: dict
"""


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"registry_files": hosts_files}
