"""The way from any Python to our own environment."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kubesmith import bootstrap

ROOT = Path(__file__).resolve().parents[2]
STDLIB_ONLY = [
    "kubesmith/bootstrap.py",
    "kubesmith/packages.py",
    "kubesmith/errors.py",
    "kubesmith/paths.py",
    "runner.py",
]


def python(folder: Path, minor: int, answer: str) -> Path:
    """Put a stand-in for python3.``minor`` into ``folder``: a shell script that says ``answer``."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"python3.{minor}"
    file.write_text(f"#!/bin/sh\n{answer}\n")
    file.chmod(0o755)
    return file


def only(monkeypatch: pytest.MonkeyPatch, home: Path, path: Path) -> None:
    """Let the search see nothing of this machine but ``home`` and ``path``."""
    monkeypatch.setattr(bootstrap, "SEARCHED", ())
    monkeypatch.setattr(bootstrap.sys, "executable", str(path / "none"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("PYENV_ROOT", raising=False)
    monkeypatch.setenv("PATH", str(path))


def test_the_newest_python_that_starts_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, tmp_path, tmp_path / "bin")
    python(tmp_path / "bin", 11, "echo 3 11")
    expected = python(tmp_path / "bin", 12, "echo 3 12")
    python(tmp_path / "bin", 13, "echo 'pyenv: python3.13: command not found' >&2; exit 127")
    python(tmp_path / "bin", 14, "echo 3 14")
    assert bootstrap.newest() == (str(expected), 12)


def test_pyenvs_own_folders_are_looked_into_newest_patch_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, tmp_path, tmp_path / "bin")
    for patch in (2, 10, 9):
        python(tmp_path / f".pyenv/versions/3.12.{patch}/bin", 12, "echo 3 12")
    found = bootstrap.newest()
    assert found is not None
    assert "3.12.10" in found[0]


def test_a_python_without_venv_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, tmp_path, tmp_path / "bin")
    python(tmp_path / "bin", 13, "echo \"ModuleNotFoundError: No module named 'ensurepip'\" >&2; exit 1")
    assert bootstrap.newest() is None


def test_a_file_that_cannot_be_executed_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, tmp_path, tmp_path / "bin")
    python(tmp_path / "bin", 13, "echo 3 13").chmod(0o644)
    assert bootstrap.newest() is None


def test_this_machine_has_a_python_that_fits() -> None:
    found = bootstrap.newest()
    assert found is not None
    assert found[1] in bootstrap.MINORS


@pytest.mark.parametrize(
    ("minor", "name"), [(11, "runtime-py311.txt"), (12, "runtime-py312.txt"), (13, "runtime-py312.txt")]
)
def test_each_python_has_its_lock_file(minor: int, name: str) -> None:
    assert bootstrap.lock_file("runtime", minor).name == name


@pytest.mark.parametrize("minor", [11, 13])
def test_the_development_set_holds_the_runtime_set_unchanged(minor: int) -> None:
    """Or an environment for development would not do for runner.py, which takes it."""

    def pins(extra: str) -> set[str]:
        text = bootstrap.lock_file(extra, minor).read_text()
        return set(re.findall(r"^([a-z0-9][^ ]*==[^ ]+)", text, re.MULTILINE))

    assert pins("runtime") <= pins("dev")
    assert pins("controllers") <= pins("dev")
    assert names("runtime") <= names("controllers"), "and the same versions, which the first line says of dev"


def names(extra: str) -> set[str]:
    text = bootstrap.lock_file(extra, 13).read_text()
    return set(re.findall(r"^([a-z0-9][^ ]*==[^ ]+)", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["up"], "runtime"),
        (["up", "--controllers", "tls://h:1"], "controllers"),
        (["up", "--controllers=tls://h:1"], "controllers"),
        (["controllers", "worker"], "controllers"),
        ([], "runtime"),
    ],
)
def test_only_who_wants_several_controllers_gets_the_extra(words: list[str], extra: str) -> None:
    assert bootstrap.extra_for(words) == extra


