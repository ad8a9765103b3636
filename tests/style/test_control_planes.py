"""No control plane is special: a play asks the first that lives (vars/topology.yml), not the first of the inventory."""

import re
from pathlib import Path

import pytest

PLAYBOOKS = Path(__file__).resolve().parents[2] / "playbooks"
FIRST = re.compile(r"kube_control_plane(\[0\]|'\]\[0\]| \| first)")


@pytest.mark.parametrize("file", sorted(PLAYBOOKS.rglob("*.yml")), ids=lambda file: file.name)
def test_no_play_asks_the_first_of_the_inventory(file):
    assert not FIRST.search(file.read_text())
