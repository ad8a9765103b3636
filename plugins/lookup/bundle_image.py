# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Lookup bundle_image."""

from __future__ import annotations

DOCUMENTATION = r"""
name: bundle_image
short_description: Reference of an image of a bundle
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Returns the full reference under which a bundle holds an image.
options:
  _terms:
    description: Short names of images.
    type: list
    elements: str
    required: true
  bundle:
    description: Folder of the bundle.
    type: path
    required: true
"""

EXAMPLES = r"""
pause: "{{ lookup('kubesmith.cluster.bundle_image', 'pause', bundle='~/.cache/kubesmith/bundle/current') }}"
"""

RETURN = r"""
_raw:
  description: References, such as V(kubesmith.internal/pause:3.10.2).
  type: list
  elements: str
"""

from collections.abc import Sequence
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.kubesmith.cluster.plugins.module_utils.bundle import BundleError, image
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.bundle_action import read_bundle


class LookupModule(LookupBase):  # type: ignore[misc]
    """The lookup."""

    def run(self, terms: Sequence[str], variables: Any = None, **options: Any) -> list[str]:
        """Return the references."""
        self.set_options(var_options=variables, direct=options)
        _root, bundle = read_bundle(self.get_option("bundle"))
        try:
            return [image(bundle, name)["ref"] for name in terms]
        except BundleError as error:
            raise AnsibleLookupError(str(error)) from error
