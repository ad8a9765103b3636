# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Filter proxy_files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.plugin_utils.registries import proxy_files

DOCUMENTATION = r"""
name: proxy_files
short_description: A proxy as files of containerd's unit
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Turns a proxy into an environment file and a drop-in of containerd's unit; an empty one takes both out of use.
positional: _input
options:
  _input:
    description: The proxy, as the role containerd takes it in C(containerd_proxy).
    type: dict
    required: true
"""

EXAMPLES = r"""
files: "{{ {'https': 'http://proxy.example:3128', 'no_proxy': ['10.0.0.0/8']} | kubesmith.cluster.proxy_files }}"
"""

RETURN = r"""
_value:
  description: Files with path, content and mode.
  type: list
  elements: dict
"""


class FilterModule:
    """The filter."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filter by name."""
        return {"proxy_files": proxy_files}
