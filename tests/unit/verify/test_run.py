"""The whole of verify against nodes that cannot be reached: a verdict, in time, and never a traceback."""

import json
import os
import xml.etree.ElementTree as ElementTree
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from kubesmith.errors import KubesmithError
from kubesmith.progress import Silent
from kubesmith.verify import run as verify

INVENTORY = """\
[kube_control_plane]
cp1 ansible_host=127.0.0.1 ansible_port={port}
[kube_node]
w1 ansible_host=127.0.0.1 ansible_port={port}
"""


class Log(Silent):
    def __init__(self):
        self.lines = []

    def done(self, item, text, *, changed):
        self.lines.append((item, text, changed))


@pytest.fixture
def inventory(tmp_path):
    """Two nodes at a port where nobody listens."""
    file = tmp_path / "hosts.ini"
    file.write_text(INVENTORY.format(port=1))
    return file


@pytest.fixture(scope="module")
def verdict(tmp_path_factory):
    folder = tmp_path_factory.mktemp("verify")
    file = folder / "hosts.ini"
    file.write_text(INVENTORY.format(port=1))
    log = Log()
    return verify.run(file, folder, progress=log), folder, log


def test_unreachable_node_fails_one_check_by_name(verdict):
    found, _, _ = verdict
    assert [(check.check, check.node) for check in found.failed] == [("A0", "cp1"), ("A0", "w1")]
    assert found.failed[1].message.startswith("node w1 cannot be reached by SSH at 127.0.0.1: ")
    assert "refused" in found.failed[1].message


def test_nothing_else_is_claimed_about_it(verdict):
    found, _, _ = verdict
    assert found.passed == ()
    assert not found.ok
    assert {check.seen.partition(":")[0] for check in found.skipped} <= {
        "node cp1 cannot be reached by SSH at 127.0.0.1",
        "node w1 cannot be reached by SSH at 127.0.0.1",
        "no control plane can be reached",
        "no node can be reached",
        "container nodes have their host's product UUID",
        "there is one control plane",
        "no address is shared",
    }


def test_every_check_has_number_sentence_and_place(verdict):
    found, _, _ = verdict
    for check in [*found.failed, *found.skipped]:
        assert check.check, check.test
        assert check.sentence
        assert check.node in ("cp1", "w1", "cluster")


def test_groups_of_the_acceptance_list_are_covered(verdict):
    found, _, _ = verdict
    assert {check.check[0] for check in [*found.failed, *found.skipped]} >= set("ABCDFGHI")


def test_reports_are_written(verdict):
    found, folder, _ = verdict
    written = json.loads((folder / "verify.json").read_text())
    assert written["ok"] is False
    assert len(written["failed"]) == 2
    assert (folder / "verify.json").stat().st_mode & 0o777 == 0o600
    suite = ElementTree.parse(folder / "junit.xml").getroot()[0]
    assert int(suite.get("failures")) == 2
    assert int(suite.get("skipped")) == len(found.skipped)


def test_progress_ends_for_every_place(verdict):
    _, _, log = verdict
    assert {item for item, _, _ in log.lines} == {"cp1", "w1", "cluster"}
    assert not any(changed for _, _, changed in log.lines)


def test_verdict_is_shown_with_node_and_reason(verdict):
    found, _, _ = verdict
    text = StringIO()
    verify.show(found, Console(file=text, width=200))
    assert "A0 the node can be reached by SSH [w1]" in text.getvalue()
    assert "Connection refused" in text.getvalue()
    assert "Not verified" in text.getvalue()


def test_selection_keeps_only_what_was_asked_for(inventory, tmp_path):
    found = verify.run(inventory, tmp_path, progress=Silent(), select="a0")
    assert {check.check for check in [*found.failed, *found.skipped]} == {"A0"}


def test_waiting_ends_at_its_deadline(inventory, tmp_path):
    found = verify.run(inventory, tmp_path, progress=Silent(), wait=5, count=2, select="A0")
    assert found.rounds >= 1
    assert found.seconds < 20
    assert found.passed_in_a_row == 0
    assert found.failed


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "the inventory cannot be read"),
        ("[kube_node]\nw1\n", "no host in the group kube_control_plane"),
        ("cluster: {name: x\n", "the inventory cannot be read"),
    ],
)
def test_bad_inventory_is_one_sentence(tmp_path, text, sentence):
    file = tmp_path / ("cluster.yml" if text and text.startswith("cluster") else "hosts.ini")
    if text is not None:
        file.write_text(text)
    with pytest.raises(KubesmithError, match=sentence) as error:
        verify.run(file, tmp_path, progress=Silent())
    assert "Traceback" not in str(error.value)


def test_a_cluster_of_one_node_has_neither_workers_nor_pairs(tmp_path):
    file = tmp_path / "hosts.ini"
    file.write_text("[kube_control_plane]\ncp1 ansible_host=127.0.0.1 ansible_port=1\n")
    found = verify.run(file, tmp_path, progress=Silent())
    assert [check.check for check in found.failed] == ["A0"]
    assert {"the inventory has no worker", "the inventory has no pair"} <= {check.seen for check in found.skipped}


def test_unknown_selection_is_refused(inventory, tmp_path):
    with pytest.raises(KubesmithError, match="no check is called 'Z9'"):
        verify.run(inventory, tmp_path, progress=Silent(), select="Z9")


def test_nothing_is_left_running(verdict):
    mine = os.getpid()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        assert not (parent == mine and b"kubesmith.verify.stream" in words)
