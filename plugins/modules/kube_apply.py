#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: kube_apply
short_description: Bring a manifest's objects into the cluster
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Compares by C(kubectl diff --server-side) and applies only what differs. Runs on a control plane.
  - Objects that are no longer in the manifest stay.
options:
  manifest:
    description: YAML documents.
    type: str
    required: true
  field_manager:
    description: Name under which the API server notes the fields as ours.
    type: str
    default: kubesmith
  timeout:
    description: Seconds that each call of kubectl may take.
    type: int
    default: 120
attributes:
  check_mode:
    support: full
    description: Compares only; without a cluster everything would change.
  diff_mode:
    support: full
    description: Shows kubectl's own difference.
"""

EXAMPLES = r"""
- name: Install the network plug-in
  kubesmith.cluster.kube_apply:
    manifest: "{{ lookup('ansible.builtin.file', 'calico.yml') }}"
"""

RETURN = r"""
applied:
  description: What kubectl applied.
  type: list
  elements: str
  returned: when something was applied
"""

from collections.abc import Sequence

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import kubeadm
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError


def none_exist(manifest: str, timeout: int) -> bool:
    """Tell whether the cluster has none of the manifest's objects; comparing each with nothing would take seconds."""
    result = kubeadm.kubectl(
        "get", "--filename=-", "--ignore-not-found", "--output=name", stdin=manifest, timeout=timeout
    )
    return result.rc == 0 and not result.out.strip()


def difference(manifest: str, options: Sequence[str], timeout: int) -> str:
    """Return kubectl's difference, an empty string where nothing differs; CommandError if it cannot tell."""
    result = kubeadm.kubectl("diff", *options, "--filename=-", stdin=manifest, timeout=timeout)
    if result.rc == 0:
        return ""
    if result.rc == 1 and result.out.strip():
        return result.out
    raise CommandError(f"kubectl diff: {result.err.strip() or result.out.strip()}")


def apply(manifest: str, options: Sequence[str], timeout: int) -> list[str]:
    """Apply the manifest; return what kubectl said, a line for each object."""
    result = kubeadm.kubectl("apply", *options, "--filename=-", stdin=manifest, timeout=timeout)
    if result.rc != 0:
        raise CommandError(f"kubectl apply: {result.err.strip() or result.out.strip()}")
    return result.out.strip().splitlines()


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "manifest": {"type": "str", "required": True},
            "field_manager": {"type": "str", "default": "kubesmith"},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    manifest, timeout = module.params["manifest"], module.params["timeout"]
    options = ["--server-side", "--force-conflicts", f"--field-manager={module.params['field_manager']}"]
    if module.check_mode and kubeadm.api_error():
        module.exit_json(
            changed=True, diff={"prepared": "there is no cluster yet: the whole manifest would be applied\n"}
        )
    try:
        if none_exist(manifest, timeout):
            seen = "none of the objects exists\n"
        else:
            seen = difference(manifest, options, timeout)
        if not seen or module.check_mode:
            module.exit_json(changed=bool(seen), diff={"prepared": seen})
        applied = apply(manifest, options, timeout)
    except CommandError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True, applied=applied, diff={"prepared": seen})


if __name__ == "__main__":
    main()
