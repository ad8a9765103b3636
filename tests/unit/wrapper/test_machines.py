"""The file in which a provider's answer is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubesmith import machines
from kubesmith.errors import InputError
from kubesmith.machines import Machine

ONE = Machine("cp1", "10.9.0.2", "127.0.0.1", 2201, "root", "/s/ssh_config", container=True)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    machines.save(tmp_path, "podman", [ONE])
    assert machines.load(tmp_path) == [ONE]


def test_no_file_means_no_machines(tmp_path: Path) -> None:
    assert machines.load(tmp_path) == []


def test_it_is_private_and_whole(tmp_path: Path) -> None:
    machines.save(tmp_path, "podman", [ONE])
    machines.save(tmp_path, "podman", [])
    assert [file.name for file in tmp_path.iterdir()] == [machines.FILE]
    assert (tmp_path / machines.FILE).stat().st_mode & 0o777 == 0o600


def test_a_save_that_was_interrupted_does_not_widen_the_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / "machines.new"
    left.write_text("half")
    left.chmod(0o644)
    machines.save(tmp_path, "podman", [ONE])
    assert (tmp_path / machines.FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "{", "[]", '{"machines": 3}', '{"machines": [{"name": "cp1"}]}'])
def test_a_damaged_file_is_told_with_its_name(text: str, tmp_path: Path) -> None:
    (tmp_path / machines.FILE).write_text(text)
    with pytest.raises(InputError, match=r"machines\.json is damaged: ") as refused:
        machines.load(tmp_path)
    assert "up --only nodes" in refused.value.fix
