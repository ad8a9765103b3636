"""docs/cluster-file.md says what the schema says."""

import importlib.util
from pathlib import Path

from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import schema

DOCS = Path(__file__).resolve().parents[2] / "docs"
LOADER = importlib.util.spec_from_file_location("cluster_reference", DOCS / "cluster_reference.py")
cluster_reference = importlib.util.module_from_spec(LOADER)
LOADER.loader.exec_module(cluster_reference)


def test_the_page_is_the_one_that_the_schema_makes():
    assert (DOCS / "cluster-file.md").read_text() == cluster_reference.page(schema())


def test_every_setting_has_a_meaning():
    table = (DOCS / "cluster-file.md").read_text().partition("## Every setting")[2]
    assert [line for line in table.splitlines() if line.endswith("|  |")] == []
