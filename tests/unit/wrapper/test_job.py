"""What every verb starts from."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kubesmith import job, machines, paths
from kubesmith.commands import bundle
from kubesmith.commands import machines as commands
from kubesmith.errors import InputError
from kubesmith.job import ssh_argv
from kubesmith.machines import Machine
from kubesmith.ui import Ui

LAB = "cluster: {name: x}\nprovider: podman\nworkers: 1\n"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> job.Job:
    monkeypatch.setenv("KUBESMITH_STATE", str(tmp_path / "state"))
    file = tmp_path / "cluster.yml"
    file.write_text(LAB)
    return job.read(str(file), Ui(quiet=True))


def test_a_name_a_folder_and_a_file_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cluster.yml"
    file.write_text(LAB)
    assert job.find("lab") == paths.inventories() / "lab" / "cluster.yml"
    assert job.find(str(tmp_path)) == job.find(str(file)) == file
    monkeypatch.chdir(tmp_path)
    assert job.find("cluster.yml") == file  # absolute: a run must not depend on where it was started


def test_reading_touches_nothing(lab: job.Job) -> None:
    assert lab.spec.machines()
    assert lab.hosts()
    assert not lab.state.exists()


def test_hosts_come_from_the_machines_that_were_made(lab: job.Job) -> None:
    machine = Machine("w1", "10.9.0.3", "10.9.0.3", 22, "root", "/c", container=True)
    machines.save(paths.make_private(lab.state), "podman", [machine])
    assert lab.hosts()["w1"]["ansible_host"] == "10.9.0.3"
    assert lab.hosts()["cp1"]["ansible_host"] == "cp1.not-made.invalid"


def test_one_run_at_a_time(lab: job.Job) -> None:
    with (
        lab.alone(),
        pytest.raises(InputError, match=rf"another run \(process {os.getpid()}\) is working on cluster x"),
        lab.alone(),
    ):
        pass


def test_the_lock_goes_with_the_process_that_held_it(lab: job.Job) -> None:
    code = f"""
import os, sys
sys.path.insert(0, {str(paths.CHECKOUT)!r})
from kubesmith import job
from kubesmith.ui import Ui
with job.read({str(lab.file)!r}, Ui(quiet=True)).alone():
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    with lab.alone():
        assert (lab.state / "lock").read_text() == f"{os.getpid()}\n"
    assert lab.state.stat().st_mode & 0o777 == 0o700
    assert (lab.state / "lock").stat().st_mode & 0o777 == 0o600


def test_the_ssh_command_is_the_inventorys() -> None:
    variables = {
        "ansible_host": "10.0.0.1",
        "ansible_port": 2200,
        "ansible_user": "admin",
        "ansible_ssh_common_args": "-F '/a b/c' -o HostKeyAlias=w1",
        "ansible_ssh_private_key_file": "/k",
    }
    words = ["-o", "HostKeyAlias=w1", "-i", "/k", "-p", "2200", "admin@10.0.0.1"]
    assert list(ssh_argv(variables)) == ["ssh", "-F", "/a b/c", *words]


def test_the_file_of_a_bundle_lies_beside_the_cluster_file(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yml"
    file.write_text("cluster: {name: x}\nprovider: podman\nworkers: 1\nbundle: {source: file, file: k8s.tar.zst}\n")
    wanted = bundle.wanted(job.read(str(file), Ui()))
    assert (wanted.source, wanted.file) == ("file", tmp_path / "k8s.tar.zst")


def test_what_is_no_lab_is_not_destroyed_without_a_yes(lab: job.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))  # no terminal
    with pytest.raises(InputError, match="cluster x is not destroyed: nobody is there to confirm it"):
        commands.destroy(lab)
