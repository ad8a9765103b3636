# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Controller side of the module bundle_images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.kubesmith.cluster.plugins.module_utils.bundle import select_images
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.bundle_action import BundleAction


class ActionModule(BundleAction):
    """Imports images of a bundle."""

    def rows(self, root: Path, bundle: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
        """Return the rows of the wanted images, and the descriptors of their manifests."""
        rows = select_images(bundle, arguments.get("images", []))
        index = json.loads((root / "images" / "index.json").read_text())
        known = {entry["digest"]: entry for entry in index["manifests"]}
        unknown = [row["ref"] for row in rows if row["digest"] not in known]
        if unknown:
            raise AnsibleActionFail(f"bundle {root}: images/index.json lacks {', '.join(unknown)}; build it again")
        return {"rows": rows, "descriptors": {row["digest"]: known[row["digest"]] for row in rows}}
