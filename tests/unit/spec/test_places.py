"""Where things are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import places


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBESMITH_CACHE", "KUBESMITH_STATE", "KUBESMITH_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/x")


def test_defaults_lie_under_the_home_folder() -> None:
    assert places.cache() == Path("/home/x/.cache/kubesmith")
    assert places.state("lab") == Path("/home/x/.local/state/kubesmith/lab")
    assert places.bundle() == Path("/home/x/.cache/kubesmith/bundle/current")
    assert places.bundle("1.36.3") == Path("/home/x/.cache/kubesmith/bundle/1.36.3")


def test_the_environment_wins_and_the_bundle_follows_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBESMITH_CACHE", "/c")
    monkeypatch.setenv("KUBESMITH_STATE", "~/s")
    assert places.bundle() == Path("/c/bundle/current")
    assert places.state("lab") == Path("/home/x/s/lab")
    monkeypatch.setenv("KUBESMITH_BUNDLE", "/b")
    assert places.bundle() == places.bundle("1.36.3") == Path("/b")


def test_an_empty_variable_is_no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBESMITH_CACHE", "")
    assert places.cache() == Path("/home/x/.cache/kubesmith")


def test_a_relative_place_does_not_move_with_the_current_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBESMITH_CACHE", "here")
    assert places.cache() == tmp_path / "here"
