"""The plan on a terminal: nodes with equal changes together, and never more than there is."""

import io
import json
from types import SimpleNamespace

import pytest
from rich.console import Console

from kubesmith import cli
from kubesmith.commands import plan
from kubesmith.plan import Change, Estimate, Notice
from kubesmith.ui import Ui


@pytest.fixture
def ui():
    made = Ui()
    made.console = Console(file=io.StringIO(), width=60, highlight=False)
    return made


def shown(ui):
    return ui.console.file.getvalue()


def test_nothing(ui):
    plan.show([], [], ["cp1", "w1"], ui)
    assert shown(ui) == "nothing would change on 2 node(s)\n"


def test_nodes_with_the_same_changes_are_told_together(ui):
    rows = [Change(node, "file", "write /etc/a") for node in ("w1", "w2")]
    plan.show([*rows, Change("cp1", "file", "write /etc/b")], [], ["cp1", "w1", "w2"], ui)
    assert shown(ui) == (
        "cp1: 1 change(s)\n  file     write /etc/b\n"
        "w1, w2: 1 change(s) each\n  file     write /etc/a\n"
        "3 change(s) on 3 of 3 node(s)\n"
    )


def test_lines_are_shown_and_names_are_not(ui):
    rows = [Change("w1", "file", "correct /etc/a", ("- [old]", "+ [new]")), Change("w1", "program", "b", ("/bin/b",))]
    plan.show(rows, [], ["w1"], ui)
    assert "             - [old]\n             + [new]\n  program  b\n2 change(s)" in shown(ui)


def test_long_differences_are_cut_unless_asked_for(ui):
    row = Change("w1", "file", "correct /etc/a", tuple(f"+ {number}" for number in range(plan.LINES + 3)))
    plan.show([row], [], ["w1"], ui)
    assert "… 3 more lines (-v)" in shown(ui)
    ui.verbosity = 1
    plan.show([row], [], ["w1"], ui)
    assert f"+ {plan.LINES + 2}\n" in shown(ui)


def test_a_notice_is_no_change(ui):
    plan.show([], [Notice("cp1", "differs", ("- a", "+ b"))], ["cp1"], ui)
    assert shown(ui).splitlines()[0] == "cp1: differs"
    assert "nothing would change" in shown(ui)


@pytest.mark.parametrize(
    ("expected", "verify", "text"),
    [
        (None, None, "no earlier run to learn from"),
        (Estimate(12.4, 3), None, "about 12 s (medians of 3 earlier run(s))"),
        (Estimate(12.4, 3), 9.0, "about 12 s, then 9 s to verify (medians of 3 earlier run(s))"),
        (Estimate(2, 1, ("x", "y")), None, "2 s and more (no earlier run of: x, y) (medians of 1 earlier run(s))"),
    ],
)
def test_the_time_in_words(expected, verify, text):
    assert plan.duration(expected, verify) == text


def test_history_survives_a_row_that_a_kill_cut_off(tmp_path):
    folder = tmp_path / "runs" / "1"
    folder.mkdir(parents=True)
    (folder / "tasks.jsonl").write_text('{"task": "a"}\n{"task": "b')
    assert plan.history(tmp_path) == [[{"task": "a"}]]


def test_the_time_of_verify_is_that_of_runs_that_passed(tmp_path):
    for number, (seconds, ok) in enumerate([(8, True), (10, True), (300, False)]):
        folder = tmp_path / "reports" / str(number)
        folder.mkdir(parents=True)
        phases = [{"name": "verify", "seconds": seconds, "ok": ok}]
        (folder / "report.json").write_text(json.dumps({"phases": phases}))
    assert plan.verify_seconds(tmp_path) == 9
    assert plan.verify_seconds(tmp_path / "none") is None


def test_the_order_is_the_cluster_files_whichever_node_answered_first():
    nodes = [SimpleNamespace(name=name) for name in ("cp1", "w1")]
    job = SimpleNamespace(spec=SimpleNamespace(machines=lambda: nodes))
    rows = [Change("w1", "file", "b"), Change("cp1", "file", "z"), Change("w1", "file", "a"), Change("", "file", "c")]
    assert [row.text for row in plan.in_order(rows, job)][:3] == ["z", "b", "a"]


def refused(text, tmp_path, monkeypatch, capsys, verb="plan"):
    monkeypatch.setenv("KUBESMITH_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("KUBESMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBESMITH_BUNDLE", raising=False)
    file = tmp_path / "cluster.yml"
    file.write_text(text)
    code = cli.main(["-i", str(file), verb])
    return code, capsys.readouterr().err


HOST = "{name: cp1, role: control-plane, address: 192.0.2.1, host: localhost, port: 1}"


def test_a_machine_that_does_not_answer_is_named_and_nothing_is_planned(tmp_path, monkeypatch, capsys):
    worker = "{name: w1, address: 192.0.2.2, host: localhost, port: 1}"
    text = f"cluster: {{name: a}}\nnodes: [{HOST}, {worker}]\n"
    code, said = refused(text, tmp_path, monkeypatch, capsys)
    assert code == 2
    for name in ("cp1", "w1"):
        assert f"{name}: it does not answer: ssh: connect to host localhost port 1: Connection refused" in said


def test_a_bundles_file_that_is_not_there_is_told(tmp_path, monkeypatch, capsys):
    text = "cluster: {name: a}\nprovider: podman\nworkers: 1\nbundle: {source: file, file: absent.tar.zst}\n"
    code, said = refused(text, tmp_path, monkeypatch, capsys)
    assert (code, said.splitlines()[0]) == (2, f"bundle.file: there is no file {tmp_path / 'absent.tar.zst'}")


@pytest.mark.parametrize("verb", ["plan", "up"])
def test_a_cluster_without_a_worker_is_refused_before_a_machine_is_asked(verb, tmp_path, monkeypatch, capsys):
    code, said = refused(f"cluster: {{name: a}}\nnodes: [{HOST}]\n", tmp_path, monkeypatch, capsys, verb)
    assert (code, said.splitlines()[0]) == (
        2,
        f"{tmp_path / 'cluster.yml'}: there is no worker, and a cluster has one at least",
    )


@pytest.mark.parametrize("text", ["", "[]", '{"components": 5}', '{"components": [{"name": "x"}]}'])
def test_a_bundle_that_is_damaged_is_as_none(text, tmp_path, monkeypatch):
    (tmp_path / "bundle.json").write_text(text)
    assert plan._bundle(tmp_path) == {}
