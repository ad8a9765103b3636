"""A drain by kubectl, here a program that answers as it does: done, refused, or the node falls silent."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from kubesmith import drain, kube
from kubesmith.errors import KubesmithError

KUBECTL = """\
#!/bin/sh
case $1 in
get) cat {folder}/nodes.json ;;
drain) echo "evicting pod default/web"; exec {rest} ;;
esac
"""
REFUSED = "error when evicting: it would violate the pod's disruption budget"


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.touch()
    program = tmp_path / "kubectl"

    def made(rest: str, *, ready: str = "True") -> Path:
        node = {"metadata": {"name": "cp1"}, "status": {"conditions": [{"type": "Ready", "status": ready}]}}
        (tmp_path / "nodes.json").write_text(json.dumps({"items": [node]}))
        program.write_text(KUBECTL.format(folder=tmp_path, rest=rest))
        program.chmod(0o755)
        return kubeconfig

    monkeypatch.setattr(kube, "binary", lambda: str(program))
    monkeypatch.setattr(drain, "LOOK_EVERY", 0.1)
    return made


def test_a_node_is_drained(kubectl: Any) -> None:
    told: list[str] = []
    assert drain.drain(kubectl("sleep 0.5"), "cp1", tell=told.append) is True
    assert told == ["evicting pod default/web"]


def test_a_budget_that_stands_in_the_way_is_named(kubectl: Any) -> None:
    with pytest.raises(KubesmithError, match="disruption budget"):
        drain.drain(kubectl(f"sh -c \"echo '{REFUSED.replace(chr(39), '')}'; exit 1\""), "cp1", tell=lambda _line: None)


def test_a_node_that_falls_silent_is_not_waited_for(kubectl: Any) -> None:
    began = time.monotonic()
    assert drain.drain(kubectl("sleep 60", ready="Unknown"), "cp1", tell=lambda _line: None) is False
    assert time.monotonic() - began < 20
