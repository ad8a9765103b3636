"""The verbs of the tours: what is refused, with what words, and that nothing is touched then."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kubesmith import cli
from kubesmith.tour import journal
from kubesmith.tour.journal import EXERCISE, Journal
from kubesmith.tour.tours import TOURS

FILE = """\
plugin: kubesmith.cluster.spec
cluster: {{name: nowhere}}
provider: podman
lab: {lab}
control_planes: 1
workers: {workers}
"""


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBESMITH_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.delenv("KUBESMITH_LANGUAGE", raising=False)


@pytest.fixture
def lab(tmp_path: Path) -> str:
    return cluster(tmp_path)


def cluster(tmp_path: Path, lab: str = "true", workers: int = 1) -> str:
    file = tmp_path / "cluster.yml"
    file.write_text(FILE.format(lab=lab, workers=workers))
    return str(file)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["run", "pod-flwo"], ["'pod-flwo' is not a tour", "did you mean pod-flow?"]),
        (["run", "etcd"], ["did you mean etcd-restore?"]),
        (["run", "qqqq"], ["'qqqq' is not a tour", "tours: pod-flow, naming"]),
        (["run"], ["needs the name of a tour"]),
        (["list", "pod-flow"], ["takes no name"]),
        (["all", "x"], ["takes no name"]),
        (["check", "x"], ["takes no name"]),
        (["quiz", "bad-imge"], ["'bad-imge' is not an exercise", "did you mean bad-image?"]),
        (["run", "pod-flow"], ["no machines"]),
        (["quiz", "bad-image"], ["no machines"]),
        (["all"], ["no machines"]),
        (["check"], ["no machines"]),
    ],
)
def test_what_cannot_be_done(
    words: list[str], wanted: list[str], lab: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.main(["tour", *words, "-i", lab]) == 2
    text = said(capsys)
    assert all(part in text for part in wanted), text
    assert not (tmp_path / "state" / "nowhere" / "tour").exists()


@pytest.mark.parametrize("words", [["run", "pod-flow"], ["all"], ["quiz", "bad-image"], ["check"]])
def test_a_cluster_that_is_no_lab(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = cluster(tmp_path, lab="false")
    assert cli.main(["tour", *words, "-i", file]) == 2
    text = said(capsys)
    assert "is not a lab" in text
    assert file in text
    assert not (tmp_path / "state").exists()


def test_a_tour_that_needs_a_worker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tour", "run", "kubelet-stopped", "-i", cluster(tmp_path, workers=0)]) == 2
    assert "needs a worker" in said(capsys)


def test_errors_in_korean(lab: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tour", "run", "pod-flwo", "--language", "ko", "-i", lab]) == 2
    assert "투어는 없습니다" in said(capsys)


@pytest.mark.parametrize("words", [["tour", "fly"], ["tour"], ["tour", "list", "--language", "de"], ["inspect"]])
def test_wrong_words(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert "usage:" in said(capsys)


def test_a_language_of_the_environment_that_there_is_not(
    lab: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBESMITH_LANGUAGE", "fr")
    assert cli.main(["tour", "list", "-i", lab]) == 2
    assert "'fr'" in said(capsys)


@pytest.mark.parametrize(("code", "word"), [("en", "The eight steps"), ("ko", "여덟 단계")])
def test_the_list(code: str, word: str, lab: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tour", "list", "--language", code, "-i", lab]) == 0
    text = capsys.readouterr().out
    assert word in text
    assert all(name in text for name in TOURS)


def test_the_list_as_data(lab: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tour", "list", "--json", "-i", lab]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(TOURS)


def test_an_open_exercise_stays_whatever_comes(lab: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book = Journal(journal.place(tmp_path / "state" / "nowhere"), EXERCISE, "bad-image", planted=1.0)
    book.write()
    assert cli.main(["tour", "quiz", "-i", lab]) == 0
    assert "(open)" in capsys.readouterr().out
    assert book.file.exists()


def test_nothing_is_left(lab: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tour", "restore", "-i", lab]) == 0
    assert "nothing to take back" in capsys.readouterr().out


@pytest.mark.parametrize("pod", ["web", "kube-system/etcd-cp1"])
def test_inspect_without_a_cluster(pod: str, lab: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", pod, "-i", lab]) == 2
    assert "no machines" in said(capsys)
