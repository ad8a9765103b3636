"""The files by which nodes are reached, judged by OpenSSH itself."""

import subprocess
from pathlib import Path

import pytest

from kubesmith.providers import ssh

PEERS = [ssh.Peer("cp1", "10.201.210.11", "ssh-ed25519 AAAA"), ssh.Peer("w1", "10.201.210.51", "ssh-ed25519 BBBB")]


def settings(folder: Path, host: str) -> dict[str, str]:
    """Return what ssh makes of the file for ``host``."""
    file = folder / "config"
    file.write_text(ssh.config(folder, PEERS))
    done = subprocess.run(["ssh", "-G", "-F", str(file), host], capture_output=True, text=True, check=True)
    return dict(line.partition(" ")[::2] for line in done.stdout.splitlines())


@pytest.mark.parametrize("host", ["w1", "10.201.210.51"])
def test_a_node_is_found_by_name_and_by_address(tmp_path: Path, host: str) -> None:
    found = settings(tmp_path, host)
    assert found["hostname"] == "10.201.210.51"
    assert found["user"] == "root"
    assert found["identityfile"] == str(tmp_path / "id_ed25519")
    assert found["identitiesonly"] == "yes"


def test_host_keys_are_checked_against_the_labs_own_file_only(tmp_path: Path) -> None:
    found = settings(tmp_path, "cp1")
    assert found["stricthostkeychecking"] == "true"
    assert found["userknownhostsfile"] == str(tmp_path / "known_hosts")
    assert found["globalknownhostsfile"] == "/dev/null"


def test_connections_are_shared_through_a_socket_that_fits(tmp_path: Path) -> None:
    deep = tmp_path / ("a-cluster-with-a-long-name-" * 4)
    deep.mkdir()
    for folder in (tmp_path, deep):
        found = settings(folder, "cp1")
        assert found["controlmaster"] == "auto"
        assert len(found["controlpath"]) + 17 < 108
    assert ssh.sockets(deep) != ssh.sockets(tmp_path)


def test_a_folder_with_a_blank_and_a_percent_sign_works(tmp_path: Path) -> None:
    folder = tmp_path / "100% mine"
    folder.mkdir()
    found = settings(folder, "cp1")
    assert Path(found["controlpath"]).parent == ssh.sockets(folder)
    assert ssh.ensure_key(folder, "test").startswith("ssh-ed25519 ")


def test_known_hosts_names_each_key_by_name_and_address(tmp_path: Path) -> None:
    public = ssh.ensure_key(tmp_path, "test")
    kind, key = public.split()[:2]
    (tmp_path / "known").write_text(ssh.known_hosts([ssh.Peer("w1", "10.1.2.3", f"{kind} {key}")]))
    for host in ("w1", "10.1.2.3"):
        command = ["ssh-keygen", "-F", host, "-f", str(tmp_path / "known")]
        assert key in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_key_is_made_once_and_again_when_it_is_broken(tmp_path: Path) -> None:
    first = ssh.ensure_key(tmp_path, "test")
    assert ssh.ensure_key(tmp_path, "test").split()[:2] == first.split()[:2]
    assert (tmp_path / "id_ed25519").stat().st_mode & 0o777 == 0o600
    (tmp_path / "id_ed25519").write_text("half a k")
    assert ssh.ensure_key(tmp_path, "test").split()[1] != first.split()[1]


def test_what_is_written_is_private(tmp_path: Path) -> None:
    config = ssh.write(tmp_path, PEERS)
    assert config.stat().st_mode & 0o777 == 0o600
    assert ssh.sockets(tmp_path).stat().st_mode & 0o777 == 0o700
