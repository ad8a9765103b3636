#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: kube_drain
short_description: Empty a node of its pods, or give it back
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Cordons a node and evicts its pods, as disruption budgets allow; pods of DaemonSets and static pods stay. Runs on a
    control plane.
  - A node that somebody else had cordoned is drained too, and is not uncordoned afterwards. What is cordoned here is
    marked by the annotation C(kubesmith.io/cordoned), so that any later run can give it back.
  - A node that cannot be drained in time is given back before the module fails.
options:
  node:
    description: Name of the node.
    type: str
    required: true
  state:
    description:
      - V(drained) has it cordoned and empty.
      - V(uncordoned) takes back a cordon that this module made, and no other.
    type: str
    choices: [drained, uncordoned]
    default: drained
  reason:
    description: Why, as the annotation says it.
    type: str
    default: drain
  force:
    description:
      - Also delete pods that nothing makes anew, and in the end those whose eviction a disruption budget refuses until
        half of O(timeout) has passed.
    type: bool
    default: false
  missing_ok:
    description: Whether a node that the cluster does not know counts as done.
    type: bool
    default: false
  timeout:
    description: Seconds that pods may take to go.
    type: int
    default: 300
attributes:
  check_mode:
    support: full
    description: Says which pods would leave.
  diff_mode:
    support: none
    description: There is no content to compare.
"""

EXAMPLES = r"""
- name: Empty a worker before its kubelet is replaced
  kubesmith.cluster.kube_drain:
    node: w1
  delegate_to: cp1

- name: Give it back
  kubesmith.cluster.kube_drain:
    node: w1
    state: uncordoned
  delegate_to: cp1
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
  sample: ["cordon w1", "evict default/web-5d"]
waited:
  description: Seconds until the node was empty.
  type: float
  returned: always
"""

import time
import urllib.parse
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import drain
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import MERGE, Api, ApiError

INTERVAL = 0.5
PATIENCE = 30  # seconds that an API server may be away, as while it is upgraded itself
TOO_MANY = 429  # the API server's answer where a disruption budget would be broken


class Node:
    """One node, and what is to happen with it."""

    def __init__(self, wanted: dict[str, Any], check_mode: bool) -> None:
        self.name = wanted["node"]
        self.wanted = wanted
        self.check_mode = check_mode
        self.path = f"/api/v1/nodes/{self.name}"
        self.actions: list[str] = []
        self.refused: dict[str, str] = {}
        self.start = time.monotonic()

    def request(self, method: str, path: str, body: Any = None, content: str = "application/json") -> Any:
        """Ask the API server, again while it does not answer at all."""
        began = time.monotonic()
        while True:
            try:
                return Api(timeout=15).request(method, path, body, content)
            except ApiError as error:
                if error.status != 0 or time.monotonic() - began > PATIENCE:
                    raise
            time.sleep(1)

    def pods(self) -> list[drain.Object]:
        """Return the node's pods that have to leave and are still there."""
        selector = urllib.parse.urlencode({"fieldSelector": f"spec.nodeName={self.name}"})
        return drain.leaving(self.request("GET", f"/api/v1/pods?{selector}")["items"])

    def mark(self, cordoned: bool) -> None:
        """Cordon the node, or take that back, together with the annotation that says who did it."""
        reason = f"{self.wanted['reason']} since {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}"
        body = {
            "metadata": {"annotations": {drain.CORDONED: reason if cordoned else None}},
            "spec": {"unschedulable": True if cordoned else None},
        }
        self.actions.append(f"{'' if cordoned else 'un'}cordon {self.name}")
        if not self.check_mode:
            self.request("PATCH", self.path, body, MERGE)

    def uncordon(self, found: dict[str, Any]) -> None:
        """Give the node back if it was cordoned here."""
        if drain.CORDONED in found["metadata"].get("annotations", {}):
            self.mark(False)

    def take(self, found: dict[str, Any]) -> None:
        """Cordon and empty the node; ApiError, and the node is given back, if that cannot be."""
        pods = self.pods()
        lost = drain.lost(pods)
        if lost and not self.wanted["force"]:
            raise ApiError(
                f"{self.name} is not drained: nothing would make {', '.join(lost)} anew elsewhere; "
                "delete them, or let them be deleted by force"
            )
        if not found["spec"].get("unschedulable"):
            self.mark(True)
        if self.check_mode:
            self.actions += [f"evict {drain.name(pod)}" for pod in pods]
            return
        try:
            self.empty()
        except BaseException:
            self.uncordon(self.request("GET", self.path))
            raise

    def empty(self) -> None:
        """Evict what is to leave until nothing is left."""
        while left := self.pods():
            if not self.request("GET", self.path)["spec"].get("unschedulable"):
                raise ApiError(f"{self.name} was uncordoned while it was being emptied: nothing more is evicted")
            waited = time.monotonic() - self.start
            if waited > self.wanted["timeout"]:
                names = [drain.name(pod) for pod in left]
                why = [f"{name}: {self.refused.get(name, 'it has not ended')}" for name in names]
                raise ApiError(f"{self.name} was not empty after {self.wanted['timeout']} s; " + "; ".join(why))
            by_force = self.wanted["force"] and waited > self.wanted["timeout"] / 2
            for pod in left:
                if "deletionTimestamp" not in pod["metadata"]:
                    self.evict(pod, by_force)
            time.sleep(INTERVAL)

    def evict(self, pod: drain.Object, by_force: bool) -> None:
        """Ask for the eviction of one pod, or delete it; a refusal is kept for the failure's message."""
        space, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        path = f"/api/v1/namespaces/{space}/pods/{name}"
        only = {"preconditions": {"uid": pod["metadata"]["uid"]}}  # a StatefulSet's next pod has the same name
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": space}}
        try:
            if by_force:
                self.request("DELETE", path, only)
            else:
                self.request("POST", f"{path}/eviction", {**body, "deleteOptions": only})
        except ApiError as error:
            if error.status in (404, 409):  # gone, or another one by now
                return
            if error.status != TOO_MANY:
                raise
            self.refused[drain.name(pod)] = str(error)
        else:
            self.actions.append(f"{'delete' if by_force else 'evict'} {drain.name(pod)}")


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "node": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["drained", "uncordoned"], "default": "drained"},
            "reason": {"type": "str", "default": "drain"},
            "force": {"type": "bool", "default": False},
            "missing_ok": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    node = Node(module.params, module.check_mode)
    try:
        found = node.request("GET", node.path)
        (node.take if module.params["state"] == "drained" else node.uncordon)(found)
    except ApiError as error:
        if error.status != 404 or not module.params["missing_ok"]:
            module.fail_json(msg=str(error), actions=node.actions)
    waited = round(time.monotonic() - node.start, 1)
    module.exit_json(changed=bool(node.actions), actions=node.actions, waited=waited)


if __name__ == "__main__":
    main()
