#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: kube_nodes
short_description: Labels and taints of nodes
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Gives nodes their labels and taints, also those that a kubelet may not give itself. Runs on a control plane.
  - Only adds and corrects. Labels and taints that are not named stay, since controllers set some, too.
options:
  nodes:
    description: For each node C(labels), a dictionary, and C(taints), a list of V(key=value:Effect).
    type: dict
    required: true
  timeout:
    description: Seconds to wait until the nodes are registered.
    type: int
    default: 60
attributes:
  check_mode:
    support: full
    description: Says what would change; without a cluster, nothing is known and nothing is said.
  diff_mode:
    support: full
    description: Shows the labels and taints of each node before and after.
"""

EXAMPLES = r"""
- name: Label a node
  kubesmith.cluster.kube_nodes:
    nodes:
      w1: {labels: {node-role.kubernetes.io/worker: ""}, taints: ["dedicated=gpu:NoSchedule"]}
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
  sample: ["label w1 tier=front"]
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import files, kubeadm
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError


def lacking_labels(node: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, str]:
    """Return the wanted labels that a node has not, or has with another value."""
    seen = node["metadata"].get("labels", {})
    return {key: str(value) for key, value in wanted.items() if seen.get(key) != str(value)}


def lacking_taints(node: Mapping[str, Any], wanted: Sequence[str]) -> list[str]:
    """Return the wanted taints (``key=value:Effect``) that a node has not."""
    seen = {(t["key"], t.get("value", ""), t["effect"]) for t in node["spec"].get("taints", ())}
    parsed = {text: kubeadm.parse_taint(text) for text in wanted}
    return [text for text, t in parsed.items() if (t["key"], t.get("value", ""), t["effect"]) not in seen]


def commands(name: str, labels: Mapping[str, str], taints: Sequence[str]) -> list[list[str]]:
    """Return kubectl's arguments that give a node its labels and taints."""
    found = []
    if labels:
        found.append(["label", "node", name, "--overwrite", *(f"{key}={value}" for key, value in labels.items())])
    if taints:
        found.append(["taint", "node", name, "--overwrite", *taints])
    return found


def change(arguments: Sequence[str]) -> None:
    """Run one command; CommandError when it fails."""
    result = kubeadm.kubectl(*arguments)
    if result.rc != 0:
        raise CommandError(f"kubectl {' '.join(arguments[:3])}: {kubeadm.last_line(result.said)}")


def known_nodes(wanted: Mapping[str, Any], deadline: float, check_mode: bool) -> dict[str, Any]:
    """Return the cluster's nodes by name, once it has all that are wanted; CommandError if it never does.

    A kubelet registers its node a moment after kubeadm has ended.
    """
    while True:
        result = kubeadm.kubectl("get", "nodes", "--output=json")
        items = json.loads(result.out)["items"] if result.rc == 0 else []
        known = {item["metadata"]["name"]: item for item in items}
        unknown = sorted(set(wanted) - set(known))
        if not unknown or check_mode:
            return known
        if time.monotonic() > deadline:
            said = kubeadm.last_line(result.said) if result.rc else f"it has {', '.join(sorted(known))}"
            raise CommandError(f"the cluster has no node {', '.join(unknown)}: {said}")
        time.sleep(1)


def work(wanted: Mapping[str, Any], timeout: int, check_mode: bool) -> dict[str, Any]:
    """Correct the nodes; return the module's answer."""
    known = known_nodes(wanted, time.monotonic() + timeout, check_mode)
    actions, diff = [], []
    for name in sorted(set(wanted) & set(known)):
        labels = lacking_labels(known[name], wanted[name].get("labels") or {})
        taints = lacking_taints(known[name], wanted[name].get("taints") or [])
        for arguments in commands(name, labels, taints):
            actions.append(f"{arguments[0]} {name} {' '.join(arguments[4:])}")
            diff.append(files.difference(f"{arguments[0]}s of node {name}", "", "\n".join(arguments[4:]) + "\n"))
            if not check_mode:
                change(arguments)
    return {"changed": bool(actions), "actions": actions, "diff": diff}


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={"nodes": {"type": "dict", "required": True}, "timeout": {"type": "int", "default": 60}},
        supports_check_mode=True,
    )
    try:
        module.exit_json(**work(module.params["nodes"], module.params["timeout"], module.check_mode))
    except CommandError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
