"""``box build``: a Vagrant box for machines that reach no box registry."""

from __future__ import annotations

import json

from kubesmith import bootstrap
from kubesmith.box import Box
from kubesmith.box.recipe import NAME
from kubesmith.ui import Ui


def build(ui: Ui, *, assume_yes: bool) -> int:
    """Build the box from Debian's archive where the cache has none, add it to Vagrant, and tell where it is."""
    bootstrap.require_packages("box", assume_yes=assume_yes)
    with ui.phase("box", "Box") as progress:
        file = Box().ensure(progress)
    if ui.as_json:
        print(json.dumps({"name": NAME, "path": str(file)}))
    else:
        ui.line(f"{NAME}\n{file}")
    return 0
