"""Modules that are called here must not note the state of the machine on which the tests run."""

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import before


@pytest.fixture(autouse=True)
def nothing_noted(monkeypatch, tmp_path_factory):
    """Send what is noted to a folder of the test's own; tests of the record itself name their root."""
    own = before.note
    root = str(tmp_path_factory.mktemp("root"))
    monkeypatch.setattr(before, "note", lambda *words, **more: own(*words, **{"root": root, **more}))
