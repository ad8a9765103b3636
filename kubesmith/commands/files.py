"""``schema`` and ``import``: help with writing the cluster file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ansible_collections.kubesmith.cluster.plugins.plugin_utils import spec
from rich.console import Console
from rich.text import Text

from kubesmith import hardware, kubespray, rebar
from kubesmith.errors import InputError
from kubesmith.ui import Ui


def schema() -> int:
    """Print the JSON Schema of the cluster file."""
    json.dump(spec.schema(), sys.stdout, indent=2)
    print()
    return 0


READERS = {"kubespray": kubespray.read, "csv": hardware.read, "rebar": rebar.read}


def import_inventory(kind: str, path: Path, output: Path | None, ui: Ui, *, lab: bool = False) -> int:
    """Write the cluster file that another tool's inventory amounts to, and say what became of its settings.

    With ``lab``, a file for the same cluster on container nodes of this machine.
    """
    if output is not None and output.exists():
        raise InputError(f"{output} exists", fix="name a file that does not, or move that one away")
    imported = READERS[kind](path, lab=lab)
    if output is None:
        sys.stdout.write(imported.text())
    else:
        output.write_text(imported.text())
    words = Console(stderr=True, highlight=False)
    for title, rows in (("kept", imported.kept), ("translated", imported.translated), ("ignored", imported.ignored)):
        for row in rows if not ui.quiet else ():
            words.print(Text.assemble((f"{title:<11}", "bold"), row), soft_wrap=True)
    return 0
