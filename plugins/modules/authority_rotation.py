#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: authority_rotation
short_description: One step of the way to new CAs, on one node
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Each step is done on every node that it concerns before the next, see C(playbooks/certs_rotate.yml).
  - The CAs of Kubernetes, of etcd and of the front proxy are rotated together; the key of service accounts is none.
options:
  step:
    description:
      - V(look) says how far a rotation is. V(begin) keeps the old CAs and makes new ones; O(pairs) are taken instead.
      - V(put) brings a control plane to O(stage) and starts its programs anew. V(trust) has a worker trust O(bundle).
      - V(publish) tells pods and those who join, and starts the system's pods anew.
      - V(certificates) has kubeadm's certificates signed anew, V(kubelet) the kubelet's, by O(token).
      - V(finish) forgets the CAs that were dropped.
    type: str
    choices: [look, begin, put, trust, publish, certificates, kubelet, finish]
    required: true
  stage:
    description: For V(put), whose certificates are trusted, and who signs.
    type: str
    choices: [trust, issue, drop, back]
  pairs:
    description: For V(begin), the CAs that another control plane shared.
    type: dict
  share:
    description: For V(begin), return the CAs with their keys for the other control planes.
    type: bool
    default: false
  bundle:
    description: For V(trust), the certificates to trust.
    type: str
  token:
    description: For V(kubelet), a bootstrap token.
    type: str
  timeout:
    description: Seconds that each program may take until it answers.
    type: int
    default: 180
attributes:
  check_mode:
    support: full
    description: Says that the step would be done.
  diff_mode:
    support: none
    description: Keys are not shown.
"""

EXAMPLES = r"""
- name: Trust the new CA beside the old
  kubesmith.cluster.authority_rotation:
    step: put
    stage: trust
"""

RETURN = r"""
stage:
  description: How far a rotation is on a control plane, V(none), V(trust), V(issue) or V(drop).
  type: str
  returned: always
bundle:
  description: The certificates that are trusted.
  type: str
  returned: always
pairs:
  description: The CAs with their keys.
  type: dict
  returned: with O(share)
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import files, renewal, rotation
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import ApiError
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, lock


def work(wanted: dict[str, Any], handle: int) -> None:
    """Carry out the step."""
    step, timeout = wanted["step"], wanted["timeout"]
    if step == "begin" and wanted["pairs"]:
        rotation.take(wanted["pairs"])
    elif step == "begin":
        rotation.begin()
    elif step == "put":
        rotation.put(wanted["stage"])
        rotation.restart(timeout)
        rotation.restart_kubelet(timeout)
    elif step == "trust":
        rotation.trust(wanted["bundle"])
        rotation.restart_kubelet(timeout)
    elif step == "publish":
        rotation.publish(timeout)
    elif step == "certificates":
        renewal.control_plane(False, timeout, handle)
    elif step == "kubelet":
        rotation.reissue_kubelet(wanted["token"], timeout)
    elif step == "finish":
        rotation.finish()


def main() -> None:
    """Entry of the module."""
    steps = ["look", "begin", "put", "trust", "publish", "certificates", "kubelet", "finish"]
    module = AnsibleModule(
        argument_spec={
            "step": {"type": "str", "choices": steps, "required": True},
            "stage": {"type": "str", "choices": ["trust", "issue", "drop", "back"]},
            "pairs": {"type": "dict", "no_log": True},
            "share": {"type": "bool", "default": False},
            "bundle": {"type": "str"},
            "token": {"type": "str", "no_log": True},
            "timeout": {"type": "int", "default": 180},
        },
        required_if=[("step", "put", ("stage",)), ("step", "trust", ("bundle",)), ("step", "kubelet", ("token",))],
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        if wanted["step"] != "look" and not module.check_mode:
            with lock("kubeadm", wanted["timeout"]) as handle:
                work(wanted, handle)
        answer: dict[str, Any] = {"stage": rotation.stage(), "bundle": files.read(rotation.PKI / "ca.crt") or ""}
        if wanted["share"] and not module.check_mode:
            answer["pairs"] = rotation.share()
    except (CommandError, ApiError, OSError) as error:
        module.fail_json(msg=f"{wanted['step']}: {error}")
    module.exit_json(changed=wanted["step"] != "look", **answer)


if __name__ == "__main__":
    main()
