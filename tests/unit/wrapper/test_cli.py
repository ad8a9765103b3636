"""Words to a verb, and errors to exit codes."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kubesmith import cli
from kubesmith.errors import InputError, KubesmithError

CHECKOUT = Path(__file__).parents[3]


def parsed(line: str) -> dict[str, Any]:
    return vars(cli.arguments(line.split()))


@pytest.mark.parametrize("line", ["", "-y", "--yes --json", "-i lab", "--inventory=lab", "-v -i lab -q"])
def test_a_missing_verb_is_up(line: str) -> None:
    assert parsed(line)["verb"] == "up"
    assert parsed(line)["inventory"] == "lab"


@pytest.mark.parametrize(
    "line",
    ["--check", "--only nodes", "--only nodes --only bundle", "--from nodes", "--to verify", "-i lab --check"],
)
def test_options_of_up_work_without_its_name(line: str) -> None:
    assert parsed(line) == parsed(f"up {line}")


@pytest.mark.parametrize(
    ("line", "inventory"),
    [
        ("status", "lab"),
        ("-i metal status", "metal"),
        ("status -i metal", "metal"),
        ("--inventory=x/y.yml status", "x/y.yml"),
        ("-i status status", "status"),  # an inventory may be called like a verb
        ("-i up", "up"),
    ],
)
def test_common_options_stand_before_or_after_the_verb(line: str, inventory: str) -> None:
    assert parsed(line)["inventory"] == inventory
    assert parsed(line)["verb"] == ("up" if line == "-i up" else "status")


def test_options_before_the_verb_survive_it() -> None:
    given = parsed("--json -y -v -q verify --count 3")
    assert (given["json"], given["yes"], given["verbose"], given["quiet"], given["count"]) == (True, True, 1, True, 3)


@pytest.mark.parametrize(
    ("line", "passed_on"),
    [
        ("kubectl get pods -A -o wide", ["get", "pods", "-A", "-o", "wide"]),
        ("kubectl get --help", ["get", "--help"]),
        ("kubectl -- --help", ["--help"]),
        ("kubectl -n kube-system logs -f x --json", ["-n", "kube-system", "logs", "-f", "x", "--json"]),
        ("kubectl", []),
        ("kubectl -- -v", ["-v"]),
        ("ssh w1", ["w1"]),
        ("ssh w1 systemctl status kubelet --no-pager", ["w1", "systemctl", "status", "kubelet", "--no-pager"]),
        ("ssh w1 -- -x", ["w1", "--", "-x"]),
    ],
)
def test_words_for_another_program_stay_as_they_are(line: str, passed_on: list[str]) -> None:
    assert parsed(line)["arguments"] == passed_on


def test_our_inventory_may_follow_the_other_programs_name() -> None:
    given = parsed("kubectl -i metal get nodes -i x")
    assert (given["inventory"], given["arguments"]) == ("metal", ["get", "nodes", "-i", "x"])
    assert parsed("-i metal ssh w1")["inventory"] == "metal"


@pytest.mark.parametrize(
    ("line", "wait"),
    [("verify", None), ("verify --wait", 300.0), ("verify --wait 20", 20.0), ("verify --wait=1.5", 1.5)],
)
def test_waiting_has_a_default_length(line: str, wait: float | None) -> None:
    assert parsed(line)["wait"] == wait


@pytest.mark.parametrize(
    "line",
    [
        "up --chekc",
        "up extra",
        "verify --count 0",
        "verify --count x",
        "verify --wait -1",
        "verify --wait nan",
        "verify --wait soon",
        "bundle",
        "bundle burn",
        "status -i",
    ],
)
def test_wrong_words_are_exit_code_2(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(line.split())
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_a_wrong_verb_is_told_with_the_one_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["-q", "statu"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "'statu' is not a verb"
    assert said[1].startswith("→ did you mean status? verbs: up, plan, ")


@pytest.mark.parametrize("line", ["--help", "-h", "up --help", "verify -h", "ssh --help", "kubectl -h", "--version"])
def test_help_ends_well(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(line.split())
    assert ended.value.code == 0
    assert capsys.readouterr().out


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    said = capsys.readouterr().out
    assert all(f"\n    {verb} " in said for verb in cli.VERBS)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("no such thing [red]", fix="do this"), 2, "no such thing [red]\n→ do this\n"),
        (KubesmithError("it failed"), 1, "it failed\n"),
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on from here\n"),
    ],
)
def test_an_error_becomes_words_and_a_code(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_given: object) -> int:
        raise error

    monkeypatch.setattr(cli, "dispatch", fails)
    assert cli.main(["status"]) == code
    assert capsys.readouterr().err == said


def test_a_bug_is_exit_code_3_and_leaves_its_traceback_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fails(_given: object) -> int:
        raise ZeroDivisionError("ours")

    monkeypatch.setenv("KUBESMITH_CACHE", str(tmp_path))
    monkeypatch.setattr(cli, "dispatch", fails)
    assert cli.main(["status"]) == 3
    said = capsys.readouterr().err
    log = tmp_path / "bug.log"
    assert "a bug of ours: ZeroDivisionError: ours" in said
    assert str(log) in said
    assert "in fails" in log.read_text()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("up --only everything", "'everything' is not a phase"),
        ("--from control_plane", "did you mean control-plane? phases, in order: bundle, nodes, preflight, runtime"),
        ("up --from verify --to nodes", "--from verify comes after --to nodes"),
        ("up --only nodes --to verify", "--only nodes and --to verify exclude each other"),
        ("up --only preflight --skip-preflight", "nothing is left to do"),
        ("up --check --only nodes", "--check looks at the whole way"),
    ],
)
def test_phases_that_make_no_way_are_exit_code_2(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(line.split()) == 2
    assert said in capsys.readouterr().err


def test_an_error_is_a_line_of_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--json", "-i", "labb"]) == 2
    row = json.loads(capsys.readouterr().out)
    assert (row["event"], row["code"]) == ("error", 2)
    assert "labb" in row["message"]


def test_a_file_that_is_not_there_names_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "-i", "labb"]) == 2
    said = capsys.readouterr().err
    assert "no cluster file: 'labb' is neither a file nor" in said
    assert "→ names there: " in said
    assert "lab" in said.partition("names there:")[2]


def test_a_bad_file_is_exit_code_2_with_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cluster.yml"
    file.write_text("cluster: {name: Bad}\nprovider: podman\nlab: 1\n")
    assert cli.main(["up", "-i", str(file)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("the cluster file has 2 problem(s):\n")
    assert f"{file}:1:11: cluster.name:" in said
    assert f"{file}:3:1: lab:" in said


def test_an_unreadable_file_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cluster.yml"
    file.write_bytes(b"\xff\xfe")
    assert cli.main(["status", "-i", str(tmp_path)]) == 2
    assert "is not UTF-8" in capsys.readouterr().err


def test_a_reader_that_goes_away_makes_no_noise() -> None:
    """As in: runner.py --help | head -1."""
    command = f"{sys.executable} -m kubesmith.cli schema | head -1"
    done = subprocess.run(command, shell=True, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.parametrize("verb", ["verify", "gather", "wait-for api", "up --from workers", "ssh cp1"])
@pytest.mark.parametrize("place", ["/proc/absent", "/etc/passwd", ""])
def test_without_machines_one_sentence_says_so(
    verb: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBESMITH_STATE", place or str(tmp_path))
    assert cli.main(verb.split()) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "machine" in said[0]
    assert said[1].startswith("→ python3 runner.py up")


def test_a_folder_that_cannot_be_made_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBESMITH_STATE", "/etc/passwd")
    assert cli.main(["preflight"]) == 2
    assert capsys.readouterr().err.startswith("cannot make the folder /etc/passwd/lab: Not a directory\n")


def test_a_remedy_names_the_inventory_that_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBESMITH_STATE", str(tmp_path))
    assert cli.main(["-i", "vagrant", "verify"]) == 2
    assert capsys.readouterr().err.endswith("→ python3 runner.py -i vagrant up\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_file_that_cannot_be_written_is_no_bug(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_given: object) -> int:
        raise OSError(number, os.strerror(number), "/some/file")

    monkeypatch.setattr(cli, "dispatch", fails)
    assert cli.main(["status"]) == 1
    assert capsys.readouterr().err == f"/some/file: {os.strerror(number)}\n"


def test_a_stop_from_outside_ends_a_run_as_an_interrupt_does(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yml"
    file.write_text("cluster: {name: stopped}\nnodes: [{name: cp1, role: control-plane, address: 192.168.5.5}]\n")
    words = [sys.executable, "-c", "import sys; from kubesmith.cli import main; sys.exit(main())"]
    with subprocess.Popen(
        [*words, "status", "--watch", "-i", str(file)],
        cwd=CHECKOUT,
        env=os.environ | {"KUBESMITH_STATE": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None and run.stderr is not None
        run.stdout.readline()  # it is at work
        run.terminate()
        assert run.wait(30) == 130
        assert run.stderr.read() == "interrupted; the same command goes on from here\n"


@pytest.mark.parametrize(
    ("verb", "code", "said"),
    [
        ("status", 1, "the API server does not answer"),
        ("plan", 0, ""),
        ("destroy -y", 2, "podman is not installed, or not in PATH"),
    ],
)
def test_a_machine_without_podman_has_no_nodes_and_that_is_no_bug(
    verb: str, code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("KUBESMITH_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("KUBESMITH_CACHE", str(tmp_path / "cache"))
    assert cli.main(verb.split()) == code
    told = capsys.readouterr()
    assert said in told.out + told.err
    assert "bug" not in told.err


def test_without_a_backup_no_key_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("XDG_DATA_HOME", "KUBESMITH_STATE", "KUBESMITH_BACKUPS", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    assert cli.main(["backup", "verify"]) == 2
    assert "there is no backup of cluster lab" in capsys.readouterr().err
