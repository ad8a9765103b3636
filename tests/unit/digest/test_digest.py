"""A failed run becomes one screen: what, why, what to do; honest where nothing is known."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from kubesmith import digest, gather
from kubesmith.execute import Failure, Result
from kubesmith.ui import Ui

MESSAGE = """\
kubeadm init failed: error: wait-control-plane failed
--- kubeadm said last:
	[WARNING SystemVerification]: cgroups v1 support is deprecated
[kubelet-check] The kubelet is not healthy after 1m
--- the kubelet's journal ends with:
2026-11-23T15:00:00+0000 cp1 kubelet[9]: E1123 run.go:72] err="failed to parse kubelet flag: unknown flag: --nope"
"""


def failure(host="cp1", message=MESSAGE, play="The control plane runs", **more):
    return Failure(host, play, "kubeadm_master: init | Initialise", message, **more)


@pytest.fixture
def explain(tmp_path, monkeypatch):
    """Return a function that explains failures of a cluster of cp1, w1 and w2; evidence is what it is given."""
    nodes = [SimpleNamespace(name="cp1", role="control-plane")]
    nodes += [SimpleNamespace(name=name, role="worker") for name in ("w1", "w2")]
    spec = SimpleNamespace(machines=lambda: nodes, cluster=SimpleNamespace(name="test"))
    (tmp_path / "cluster.yml").write_text("cluster: {name: test}\n")
    files = {"kubeconfig": tmp_path / "none", "file": tmp_path / "cluster.yml", "bundle": tmp_path / "bundle"}
    job = SimpleNamespace(ui=Ui(), spec=spec, state=tmp_path, **files)

    def run(*failures, texts=None, facts=None):
        asked = []

        def from_nodes(_job, hosts, *, full, age):
            asked.extend(hosts)
            return gather.Evidence(texts or {}, facts or {}, {})

        monkeypatch.setattr(gather, "from_nodes", from_nodes)
        result = Result("failed", {}, failures, (), Path("/s/runs/20261123T150000.1"))
        return digest.explain(job, result), asked

    return run


def printed(made):
    console = Console(file=io.StringIO(), width=100)
    digest.show(made, console)
    return console.file.getvalue()


def test_the_cause_and_the_remedy_come_first(explain):
    made, asked = explain(failure())
    assert asked == ["cp1"]
    assert made.cause.cause.id == "kubelet-unit"
    lines = [line for line in printed(made).splitlines() if not line.startswith(" ")]
    assert [line.split("  ")[0] for line in lines] == ["Failed", "Why", "What to do", "Log"]
    assert "unit is broken" in lines[1] and "systemctl revert kubelet" in lines[2]
    assert "unknown flag: --nope" in printed(made)


def test_what_is_not_known_is_said_to_be_unknown_with_its_first_errors(explain):
    made, _ = explain(failure(message="error: the flux is not coherent\nsecond line"))
    assert made.cause is None
    text = printed(made)
    assert "Not a cause that kubesmith knows" in text and "cp1, said: error: the flux is not coherent" in text


def test_workers_that_fail_later_do_not_hide_what_failed_first(explain):
    later = failure("w1", "[ERROR Swap]: running with swap on is not supported", play="The workers are members")
    made, _ = explain(failure(), later)
    assert made.hosts == ("cp1",)
    assert [row.cause.id for row in made.findings] == ["kubelet-unit"]


def test_the_control_plane_is_asked_when_a_worker_fails(explain):
    _, asked = explain(failure("w2", "error: x", play="The workers are members"))
    assert asked == ["cp1", "w2"]


def test_a_node_that_the_message_names_is_asked(explain):
    _, asked = explain(failure(message="not ready after 300 s:\n- kube-system/calico-node-x: Pending on w2: main"))
    assert asked == ["cp1", "w2"]


def test_nobody_is_asked_about_a_failure_on_this_machine(explain):
    made, asked = explain(failure("localhost", "the inventory needs one host in the group kube_control_plane"))
    assert (asked, made.hosts) == ([], ("localhost",))


def test_unreachable_machines_are_not_asked(explain):
    made, asked = explain(failure("w1", "ssh: connect to host 10.0.0.1 port 22: Connection refused", unreachable=True))
    assert asked == []
    assert made.cause.cause.id == "ssh-refused"
    assert "w1: cannot be reached" in printed(made)


def test_secrets_of_messages_do_not_reach_the_screen(explain):
    made, _ = explain(failure(message="error: token=abcdef.0123456789abcdef was refused by PASSWORD=hunter2hunter2"))
    text = printed(made) + json.dumps(digest.as_json(made))
    assert "0123456789abcdef" not in text and "hunter2hunter2" not in text


def test_the_evidence_is_kept_in_a_private_file(explain):
    made, _ = explain(failure(), texts={"cp1": {"system/disks.txt": "df"}}, facts={"cp1": {"time": 1}})
    assert Path(made.evidence).stat().st_mode & 0o777 == 0o600


def test_json_holds_what_the_screen_shows(explain):
    made, _ = explain(failure())
    data = json.loads(json.dumps(digest.as_json(made)))
    assert data["cause"] == "kubelet-unit"
    assert data["findings"][0]["cause"]["fix"].startswith("see `systemctl cat kubelet`")
    assert data["log"] == "/s/runs/20261123T150000.1"


def test_a_message_is_split_into_what_was_said_and_the_journals_it_quotes():
    said, journals = digest.split("a\nThe journal of containerd ends with:\nx: toml\ny")
    assert (said, journals) == ("a", {"containerd": "x: toml\ny"})
    said, journals = digest.split(MESSAGE)
    assert "WARNING" not in said and list(journals) == ["kubelet"]
