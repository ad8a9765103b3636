"""Ordinary Ansible inventories are held to the rules of a cluster file."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import load, ordinary, spec
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.inventory import build
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.problems import SpecError

from kubesmith import execute, job
from kubesmith import ordinary as listed
from kubesmith.errors import InputError
from kubesmith.ui import Ui

CHECKOUT = Path(__file__).parents[3]
GROUPS = {"kube_control_plane": ["cp1"], "kube_node": ["w1", "w2"]}
HOSTS: dict[str, dict[str, Any]] = {
    "cp1": {"ansible_host": "192.168.10.11"},
    "w1": {"ansible_host": "192.168.10.21"},
    "w2": {"ansible_host": "w2.example.org", "kubeadm_worker_node_address": "192.168.10.22"},
}
INI = """\
[kube_control_plane]
cp1 ansible_host=192.168.10.11

[kube_node]
w1 ansible_host=192.168.10.21
"""


def problems(
    groups: dict[str, list[str]] = GROUPS,
    shared: dict[str, Any] | None = None,
    others: Sequence[str] = (),
    beside: dict[str, str] | None = None,
    **hosts: Any,
) -> list[str]:
    variables = {name: own | (shared or {}) | hosts.get(name, {}) for name, own in HOSTS.items()}
    try:
        ordinary.check(groups, variables, "h", others=others, beside=beside)
    except SpecError as error:
        return str(error).splitlines()
    return []


def test_addresses_are_taken_where_they_are_said() -> None:
    made = ordinary.check(GROUPS, HOSTS, "h")
    assert made is not None
    assert [(node.name, node.role, node.address) for node in made.machines()] == [
        ("cp1", "control-plane", "192.168.10.11"),
        ("w1", "worker", "192.168.10.21"),
        ("w2", "worker", "192.168.10.22"),
    ]


def test_a_minor_that_an_ini_file_makes_a_number_of_is_a_version() -> None:
    assert problems(shared={"kubesmith_kubernetes": 1.37}) == []


def test_what_we_write_ourselves_is_known() -> None:
    file = b"cluster: {name: x}\nprovider: ssh\nnodes: [{name: cp1, role: control-plane, address: 192.168.10.11}]\n"
    row = {"name": "cp1", "address": "192.168.10.11", "ssh_host": "192.168.10.11", "ssh_port": 22, "ssh_user": "root"}
    machine = row | {"ssh_config": "/c", "container": True, "emulated": True}
    made = build(spec.check(load.parse(file, "f"), "f"), [machine], state="/s", bundle="/b")
    assert problems(shared=made.variables) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"groups": {"kube_node": ["w1"]}}, "h: there is no control plane; put a host into the group"),
        ({"groups": {}}, "h: no host is in kube_control_plane and kube_node; put hosts into these groups"),
        (
            {"groups": {"kube_node": ["w1"]}, "others": ["kube_control_plan", "kube_node"]},
            "h: kube_control_plan: is no group of this collection; did you mean kube_control_plane?",
        ),
        (
            {"groups": {}, "others": ["kube-master", "web"]},
            "h: kube-master: is no group of this collection; call it kube_control_plane; a whole inventory",
        ),
        (
            {
                "shared": {"kubeadm_master_dns_domian": "x"},
                "beside": {"group_vars/all.yml": "\nkubeadm_master_dns_domian: x"},
            },
            "is not a variable of the role kubeadm_master (group_vars/all.yml:2:1); did you mean",
        ),
        ({"shared": {"calico_mtu": "abc"}}, "calico_mtu: 'abc' is not a whole number"),
        ({"shared": {"containerd_host": 5}}, "containerd_host: is not a mapping of what the role takes, but 5"),
        ({"shared": {"kubeadm_master_pod_cidr": "10.96.0.0/16"}}, "overlaps kubeadm_master_pod_cidr 10.96.0.0/16"),
        ({"shared": {"kubeadm_master_pod_cidr": "192.168.0.0/16"}}, "h: w1.ansible_host: 192.168.10.21 lies in"),
        ({"shared": {"kubeadm_master_pod_cidr": "10.244.0.0/25"}}, "has room for 2 nodes"),
        ({"shared": {"kubeadm_master_endpoint": "10.96.0.9:6443"}}, "h: kubeadm_master_endpoint: 10.96.0.9 lies in"),
        ({"shared": {"kubeadm_master_dns_domian": "x"}}, "did you mean kubeadm_master_dns_domain?"),
        ({"shared": {"kubadm_master_dns_domain": "x"}}, "is not a variable of this collection; did you mean"),
        ({"shared": {"containerd_host": {"swp": "keep"}}}, "containerd_host: has the unknown part swp"),
        ({"shared": {"calico_encapsulation": "vxlam"}}, "did you mean vxlan?"),
        ({"shared": {"calico_mtu": "much"}}, "h: calico_mtu: 'much' is not a whole number"),
        ({"shared": {"calico_block_size": "much"}}, "h: calico_block_size: is text, not a whole number"),
        ({"shared": {"calico_pod_cidr": "10.245.0.0/16"}}, "is no part of kubeadm_master_pod_cidr 10.244.0.0/16"),
        ({"w1": {"ansible_host": "192.168.10.11"}}, "h: w1.ansible_host: 192.168.10.11 is the address of cp1 too"),
        ({"w1": {"ansible_host": "w1"}}, "w1 has no address; set ansible_host or kubeadm_worker_node_address"),
        ({"w1": {"ansible_host": "10.0.0.300"}}, "h: w1.ansible_host: '10.0.0.300' is not an IPv4 address"),
        (
            {"cp1": {"kubesmith_kubernetes": "1.37.2"}, "w1": {"kubesmith_kubernetes": "1.34.0"}},
            "h: w1.kubesmith_kubernetes: '1.34.0' differs from cp1's '1.37.2'; it is the whole cluster's",
        ),
        ({"shared": {"kubesmith_kubernetes": 1.99}}, "h: kubesmith_kubernetes: '1.99' is not a Kubernetes version"),
        ({"w1": {"kubeadm_worker_node_address": "10.0.0.300"}}, "h: w1.kubeadm_worker_node_address: '10.0.0.300' is"),
        ({"w1": {"kubeadm_worker_node_name": "w2"}}, "h: w2.name: 'w2' is the name of another host too"),
        ({"w1": {"kubeadm_worker_taints": ["x"]}}, "h: w1.kubeadm_worker_taints[0]: 'x' is not a taint"),
        ({"groups": {"kube_control_plane": ["cp1", "w1"]}}, "2 control planes make 2 etcd members"),
    ],
)
def test_a_mistake_is_told_under_the_inventorys_names(arguments: dict[str, Any], expected: str) -> None:
    assert expected in "\n".join(problems(**arguments))


def test_dual_stack_nodes_say_their_second_address() -> None:
    shared = {
        "kubeadm_master_pod_cidr": "10.244.0.0/16,fd00:1::/56",
        "kubeadm_master_service_cidr": "10.96.0.0/12,fd00:2::/112",
    }
    six = {"cp1": {"kubeadm_master_node_address6": "fd00:7::1"}, "w2": {"kubeadm_worker_node_address6": "fd00:7::3"}}
    assert not problems(shared=shared, w1={"kubeadm_worker_node_address6": "fd00:7::2"}, **six)
    assert "h: w1.kubeadm_worker_node_address6: w1 has no IPv6 address" in "\n".join(problems(shared=shared, **six))


def test_what_only_a_run_can_work_out_is_left_to_it() -> None:
    assert not problems(shared={"kubeadm_master_pod_cidr": "{{ x }}"}, w1={"ansible_host": "10.244.0.7"})
    assert not problems(w1={"kubeadm_worker_node_address": "{{ x }}"})
    assert not problems(shared={"kubeadm_master_cluster_name": {"__ansible_vault": "…"}})


@pytest.mark.parametrize("text", [INI, yaml.safe_dump({"all": {"children": {}}}), "[all]\nx\n"])
def test_an_ordinary_inventory_is_known(text: str) -> None:
    assert ordinary.is_ordinary(text)


@pytest.mark.parametrize(
    "text", ["cluster: {name: a}\n", "clustr: {name: a}\n", "", "nodes:\n[a]\n", "cluster:\n all: 1"]
)
def test_a_cluster_file_with_mistakes_stays_one(text: str) -> None:
    assert not ordinary.is_ordinary(text)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KUBESMITH_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("KUBESMITH_BUNDLE", "/b")
    (tmp_path / "mine" / "group_vars").mkdir(parents=True)
    (tmp_path / "mine" / "hosts.ini").write_text(INI)
    return tmp_path / "mine"


def test_the_wrapper_reads_one_with_its_group_vars(folder: Path) -> None:
    (folder / "group_vars" / "all.yml").write_text("kubeadm_master_pod_cidr: 10.200.0.0/16\ncalico_mtu: 1400\n")
    work = job.read(str(folder), Ui(quiet=True))
    assert (work.spec.cluster.name, work.spec.network.pods) == ("mine", "10.200.0.0/16")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-inventory")), "-i", str(work.inventory), "--list", "--yaml"],
        env=os.environ | execute.environment(work.state),
        capture_output=True,
        text=True,
        check=True,
    )
    seen = yaml.safe_load(done.stdout)["all"]["children"]["kube_node"]["hosts"]["w1"]
    assert "ungrouped" not in yaml.safe_load(done.stdout)["all"]["children"]  # nothing else was taken for a host
    assert seen["calico_mtu"] == 1400
    assert seen["calico_bundle"] == "/b"
    assert seen["kubeadm_worker_node_address"] == "192.168.10.21"
    assert seen["kubeadm_master_kubeconfig"] == str(work.kubeconfig)


def test_the_wrapper_tells_every_problem_with_the_files_lines(folder: Path) -> None:
    file = folder / "hosts.ini"
    file.write_text(INI + "w1\nw2 ansible_host=192.168.10.11\n[all:vars]\ncalico_mtuu=1\n")
    with pytest.raises(InputError) as caught:
        job.read(str(file), Ui(quiet=True))
    lines = str(caught.value).splitlines()
    assert lines[0] == "the inventory has 3 problem(s):"
    assert lines[1].startswith(f"{file}:6:1: w1: is listed twice in the group kube_node, first in line 5")
    assert lines[2].startswith(f"{file}:7:4: w2.ansible_host: 192.168.10.11 is the address of cp1 too")
    assert lines[3].startswith(
        f"{file}:9:1: calico_mtuu: is not a variable of the role calico; did you mean calico_mtu"
    )


def test_what_ansible_cannot_read_is_named(folder: Path) -> None:
    (folder / "hosts.ini").write_text("[kube_control_plane\ncp1\n[kube_node]\n")
    with pytest.raises(InputError, match=r"hosts\.ini cannot be read by Ansible"):
        job.read(str(folder / "hosts.ini"), Ui(quiet=True))


@pytest.mark.parametrize(("path", "name"), [("a/My Cluster.ini", "my-cluster"), ("/x/prod/hosts.yml", "prod")])
def test_a_cluster_without_a_name_takes_the_files(path: str, name: str) -> None:
    assert listed.name_of(Path(path)) == name


def first_play(inventory: Path) -> subprocess.CompletedProcess[str]:
    play = inventory.parent / "first.yml"
    play.write_text(yaml.safe_dump(yaml.safe_load((CHECKOUT / "playbooks" / "site.yml").read_text())[:1]))
    return subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), str(play)],
        env=os.environ | {"ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / "collections"), "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_ansible_playbook_alone_goes_by_the_same_rules(folder: Path) -> None:
    """Templates are worked out first: only a run can know that these two networks overlap."""
    file = folder / "hosts.ini"
    assert first_play(file).returncode == 0
    file.write_text(INI + "[all:vars]\nbase=10.96.0\nkubeadm_master_pod_cidr='{{ base }}.0/16'\n")
    done = first_play(file)
    assert done.returncode == 2
    assert "10.96.0.0/12 overlaps kubeadm_master_pod_cidr 10.96.0.0/16" in done.stdout


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("broken.ini", "[kube_control_plane\ncp1\n", "cannot be read by Ansible: "),
        ("empty.ini", "", "no host is in kube_control_plane and kube_node"),
        ("word.yml", "all: {children: {kube_node: {hosts: {w1: x}}}}\n", "Invalid data from file, expected dictionary"),
        (
            "later.yml",
            "kube_control_plane: {hosts: {cp1: {ansible_host: '{{ foo }}'}}}\n",
            "cp1.ansible_host: '{{ foo }}' is known in a run only",
        ),
    ],
)
def test_what_ansible_cannot_read_is_told_by_the_reader_that_it_was_meant_for(
    name: str, text: str, expected: str, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        job.read(str(file), Ui())
    assert expected in str(caught.value)
    assert "ini'" not in str(caught.value) or name.endswith(".ini")


def test_a_problem_in_group_vars_is_placed_there(tmp_path: Path) -> None:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "all.yml").write_text("a: 1\nkubeadm_master_pod_cidrr: 10.0.0.0/8\n")
    file = tmp_path / "hosts.ini"
    file.write_text("[kube_control_plane]\ncp1 ansible_host=192.168.10.11\n")
    with pytest.raises(InputError, match=r"\(group_vars/all.yml:2:1\); did you mean kubeadm_master_pod_cidr"):
        job.read(str(file), Ui())
