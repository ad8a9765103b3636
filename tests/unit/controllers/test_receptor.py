"""The adapter to a Receptor mesh, with a stand-in for receptorctl: Receptor itself is not to be had here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kubesmith.controllers import engines
from kubesmith.controllers.receptor import ReceptorEngine
from kubesmith.controllers.shards import Shard
from kubesmith.errors import InputError

#: Node "bad" takes a unit and loses it; the others answer with what ansible-runner's worker would.
STAND_IN = """#!/bin/sh
folder=$(dirname "$0")
shift 2
echo "$@" >>"$folder/asked"
case "$1 $2" in
"status --json") echo '{"NodeID": "here", "KnownConnectionCosts": {"here": {"bad": 1}, "bad": {}, "good": {}}}' ;;
"work submit")
  unit="$5-$(wc -l <"$folder/asked")"
  cp "$7" "$folder/$unit"
  echo "Result:  Job Started"
  echo "Unit ID: $unit"
  ;;
"work results")
  case $3 in
  bad*) echo '{"status": "starting"}' ;;
  *) printf '%s\\n' '{"status": "successful"}' '{"eof": true}' ;;
  esac
  ;;
"work release") rm "$folder/$3" ;;
esac
"""


@pytest.fixture
def mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "receptorctl"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


def engine(mesh: Path, *nodes: str) -> ReceptorEngine:
    (mesh / "private").mkdir(exist_ok=True)
    return ReceptorEngine("/run/r.sock", nodes, mesh / "private")


def test_a_shard_is_submitted_followed_and_released(mesh: Path) -> None:
    heard: list[bytes] = []
    made = engine(mesh, "good")
    assert made.places("1.37.2") == 1
    outcomes = list(made.run([Shard("s1", ("w1",), b"keys")], lambda *told: heard.append(told[3])))
    assert [(outcome.controller, outcome.problem) for outcome in outcomes] == [("good", "")]
    assert outcomes[0].stream == b'{"status": "successful"}\n{"eof": true}\n'
    assert b"".join(heard) == outcomes[0].stream
    words = (mesh / "asked").read_text()
    assert "work submit kubesmith --node good --payload" in words
    assert "work release good-" in words, "the unit holds SSH's keys"
    assert not list((mesh / "private").iterdir()), "the payload is gone"


def test_a_node_that_loses_a_shard_is_followed_by_another(mesh: Path) -> None:
    outcomes = list(engine(mesh, "bad", "good").run([Shard("s1", ("w1",), b"x")], lambda *_told: None))
    assert [(outcome.controller, outcome.attempt) for outcome in outcomes] == [("good", 2)]


def test_a_shard_that_every_node_loses_is_told(mesh: Path) -> None:
    outcomes = list(engine(mesh, "bad").run([Shard("s1", ("w1",), b"x")], lambda *_told: None))
    assert outcomes[0].stream == b""
    assert outcomes[0].problem == "the stream of bad ended early"


def test_a_node_that_the_mesh_does_not_reach_is_refused(mesh: Path) -> None:
    with pytest.raises(InputError, match="does not reach elsewhere"):
        engine(mesh, "good", "elsewhere")


def test_without_receptorctl_there_is_no_mesh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="receptorctl is not on PATH"):
        engines.named("receptor:/run/r.sock@n1", tmp_path / "tls")


def test_the_stand_in_answers_as_json(mesh: Path) -> None:
    assert json.loads(engine(mesh, "good")._asked("status", "--json"))["NodeID"] == "here"
