"""The inventory plugin, as Ansible itself runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[3]
PROGRAM = Path(sys.executable).with_name("ansible-inventory")
LAB = "plugin: kubesmith.cluster.spec\ncluster: {name: lab}\nprovider: podman\nworkers: 1\n"


def ansible_inventory(file: Path, *words: str, state: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": f"{PROGRAM.parent}:/usr/bin:/bin",
        "HOME": str(file.parent),
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / "collections"),
        "KUBESMITH_STATE": str(state or file.parent / "state"),
        "KUBESMITH_BUNDLE": "/b",
    }
    command = [str(PROGRAM), "-i", str(file), *words]
    return subprocess.run(command, env=environment, cwd=file.parent, capture_output=True, text=True, check=False)


def enabled(file: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run with the plugin enabled by ansible.cfg, as from our checkout."""
    (file.parent / "ansible.cfg").write_text(
        "[inventory]\nenable_plugins = kubesmith.cluster.spec, ansible.builtin.ini, ansible.builtin.yaml\n"
    )
    return ansible_inventory(file, *words)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    file = tmp_path / "cluster.yml"
    file.write_text(LAB)
    return file


def test_groups_hosts_and_variables_arrive(lab: Path, tmp_path: Path) -> None:
    state = tmp_path / "state" / "lab"
    state.mkdir(parents=True)
    rows = [
        {"name": name, "address": address, "ssh_host": address, "ssh_port": 22, "ssh_user": "root", "ssh_config": "/c"}
        for name, address in (("cp1", "10.9.0.2"), ("w1", "10.9.0.3"))
    ]
    (state / "machines.json").write_text(json.dumps({"schema": 1, "provider": "podman", "machines": rows}))
    done = ansible_inventory(lab, "--list", state=tmp_path / "state")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["kube_control_plane"]["hosts"] == ["cp1"]
    assert answer["kube_node"]["hosts"] == ["w1"]
    variables = {name: plain(value) for name, value in answer["_meta"]["hostvars"]["w1"].items()}
    assert variables["ansible_host"] == "10.9.0.3"
    assert variables["kubesmith_state"] == str(state)
    assert variables["calico_bundle"] == "/b"


def plain(value: Any) -> Any:
    """Take away the mark that Ansible's JSON puts on text from outside."""
    return value["__ansible_unsafe"] if isinstance(value, dict) and "__ansible_unsafe" in value else value


def test_a_cluster_without_machines_is_told(lab: Path) -> None:
    done = ansible_inventory(lab, "--graph")
    assert done.returncode == 0, done.stderr
    assert "the machines of cluster lab have not been made" in " ".join(done.stderr.split())


def test_a_bad_file_stops_ansible_with_every_problem(lab: Path) -> None:
    lab.write_text(LAB + "netwrok: {}\nlab: 1\n")
    done = enabled(lab, "--graph")
    assert done.returncode == 2
    assert "the cluster file has 2 problem(s):" in done.stderr
    assert f"{lab}:5:1: netwrok: is not a known setting; did you mean network?" in done.stderr
    assert f"{lab}:6:1: lab: 1 is not true or false" in done.stderr


@pytest.mark.parametrize(
    "text",
    [
        '"cluster": {"name": x}\n"provider": podman\nworker: 1\n',
        "cluster: # ours\n\n  # its name\n  name: x\nprovder: podman\n",
        "cluster: {kubernetes: stable, name: x}\nnodess: []\n",
    ],
)
def test_a_cluster_file_whose_other_words_are_misspelt_is_ours_too(text: str, tmp_path: Path) -> None:
    file = tmp_path / "cluster.yml"
    file.write_text(text)
    done = enabled(file, "--list")
    assert done.returncode == 2
    assert "is not a known setting; did you mean" in done.stderr


def test_an_ordinary_inventory_is_left_to_ansible(tmp_path: Path) -> None:
    file = tmp_path / "hosts.yml"
    file.write_text("cluster:\n  hosts:\n    a: {}\nother:\n  hosts:\n    b: {}\n")
    done = enabled(file, "--list")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cluster"]["hosts"] == ["a"]
