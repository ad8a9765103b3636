"""Write docs/security.md from its head and the firewall's table of ports: ``python docs/ports_table.py``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "collections"))

from ansible_collections.kubesmith.cluster.plugins.plugin_utils import ports

HEAD = Path(__file__).with_name("security.head.txt")
PAGE = Path(__file__).with_name("security.md")
NUMBERS = {"4": "protocol 4", "112": "protocol 112"}


def table() -> str:
    """Return the rows of all clusters as Markdown, each once."""
    lines = ["| nodes | port | open to | for |", "|---|---|---|---|"]
    rows = [row for kind in ("vxlan", "ipip", "none") for row in ports.table(kind, 8443)]
    for row in dict.fromkeys(rows):
        port = f"{row.ports}/{row.protocol}" if row.ports else NUMBERS[row.protocol]
        lines.append(f"| {row.role or 'all'} | {port} | {row.source} | {row.why} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return the whole page."""
    return HEAD.read_text() + table()


if __name__ == "__main__":
    PAGE.write_text(page())
