"""``schema`` and ``import``: help with writing the cluster file."""

from __future__ import annotations

import json
import os
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


def refuse_output(output: Path | None) -> None:
    """Raise InputError, before anything is worked out, where a new file ``output`` cannot be written."""
    if output is None:
        return
    if output.exists():
        raise InputError(f"{output} exists", fix="name a file that does not, or move that one away")
    folder = output.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        why = "cannot be written to" if folder.is_dir() else "is not there"
        raise InputError(f"{output} cannot be made: the folder {folder} {why}", fix="make it, or name another")


def write_output(output: Path | None, text: str) -> None:
    """Write a new file, or to standard output; InputError where the place takes none."""
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text)
    except OSError as error:
        raise InputError(f"{output} cannot be made: {error.strerror}", fix="name another") from error


READERS = {"kubespray": kubespray.read, "csv": hardware.read, "rebar": rebar.read}


def import_inventory(kind: str, path: Path, output: Path | None, ui: Ui, *, lab: bool = False) -> int:
    """Write the cluster file that another tool's inventory amounts to, and say what became of its settings.

    With ``lab``, a file for the same cluster on container nodes of this machine.
    """
    refuse_output(output)
    imported = READERS[kind](path, lab=lab)
    write_output(output, imported.text())
    words = Console(stderr=True, highlight=False)
    for title, rows in (("kept", imported.kept), ("translated", imported.translated), ("ignored", imported.ignored)):
        for row in rows if not ui.quiet else ():
            words.print(Text.assemble((f"{title:<11}", "bold"), row), soft_wrap=True)
    return 0
