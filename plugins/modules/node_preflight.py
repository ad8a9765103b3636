#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: node_preflight
short_description: Everything that preflight wants to know about a machine
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Reads a machine's system, disks, network and traces of clusters in one call, without a judgement.
  - Changes nothing and leaves nothing. On a control plane the speed of synchronous writes is measured with a file that
    never has a name. A few packets go to name servers and to O(peers).
options:
  node:
    description: Name of the node.
    type: str
    required: true
  address:
    description: Address that the node is to have in the cluster.
    type: str
    default: ""
  role:
    description: What the node is to be.
    type: str
    choices: [control-plane, worker]
    required: true
  container:
    description: Whether the node shares its host's kernel, clock and disks.
    type: bool
    default: false
  vip:
    description: Address that control planes are to share; who has it on the network is asked on a control plane.
    type: str
    default: ""
  vip_port:
    description: Port of the load balancer at O(vip); the next one is its own.
    type: int
    default: 8443
  peers:
    description: Addresses of nodes to which the way is tried.
    type: list
    elements: str
    default: []
  modules:
    description: Kernel modules that the cluster needs.
    type: list
    elements: str
    default: [overlay, br_netfilter, nf_conntrack, nf_tables]
  registries:
    description: Addresses of registries to which a connection is tried.
    type: list
    elements: str
    default: []
  settings:
    description: Settings of the cluster that the judgement depends on; returned as they are.
    type: dict
    default: {}
  root:
    description: Where the node sees the bundle, if it does.
    type: path
    default: /var/lib/kubesmith/bundle
attributes:
  check_mode:
    support: full
    description: It only reads.
  diff_mode:
    support: none
    description: It only reads.
"""

EXAMPLES = r"""
- name: Look at the node
  kubesmith.cluster.node_preflight:
    node: w1
    address: 192.168.10.21
    role: worker
    peers: [192.168.10.11]
"""

RETURN = r"""
preflight:
  description: The facts, and what the module was asked for under C(wanted).
  returned: always
  type: dict
"""

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import survey, survey_network
from ansible_collections.kubesmith.cluster.plugins.module_utils.survey_traces import traces


def gather(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts; what takes time is asked at the same time. ``clock`` is (first, last) moment, in seconds."""
    first = time.time()
    interfaces = survey_network.interfaces()
    own = {name: row["mtu"] for name, row in interfaces.items() if wanted["address"] in row["addresses"]}
    interface, mtu = max(own.items(), key=lambda row: row[1], default=("", 0))
    shares = bool(wanted["vip"]) and wanted["role"] == "control-plane"
    balancer = [wanted["vip_port"], wanted["vip_port"] + 1] if shares else []
    questions = {
        "machine": survey.machine,
        "dns": survey_network.dns,
        "firewall": survey_network.firewall,
        "services": survey.services,
        "state": survey.system_state,
        "swap": survey.swap,
        "paths": lambda: survey_network.paths(wanted["peers"], mtu) if mtu else {},
        "registries": lambda: survey_network.unreachable(wanted["registries"]),
        "fsync_ms": lambda: survey.fsync_ms() if wanted["role"] == "control-plane" else None,
        "traces": traces,
        "ports": lambda: survey_network.ports_in_use(wanted["role"], more=balancer),
        "vip_holder": lambda: survey_network.holder(wanted["vip"], interface) if shares and interface else "",
        "sysctls": survey.sysctls,
    }
    with ThreadPoolExecutor(len(questions)) as pool:
        asked = {name: pool.submit(question) for name, question in questions.items()}
        facts: dict[str, Any] = {name: answer.result() for name, answer in asked.items()}
    facts.update(
        interfaces=interfaces,
        default_route=survey_network.default_route(),
        disks=survey.disks(),
        modules_missing=[] if wanted["container"] else survey.missing_modules(wanted["modules"]),
        reboot=[] if wanted["container"] else survey.reboot_reasons(),
        bundle=survey.bundle(wanted["root"]),
        clock=[first, time.time()],
    )
    return facts


def main() -> None:
    """Entry of the module."""
    strings = {"type": "list", "elements": "str"}
    module = AnsibleModule(
        argument_spec={
            "node": {"type": "str", "required": True},
            "address": {"type": "str", "default": ""},
            "role": {"type": "str", "choices": ["control-plane", "worker"], "required": True},
            "container": {"type": "bool", "default": False},
            "vip": {"type": "str", "default": ""},
            "vip_port": {"type": "int", "default": 8443},
            "peers": dict(strings, default=[]),
            "modules": dict(strings, default=["overlay", "br_netfilter", "nf_conntrack", "nf_tables"]),
            "registries": dict(strings, default=[]),
            "settings": {"type": "dict", "default": {}},
            "root": {"type": "path", "default": "/var/lib/kubesmith/bundle"},
        },
        supports_check_mode=True,
    )
    facts = {"euid": os.geteuid(), "wanted": module.params}
    if facts["euid"] == 0:
        facts.update(gather(module.params))
    module.exit_json(changed=False, preflight=facts)


if __name__ == "__main__":
    main()
