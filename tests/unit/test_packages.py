"""System packages: what is missing, and who may install it."""

from pathlib import Path

import pytest

from kubesmith import packages
from kubesmith.errors import InputError, KubesmithError
from kubesmith.packages import Package, install_packages, require_packages

GONE = Package("frobnicate", "frobs", "frobnicate-that-nobody-has")
HERE = Package("bash", "runs scripts", "sh")


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Want one package that is there and one that is not; return the commands that would have been run."""
    ran: list[list[str]] = []
    monkeypatch.setattr(packages, "SSH", (HERE, GONE))
    monkeypatch.setattr(packages, "_run", lambda command: ran.append(list(command)) or 0)
    monkeypatch.setattr(packages, "_would_work", lambda command: True)
    monkeypatch.setattr(
        packages.shutil, "which", lambda tool, path=None: f"/usr/bin/{tool}" if tool in ("sh", "apt-get") else None
    )
    monkeypatch.setattr(packages.os, "geteuid", lambda: 0)
    return ran


def test_a_package_is_shown_by_a_command_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "x86_64").mkdir()
    library = Package("libfoo-dev", "links", f"{tmp_path}/*/libfoo.a")
    assert not library.present()
    (tmp_path / "x86_64/libfoo.a").touch()
    assert library.present()
    assert HERE.present()
    assert not GONE.present()


def test_without_agreement_the_command_is_named_and_nothing_is_run(
    wanted: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError) as error:
        require_packages("ssh", assume_yes=False)
    assert "frobnicate (frobs)" in str(error.value)
    assert "bash" not in str(error.value)
    assert error.value.fix.startswith("apt-get install --yes --no-install-recommends frobnicate")
    assert capsys.readouterr().err == ""
    assert wanted == []


def test_without_root_the_command_is_named_with_sudo(wanted: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.os, "geteuid", lambda: 1000)
    with pytest.raises(InputError) as error:
        require_packages("ssh", assume_yes=True)
    assert error.value.fix.startswith("sudo apt-get install")
    assert wanted == []


def test_without_apt_what_is_missing_is_named(wanted: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.shutil, "which", lambda tool, path=None: None)
    with pytest.raises(InputError, match="no apt-get"):
        install_packages(["podman"], "podman (runs the lab's nodes)", assume_yes=True)
    assert wanted == []


def test_with_agreement_it_is_installed_after_it_was_listed(
    wanted: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    install_packages(["frobnicate"], "frobnicate (frobs)", assume_yes=True)
    assert wanted == [["apt-get", "install", "--yes", "--no-install-recommends", "frobnicate"]]
    assert "frobnicate (frobs)" in capsys.readouterr().err


def test_package_lists_are_fetched_only_when_apt_cannot_do_without(
    wanted: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "_would_work", lambda command: False)
    install_packages(["frobnicate"], "frobnicate (frobs)", assume_yes=True)
    assert [command[1] for command in wanted] == ["update", "install"]


def test_an_interrupted_dpkg_is_finished_before_the_second_try(
    wanted: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = iter([100, 0, 0, 0])
    monkeypatch.setattr(packages, "_run", lambda command: wanted.append(list(command)) or next(codes))
    install_packages(["frobnicate"], "frobnicate (frobs)", assume_yes=True)
    assert [command[1] for command in wanted] == ["install", "--configure", "update", "install"]


def test_a_second_failure_ends_the_attempt(wanted: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_run", lambda command: wanted.append(list(command)) or 100)
    with pytest.raises(KubesmithError, match="frobnicate ended with 100"):
        install_packages(["frobnicate"], "frobnicate (frobs)", assume_yes=True)


def test_machines_of_ones_own_need_no_podman() -> None:
    assert "podman" not in {package.name for package in packages.packages("ssh")}
    assert {"podman", "debootstrap"} <= {package.name for package in packages.packages("podman")}
    assert {"gcc", "libseccomp-dev"} <= {package.name for package in packages.packages("bundle")}


def test_what_two_purposes_share_is_named_once(wanted: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "BUNDLE", (GONE, Package("gcc", "compiles", "gcc")))
    with pytest.raises(InputError) as error:
        require_packages("ssh", "bundle", assume_yes=False)
    assert "--no-install-recommends frobnicate gcc," in error.value.fix


def test_the_administrators_folders_are_searched_when_path_leaves_them_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/sbin")
    assert packages.tool_path() == "/usr/bin:/sbin:/usr/local/sbin:/usr/sbin"
