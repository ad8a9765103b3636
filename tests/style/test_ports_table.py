"""docs/security.md says what the firewall does."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
LOADER = importlib.util.spec_from_file_location("ports_table", DOCS / "ports_table.py")
ports_table = importlib.util.module_from_spec(LOADER)
LOADER.loader.exec_module(ports_table)


def test_the_page_is_the_one_that_the_table_makes():
    assert (DOCS / "security.md").read_text() == ports_table.page(), "run: python docs/ports_table.py"
