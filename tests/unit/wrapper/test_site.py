"""Whom the plays of playbooks/site.yml concern, as Ansible itself works it out from what nodes tell of themselves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

PLAYBOOKS = Path(__file__).parents[3] / "playbooks"
NAMES = sorted(set(re.findall(r'hosts: "\{\{ (site_\w+) \|', (PLAYBOOKS / "site.yml").read_text())))
DONE = {"member": "complete", "control_plane": "complete", "foreign": {}, "firewall": False, "timers": []}
NEW = DONE | {"member": "absent", "control_plane": "absent"}
WORKER = DONE | {"control_plane": "absent"}
PLAY = """
- hosts: kube_control_plane:kube_node
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact: {kubesmith: "{{ told }}", cacheable: true}
      when: told is defined
- hosts: localhost
  gather_facts: false
  vars_files: FILES
  tasks:
    - ansible.builtin.copy: {content: "{{ found | to_json }}", dest: FOUND, mode: "0600"}
      vars: {found: VALUES}
"""


def concerned(folder: Path, planes: Mapping[str, Any], workers: Mapping[str, Any], **everywhere: Any) -> dict[str, Any]:
    """Return {what the playbook calls them: hosts}, without those that are nobody."""
    groups = {"kube_control_plane": {"hosts": planes}, "kube_node": {"hosts": workers}}
    inventory = {"all": {"vars": {"ansible_connection": "local"} | everywhere, "children": groups}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory))
    files = [str(PLAYBOOKS / "vars" / name) for name in ("topology.yml", "site.yml")]
    values = {name: f"{{{{ {name} }}}}" for name in NAMES}
    text = PLAY.replace("FILES", json.dumps(files)).replace("VALUES", json.dumps(values))
    (folder / "play.yml").write_text(text.replace("FOUND", str(folder / "found.json")))
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts.yml", "play.yml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((folder / "found.json").read_text())
    return {name.removeprefix("site_"): hosts for name, hosts in found.items() if hosts}


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "a finished cluster": (
        {"cp1": {"told": DONE}},
        {"w1": {"told": WORKER}},
        {
            "kubeadm_master_profile": "standard",
            "kubeadm_worker_labels": {},
            "kubeadm_master_features": {"audit_log": True},
        },
        {},
    ),
    "a new cluster": (
        {"cp1": {"told": NEW}},
        {"w1": {"told": NEW}, "w2": {"told": NEW}},
        {},
        {"inviting": ["cp1"]},
    ),
    "control planes, the second of which is to join and the third does not answer": (
        {"cp1": {"told": DONE, "site_join": {"token": "a.b"}}, "cp2": {"told": NEW}, "cp3": {}},
        {"w1": {"told": WORKER}},
        {},
        {"several": ["cp1", "cp2", "cp3"], "inviting": ["cp1"], "invited": ["cp1"], "joining_planes": ["cp2"]},
    ),
    "the first control plane is new, another speaks": (
        {"cp1": {"told": NEW}, "cp2": {"told": DONE}},
        {"w1": {"told": WORKER}},
        {"kubeadm_master_profile": "cis", "kubeadm_master_nodes": {"cp1": ["10.0.0.1"]}},
        {
            "several": ["cp1", "cp2"],
            "inviting": ["cp2"],
            "joining_planes": ["cp1"],
            "strict": ["cp2"],
            "signed": ["cp2"],
        },
    ),
    "a firewall here, one that is not wanted any more there, a node of others": (
        {"cp1": {"told": DONE | {"firewall": True}}},
        {
            "w1": {"told": WORKER | {"firewall": True}, "kubesmith_firewall_rules": []},
            "w2": {"told": WORKER | {"foreign": {"kubelet": {}}}},
        },
        {},
        {"firewalled": ["w1"], "once_firewalled": ["cp1"], "set_up_by_others": ["w2"]},
    ),
    "labels, taints and timers": (
        {
            "cp1": {"told": DONE, "kubeadm_master_labels": {"a": "b"}, "kubeadm_master_taints": ["a:NoSchedule"]},
            "cp2": {"told": DONE | {"timers": ["backup"]}, "kubeadm_master_taints": []},
        },
        {
            "w1": {"told": WORKER, "kubeadm_worker_taints": ["a:NoSchedule"]},
            "w2": {"told": WORKER | {"timers": ["renewal"]}},
            "w3": {"told": WORKER, "kubeadm_worker_renewal": {"renewal": "daily"}},
        },
        {"kubeadm_worker_labels": {}, "kubeadm_master_backup": {"keep": 3}, "kubeadm_worker_renewal": {}},
        {"several": ["cp1", "cp2"], "marked": ["cp1", "w1"], "timed_planes": ["cp2"], "timed_workers": ["w3", "w2"]},
    ),
    "backups on time, on every control plane": (
        {"cp1": {"told": DONE}, "w9": {"told": DONE}},
        {"w1": {"told": WORKER}, "w9": {"told": DONE}},
        {"kubeadm_master_backup": {"schedule": "daily"}},
        {"several": ["cp1", "w9"], "timed_planes": ["cp1", "w9"]},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_whom_the_plays_concern(case: str, tmp_path: Path) -> None:
    planes, workers, everywhere, wanted = CASES[case]
    assert concerned(tmp_path, planes, workers, **everywhere) == wanted


def test_every_such_play_is_tried_here() -> None:
    tried = {f"site_{name}" for *_hosts, wanted in CASES.values() for name in wanted}
    assert tried == set(NAMES)
