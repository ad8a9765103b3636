# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Controller side of the module bundle_files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils.bundle import select_files
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.bundle_action import BundleAction


class ActionModule(BundleAction):
    """Installs file sets of a bundle."""

    def rows(self, root: Path, bundle: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the rows of the wanted file sets."""
        rows = select_files(bundle, arguments.get("sets", []))
        names = arguments.get("names") or []
        return {"files": [row for row in rows if not names or Path(row["install"]).name in names]}
