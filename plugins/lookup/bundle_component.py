# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Lookup bundle_component."""

from __future__ import annotations

DOCUMENTATION = r"""
name: bundle_component
short_description: What a bundle says of a component
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Returns a component's row of a bundle, with its version and features.
options:
  _terms:
    description: Names of components.
    type: list
    elements: str
    required: true
  bundle:
    description: Folder of the bundle.
    type: path
    required: true
"""

EXAMPLES = r"""
version: "{{ lookup('kubesmith.cluster.bundle_component', 'kubernetes', bundle=folder).version }}"
"""

RETURN = r"""
_raw:
  description: Rows with name, version, licence, source and, where a component has them, features.
  type: list
  elements: dict
"""

from collections.abc import Sequence
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.bundle_action import read_bundle


class LookupModule(LookupBase):  # type: ignore[misc]
    """The lookup."""

    def run(self, terms: Sequence[str], variables: Any = None, **options: Any) -> list[dict[str, Any]]:
        """Return the rows, without the files and images."""
        self.set_options(var_options=variables, direct=options)
        root, bundle = read_bundle(self.get_option("bundle"))
        rows = {row["name"]: row for row in bundle["components"]}
        unknown = sorted(set(terms) - set(rows))
        if unknown:
            raise AnsibleLookupError(
                f"bundle {root} has no component {', '.join(unknown)}; it has {', '.join(sorted(rows))}"
            )
        return [{key: rows[name][key] for key in rows[name] if key not in ("files", "images")} for name in terms]
