# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Lookup registry_logins."""

from __future__ import annotations

DOCUMENTATION = r"""
name: registry_logins
short_description: Registries and the proxy with their passwords
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Fetches the password of each login on the controller, out of the environment or a file, which ansible-vault may have
    encrypted. Until then a password is in no variable.
options:
  _terms:
    description: Registries (or proxies), as the role containerd takes them.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
files: "{{ query('kubesmith.cluster.registry_logins', *containerd_registries) | kubesmith.cluster.registry_files }}"
"""

RETURN = r"""
_raw:
  description: The same rows, each C(auth) with C(username) and C(password). Use it in tasks with C(no_log) only.
  type: list
  elements: dict
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.registries import resolved


class LookupModule(LookupBase):  # type: ignore[misc]
    """The lookup."""

    def run(self, terms: Sequence[Mapping[str, Any]], variables: Any = None, **options: Any) -> list[dict[str, Any]]:
        """Return the rows with their passwords."""
        return [resolved(row, self._password, row.get("upstream", "the proxy")) for row in terms]

    def _password(self, whose: str, auth: Mapping[str, Any]) -> str:
        if auth.get("password_env"):
            value = os.environ.get(auth["password_env"], "")
            where = f"the environment variable {auth['password_env']}"
        else:
            where = str(auth.get("password_file"))
            value = self._from_file(whose, where)
        if not value:
            raise AnsibleLookupError(f"no password for {whose}: {where} is empty or not set on the controller")
        return value

    def _from_file(self, whose: str, path: str) -> str:
        try:
            return (
                Path(self._loader.get_real_file(str(Path(path).expanduser())))
                .read_text(encoding="utf-8")
                .rstrip("\r\n")
            )
        except (AnsibleError, OSError, ValueError) as error:
            raise AnsibleLookupError(f"no password for {whose}: {path} cannot be read: {error}") from error
