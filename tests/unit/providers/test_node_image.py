"""The recipe of the node image, and where its packages come from."""

import subprocess
from pathlib import Path

import pytest

from kubesmith.errors import InputError
from kubesmith.providers.podman.node_image import recipe
from kubesmith.providers.podman.node_image.image import finish
from kubesmith.providers.podman.node_image.mirror import choose, sources

DEBIAN = "http://mirror.example/debian"
TARGETS = [
    ("https://tools.example/linux", "bookworm"),
    (DEBIAN, "bookworm"),
    (DEBIAN, "bookworm-updates"),
    ("http://mirror.example/debian-security", "bookworm-security"),
]


def test_the_digest_follows_every_part_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    first = recipe.digest("amd64")
    assert recipe.digest("amd64") == first
    assert recipe.digest("arm64") != first
    monkeypatch.setattr(recipe, "PACKAGES", (*recipe.PACKAGES, "jq"))
    assert recipe.digest("amd64") != first


def test_the_digest_follows_our_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = recipe.digest("amd64")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hosts").write_text("127.0.0.1 localhost\n")
    monkeypatch.setattr(recipe, "FILES", tmp_path)
    assert recipe.digest("amd64") != first


def test_debians_own_archive_is_preferred_among_those_that_serve_the_suite() -> None:
    assert choose("bookworm", "bookworm", TARGETS) == DEBIAN


def test_the_mirror_of_a_newer_debian_serves_the_older_too() -> None:
    assert choose("bookworm", "trixie", [(DEBIAN, "trixie")]) == DEBIAN


def test_a_machine_without_debian_is_told_which_variable_to_set() -> None:
    with pytest.raises(InputError) as error:
        choose("bookworm", "", [("http://archive.example/ubuntu", "noble")])
    assert "KUBESMITH_DEBIAN_MIRROR" in error.value.fix


def test_a_node_updates_from_where_this_machine_does() -> None:
    assert sources("bookworm", DEBIAN, TARGETS).splitlines() == [
        f"deb {DEBIAN} bookworm main",
        f"deb {DEBIAN} bookworm-updates main",
        "deb http://mirror.example/debian-security bookworm-security main",
    ]


def test_a_finished_root_has_nothing_that_must_be_unique(tmp_path: Path) -> None:
    for file in (
        "etc/machine-id",
        "etc/ssh/ssh_host_rsa_key",
        "usr/share/man/man1/ls.1",
        "usr/share/doc/bash/copyright",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("once")
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    finish(tmp_path, "deb http://mirror.example/debian bookworm main\n")
    assert (tmp_path / "etc/machine-id").read_text() == ""
    assert not (tmp_path / "etc/ssh/ssh_host_rsa_key").exists()
    assert not (tmp_path / "usr/share/man/man1").exists()
    assert (tmp_path / "usr/share/doc/bash/copyright").exists()
    assert (tmp_path / "etc/systemd/system/getty.target").readlink() == Path("/dev/null")
    assert (tmp_path / "var/lib/kubelet").is_dir()


def test_the_first_process_is_a_script_that_a_shell_understands() -> None:
    script = recipe.FILES / recipe.COMMAND[1].lstrip("/")
    subprocess.run(["sh", "-n", str(script)], check=True)