@pytest.mark.parametrize("name", [lock.name for lock in (ROOT / "requirements").glob("*.txt")])
def test_every_pin_has_a_hash(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert blocks
    assert not [block.split()[0] for block in blocks if "--hash=sha256:" not in block]


@pytest.fixture
def marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A complete environment with the runtime set of today; the path of its mark."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    monkeypatch.setattr(bootstrap, "VENV", tmp_path)
    monkeypatch.setattr(bootstrap, "MARK", tmp_path / "complete.json")
    lock = bootstrap.lock_file("runtime", 13)
    mark = {"extra": "runtime", "minor": 13, "locks": {"runtime": bootstrap.digest(lock)}}
    (tmp_path / "complete.json").write_text(json.dumps(mark))
    return tmp_path / "complete.json"


def test_a_complete_environment_fits(marked: Path) -> None:
    assert bootstrap.fit("runtime")
    assert not bootstrap.fit("controllers")
    assert not bootstrap.fit("dev")


def test_one_that_was_interrupted_does_not(marked: Path) -> None:
    marked.unlink()
    assert not bootstrap.fit("runtime")
    marked.write_text('{"extra": "runti')
    assert not bootstrap.fit("runtime")


def test_one_whose_python_went_away_does_not(marked: Path) -> None:
    interpreter = marked.parent / "bin" / "python"
    interpreter.unlink()
    interpreter.symlink_to("/nowhere/python3.13")
    assert not bootstrap.fit("runtime")


def test_a_changed_lock_file_makes_it_unfit(marked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = bootstrap.lock_file("runtime", 13)
    changed = tmp_path / "requirements"
    changed.mkdir()
    (changed / lock.name).write_text(lock.read_text() + "\n# changed\n")
    monkeypatch.setattr(bootstrap, "REQUIREMENTS", changed)
    assert not bootstrap.fit("runtime")


def test_the_environment_comes_first_and_system_tools_are_found() -> None:
    made = bootstrap.variables({"PATH": f"/usr/bin:{bootstrap.VENV}/bin:/bin", "PYTHONHOME": "/old"})
    path = made["PATH"].split(os.pathsep)
    assert path[0] == str(bootstrap.VENV / "bin")
    assert path.count(path[0]) == 1
    assert "/usr/sbin" in path
    assert "PYTHONHOME" not in made


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({}, "C.UTF-8"),
        ({"LANG": "C"}, "C.UTF-8"),
        ({"LANG": "xx_YY.UTF-8"}, "C.UTF-8"),
        ({"LC_ALL": "C.UTF-8"}, "C.UTF-8"),
        ({"LANG": "C.UTF-8"}, "None"),
    ],
)
def test_the_locale_is_one_that_ansible_accepts(given: dict[str, str], seen: str) -> None:
    """In a process of its own: a locale is read from the process's environment."""
    code = "import os; from kubesmith import bootstrap as b; print(b.variables(os.environ).get('LC_ALL'))"
    environment = {"PATH": "/usr/bin:/bin", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT), **given}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == seen


def test_an_unknown_option_ends_with_2_and_the_usage() -> None:
    command = [sys.executable, "-m", "kubesmith.bootstrap", "--frob"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--frob" in done.stderr
    assert "--needs" in done.stderr


@pytest.mark.parametrize("name", STDLIB_ONLY)
def test_what_runs_before_the_environment_is_understood_by_python_3_9(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text(), feature_version=(3, 9))
    imported = {node.names[0].name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import)}
    imported |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= {*sys.stdlib_module_names, "kubesmith", "ansible_collections"}


def test_runner_py_is_small_and_not_a_script() -> None:
    runner = ROOT / "runner.py"
    assert len(runner.read_text().splitlines()) <= 20
    assert not runner.read_text().startswith("#!")
    assert not os.access(runner, os.X_OK)
