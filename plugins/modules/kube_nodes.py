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
    description: Shows what is done.
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

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import MERGE, Api, ApiError
from ansible_collections.kubesmith.cluster.plugins.module_utils.kubeadm import parse_taint

ATTEMPTS = 5


def lacking_labels(node: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, str]:
    """Return the wanted labels that a node has not, or has with another value."""
    seen = node["metadata"].get("labels", {})
    return {key: str(value) for key, value in wanted.items() if seen.get(key) != str(value)}


def lacking_taints(node: Mapping[str, Any], wanted: Sequence[str]) -> list[str]:
    """Return the wanted taints (``key=value:Effect``) that a node has not."""
    seen = {(t["key"], t.get("value", ""), t["effect"]) for t in node["spec"].get("taints", ())}
    parsed = {text: parse_taint(text) for text in wanted}
    return [text for text, t in parsed.items() if (t["key"], t.get("value", ""), t["effect"]) not in seen]


def patch(node: Mapping[str, Any], labels: Mapping[str, str], taints: Sequence[str]) -> dict[str, Any]:
    """Return the patch that gives a node its labels and taints.

    Taints are one list, which a controller may change meanwhile: the version makes the API server notice.
    """
    change: dict[str, Any] = {"metadata": {"labels": dict(labels)}}
    if taints:
        change["metadata"]["resourceVersion"] = node["metadata"]["resourceVersion"]
        change["spec"] = {"taints": [*node["spec"].get("taints", ()), *map(parse_taint, taints)]}
    return change


def correct(api: Api, name: str, wanted: Mapping[str, Any], check_mode: bool) -> list[str]:
    """Give one node its labels and taints; return what was done. A conflict is looked at anew."""
    path = f"/api/v1/nodes/{name}"
    for attempt in range(ATTEMPTS):
        node = api.get(path)
        labels = lacking_labels(node, wanted.get("labels") or {})
        taints = lacking_taints(node, wanted.get("taints") or [])
        try:
            if (labels or taints) and not check_mode:
                api.request("PATCH", path, patch(node, labels, taints), MERGE)
            break
        except ApiError as error:
            if error.status != 409 or attempt == ATTEMPTS - 1:
                raise
    done = [f"label {name} {key}={value}" for key, value in labels.items()]
    return done + [f"taint {name} {taint}" for taint in taints]


def known_nodes(api: Api, wanted: Mapping[str, Any], deadline: float, check_mode: bool) -> list[str]:
    """Return which of the wanted nodes the cluster has, once it has all; ApiError if it never does.

    A kubelet registers its node a moment after kubeadm has ended.
    """
    while True:
        names = {item["metadata"]["name"] for item in api.get("/api/v1/nodes")["items"]}
        unknown = sorted(set(wanted) - names)
        if not unknown or check_mode:
            return sorted(names & set(wanted))
        if time.monotonic() > deadline:
            raise ApiError(f"the cluster has no node {', '.join(unknown)}; it has {', '.join(sorted(names))}")
        time.sleep(1)


def work(api: Api, wanted: Mapping[str, Any], timeout: int, check_mode: bool) -> dict[str, Any]:
    """Correct the nodes; return the module's answer."""
    names = known_nodes(api, wanted, time.monotonic() + timeout, check_mode)
    actions = [action for name in names for action in correct(api, name, wanted[name], check_mode)]
    shown = {"prepared": "".join(f"{line}\n" for line in actions)}
    return {"changed": bool(actions), "actions": actions, "diff": shown}


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={"nodes": {"type": "dict", "required": True}, "timeout": {"type": "int", "default": 60}},
        supports_check_mode=True,
    )
    try:
        module.exit_json(**work(Api(), module.params["nodes"], module.params["timeout"], module.check_mode))
    except ApiError as error:
        if module.check_mode and error.status == 0:
            module.exit_json(changed=False, actions=[])
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
