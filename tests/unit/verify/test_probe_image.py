"""The image that the checks run: where a node has a bundle, and where it was sent only what it lacked."""

import json
from pathlib import Path

import pytest

from kubesmith.verify.remote import probe

SENT = "kubesmith.internal/agnhost:2.1"


def test_a_node_with_a_bundle_says_it_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = {"components": [{"images": [{"ref": "kubesmith.internal/agnhost:2.2"}]}, {"name": "runc"}]}
    (tmp_path / "bundle.json").write_text(json.dumps(own))
    monkeypatch.setattr(probe, "BUNDLE", str(tmp_path / "bundle.json"))
    assert probe.image(SENT) == "kubesmith.internal/agnhost:2.2"


def test_a_node_without_one_has_what_was_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(probe, "BUNDLE", str(tmp_path / "bundle.json"))
    assert probe.image(SENT) == SENT
    with pytest.raises(RuntimeError, match="set kubesmith_verify_image in the inventory"):
        probe.image("")
