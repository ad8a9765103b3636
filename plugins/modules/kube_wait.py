#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: kube_wait
short_description: Wait until nodes and workloads are ready
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Waits until the nodes are Ready and every DaemonSet, Deployment and pod of some namespaces is up.
  - When the time is over, the message tells which pod is not ready, why, and what its events and its log say last.
  - Runs on a control plane.
options:
  nodes:
    description: Names of nodes that must be Ready.
    type: list
    elements: str
    default: []
  namespaces:
    description: Namespaces whose workloads must be up.
    type: list
    elements: str
    default: []
  version:
    description: Kubelet version that the O(nodes) must tell, such as V(1.37.2); any by default.
    type: str
    default: ""
  local:
    description:
      - Of O(namespaces), wait only for the pods on O(nodes), and ask the API server for nothing else.
      - What is elsewhere, and how much of it there is, then plays no part.
    type: bool
    default: false
  timeout:
    description: Seconds to wait.
    type: int
    default: 300
attributes:
  check_mode:
    support: full
    description: Looks once and does not wait.
  diff_mode:
    support: none
    description: It only reads.
"""

EXAMPLES = r"""
- name: Wait for the cluster
  kubesmith.cluster.kube_wait:
    nodes: [cp1, w1, w2]
    namespaces: [kube-system]
"""

RETURN = r"""
waited:
  description: Seconds until everything was ready.
  type: float
  returned: always
unready:
  description: What is not ready.
  type: list
  elements: str
  returned: always
"""

import time
import urllib.parse
from collections.abc import Sequence
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import workloads
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import Api, ApiError, listed

INTERVAL = 0.5  # seconds
PODS_EXPLAINED = 3
APPS = "/apis/apps/v1/namespaces/{}"
KINDS = ("/api/v1/namespaces/{}/pods", f"{APPS}/daemonsets", f"{APPS}/deployments")


class Cluster:
    """What is to be ready, seen through one connection."""

    def __init__(
        self, nodes: Sequence[str], namespaces: Sequence[str], version: str = "", *, local: bool = False
    ) -> None:
        self.nodes = nodes
        self.version = version
        self.paths = ["/api/v1/nodes", *(kind.format(name) for name in namespaces for kind in KINDS)]
        if local:
            fields = [f"/api/v1/nodes?fieldSelector=metadata.name%3D{node}" for node in nodes]
            pods = [f"{KINDS[0].format(name)}?fieldSelector=spec.nodeName%3D" for name in namespaces]
            self.paths = [*fields, *(path + node for path in pods for node in nodes)]
        self.namespaces = namespaces
        self.objects: list[workloads.Item] = []
        self._api: Optional[Api] = None

    def get(self, path: str) -> Any:
        """Return an answer of the API server; the client is made once the server's kubeconfig is there."""
        self._api = self._api or Api(timeout=10)
        return self._api.get(path)

    def unready(self) -> list[str]:
        """Look once; return what is not ready."""
        try:
            self.objects = [item for path in self.paths for item in listed(self.get(path))]
        except ApiError as error:
            return [str(error)]
        other = workloads.of_other_version(self.objects, self.nodes, self.version) if self.version else []
        return other + workloads.unready(self.objects, self.nodes, self.namespaces)

    def evidence(self) -> str:
        """Return what the cluster says about the first pods that were not ready."""
        bad = [item for item in self.objects if item["kind"] == "Pod" and workloads.pod_reason(item)]
        return "\n".join(self._pod_evidence(item) for item in bad[:PODS_EXPLAINED])

    def _pod_evidence(self, item: workloads.Item) -> str:
        """Return the last events and log lines of a pod."""
        namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
        selector = urllib.parse.urlencode({"fieldSelector": f"involvedObject.name={name}"})
        text = f"--- {namespace}/{name}, events:\n" + self._ask(f"/api/v1/namespaces/{namespace}/events?{selector}")
        container = workloads.failing_container(item)
        if container:
            log = self._ask(f"/api/v1/namespaces/{namespace}/pods/{name}/log?container={container}&tailLines=8")
            text += f"\n--- {namespace}/{name}, log of {container}:\n{log}"
        return text

    def _ask(self, path: str) -> str:
        """Return a log, or a list of events as lines; what went wrong where that cannot be had."""
        try:
            answer = self.get(path)
        except ApiError as error:
            return str(error)
        if not isinstance(answer, dict) or "items" not in answer:
            return str(answer).strip()
        return "\n".join(f"{event.get('reason')}: {event.get('message')}" for event in answer["items"][-5:])


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "nodes": {"type": "list", "elements": "str", "default": []},
            "namespaces": {"type": "list", "elements": "str", "default": []},
            "version": {"type": "str", "default": ""},
            "local": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    timeout, start = module.params["timeout"], time.monotonic()
    wanted = module.params
    cluster = Cluster(wanted["nodes"], wanted["namespaces"], wanted["version"], local=wanted["local"])
    while True:
        unready = cluster.unready()
        waited = round(time.monotonic() - start, 1)
        if not unready or module.check_mode:
            module.exit_json(changed=False, waited=waited, unready=unready)
        if waited > timeout:
            said = "\n".join(f"- {reason}" for reason in unready) + "\n" + cluster.evidence()
            module.fail_json(msg=f"not ready after {timeout} s:\n{said}".rstrip(), waited=waited, unready=unready)
        time.sleep(INTERVAL)


if __name__ == "__main__":
    main()
