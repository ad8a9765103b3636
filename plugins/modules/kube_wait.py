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

import json
import time
from collections.abc import Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import kubeadm, workloads

PODS_EXPLAINED = 3


def look(nodes: Sequence[str], namespaces: Sequence[str]) -> tuple[list[workloads.Item], list[str]]:
    """Return (objects, what is not ready)."""
    kinds = "nodes,pods,daemonsets,deployments" if namespaces else "nodes"
    result = kubeadm.kubectl("get", kinds, "--all-namespaces", "--output=json", "--request-timeout=10s")
    if result.rc != 0:
        return [], [f"the API server does not answer: {kubeadm.last_line(result.said)}"]
    objects = json.loads(result.out)["items"]
    return objects, workloads.unready(objects, nodes, namespaces)


def evidence(objects: Sequence[workloads.Item], namespaces: Sequence[str]) -> str:
    """Return what the cluster says about the first pods that are not ready."""
    pods = [item for item in objects if item["kind"] == "Pod" and item["metadata"]["namespace"] in namespaces]
    bad = [item for item in pods if workloads.pod_reason(item)]
    return "\n".join(pod_evidence(item) for item in bad[:PODS_EXPLAINED])


def pod_evidence(item: workloads.Item) -> str:
    """Return the last events and log lines of a pod."""
    namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
    fields = "--output=custom-columns=REASON:.reason,MESSAGE:.message"
    selector = f"--field-selector=involvedObject.name={name}"
    events = kubeadm.kubectl(
        "get", "events", "-n", namespace, selector, "--sort-by=.lastTimestamp", "--no-headers", fields
    )
    text = f"--- {namespace}/{name}, events:\n" + "\n".join(events.said.splitlines()[-5:])
    container = workloads.failing_container(item)
    if container:
        log = kubeadm.kubectl("logs", "-n", namespace, name, "-c", container, "--tail=8")
        text += f"\n--- {namespace}/{name}, log of {container}:\n{log.said}"
    return text


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "nodes": {"type": "list", "elements": "str", "default": []},
            "namespaces": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    nodes, namespaces, timeout = (module.params[key] for key in ("nodes", "namespaces", "timeout"))
    start = time.monotonic()
    while True:
        objects, unready = look(nodes, namespaces)
        waited = round(time.monotonic() - start, 1)
        if not unready or module.check_mode:
            module.exit_json(changed=False, waited=waited, unready=unready)
        if waited > timeout:
            said = "\n".join(f"- {reason}" for reason in unready) + "\n" + evidence(objects, namespaces)
            module.fail_json(msg=f"not ready after {timeout} s:\n{said}".rstrip(), waited=waited, unready=unready)
        time.sleep(1)


if __name__ == "__main__":
    main()
