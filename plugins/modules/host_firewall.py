#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: host_firewall
short_description: A node's own firewall, by nftables
version_added: 0.2.0
author: kubesmith maintainers (@kubesmith)
description:
  - Keeps one table of nftables, C(inet kubesmith-firewall), that rejects what comes to the node and no rule accepts.
  - Other tables are never looked at nor changed. What the node hands on to pods is not judged.
  - Accepted are answers, loopback, ICMP, DHCP, and SSH at the port of this very connection and those of sshd.
  - A new table goes by itself after O(undo_after) seconds unless V(confirmed) follows, called over a new connection.
options:
  state:
    description:
      - V(present) brings the table in, V(confirmed) has it stay and come back at boot, V(absent) removes it.
      - V(members) lets the sources of O(rules) in at a table that is there, and forgets those that are gone. Only sets
        change; a table that differs in more is left alone, which is a failure, and where there is none, none is made.
    type: str
    choices: [present, confirmed, members, absent]
    default: present
  rules:
    description: What is accepted besides.
    type: list
    elements: dict
    default: []
    suboptions:
      protocol:
        description: V(tcp), V(udp), or the number of a protocol without ports.
        type: str
        required: true
      ports:
        description: A port, or a range such as V(2379-2380); empty for a protocol without ports.
        type: str
        default: ""
      sources:
        description: Addresses and networks it is accepted from.
        type: list
        elements: str
        default: []
      set:
        description: Name of the set that holds the sources, which rules can share; without one they stand in the rule.
        type: str
        default: ""
      anybody:
        description: Whether it is accepted from everywhere.
        type: bool
        default: false
      why:
        description: What it is for. Not used.
        type: str
        default: ""
  undo_after:
    description: Seconds after which a new table goes if nothing confirms it. V(0) means never.
    type: int
    default: 60
attributes:
  check_mode:
    support: full
    description: Says what would be done.
  diff_mode:
    support: full
    description: Shows the table before and after.
"""

EXAMPLES = r"""
- name: Let nobody in but the nodes, to the kubelet
  kubesmith.cluster.host_firewall:
    rules:
      - {protocol: tcp, ports: "10250", sources: [192.168.10.11, 192.168.10.21]}

- name: Connect anew
  ansible.builtin.meta: reset_connection

- name: Keep it
  kubesmith.cluster.host_firewall:
    state: confirmed
    rules:
      - {protocol: tcp, ports: "10250", sources: [192.168.10.11, 192.168.10.21]}
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
ssh:
  description: The ports that are open for SSH.
  type: list
  elements: int
  returned: unless O(state) is V(absent)
"""

from collections.abc import Sequence
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import files, host_firewall
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError


def work(wanted: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Bring the node to the wanted state; return the module's answer."""
    if wanted["state"] == "absent":
        there = host_firewall.is_there()
        if there and not check_mode:
            host_firewall.remove()
        return {"changed": there, "actions": ["remove the firewall"] if there else [], "diff": []}
    ssh = host_firewall.ssh_ports()
    text = host_firewall.text(wanted["rules"], ssh)
    live, right = host_firewall.live(), host_firewall.canonical(text)
    if wanted["state"] == "members":
        return members(wanted["rules"], text, live, right, check_mode) | {"ssh": ssh}
    actions, diff = [], []
    if live != right:
        actions.append("bring in the firewall" if live is None else "change the firewall")
        diff.append(files.difference(f"table {host_firewall.TABLE}", live, right))
        if not check_mode:
            host_firewall.apply(text, wanted["undo_after"] if wanted["state"] == "present" else 0)
    if wanted["state"] == "confirmed" and (host_firewall.armed() or not host_firewall.kept(text)):
        actions.append("have the firewall stay, and come back at boot")
        if not check_mode:
            host_firewall.disarm()
            host_firewall.keep(text)
    return {"changed": bool(actions), "actions": actions, "ssh": ssh, "diff": diff}


def members(
    rules: Sequence[host_firewall.Rule], text: str, live: Optional[str], right: str, check_mode: bool
) -> dict[str, Any]:
    """Let in whom the rules name, at a table that is there; return the module's answer."""
    if live is None or live == right or host_firewall.armed():
        return {"changed": False, "actions": [], "diff": []}
    if not host_firewall.same_but_members(live, right):
        raise CommandError(
            "the firewall of this node differs from the wanted one in more than whom it lets in; it was left alone. "
            "Bring it up to date first, by runner.py up"
        )
    if not check_mode:
        host_firewall.exchange_members(rules)
        host_firewall.keep(text)
    diff = [files.difference(f"table {host_firewall.TABLE}", live, right)]
    return {"changed": True, "actions": ["change whom the firewall lets in"], "diff": diff}


def main() -> None:
    """Entry of the module."""
    rule = {
        "protocol": {"type": "str", "required": True},
        "ports": {"type": "str", "default": ""},
        "sources": {"type": "list", "elements": "str", "default": []},
        "set": {"type": "str", "default": ""},
        "anybody": {"type": "bool", "default": False},
        "why": {"type": "str", "default": ""},
    }
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "confirmed", "members", "absent"], "default": "present"},
            "rules": {"type": "list", "elements": "dict", "options": rule, "default": []},
            "undo_after": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**work(module.params, module.check_mode))
    except (CommandError, OSError, ValueError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
