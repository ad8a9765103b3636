#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: kube_apply
short_description: Bring objects into the cluster
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Applies objects by server-side apply, in the order in which they are given. Runs on a control plane.
  - An object that is as wanted is left as it is. Objects that are no longer given stay.
options:
  objects:
    description: The objects, as a manifest has them.
    type: list
    elements: dict
    required: true
  field_manager:
    description: Name under which the API server notes the fields as ours.
    type: str
    default: kubesmith
attributes:
  check_mode:
    support: full
    description: Asks the API server what would change; without a cluster everything would.
  diff_mode:
    support: full
    description: Shows each object that changes before and after, without what the server itself adds.
"""

EXAMPLES = r"""
- name: Install the network plug-in
  kubesmith.cluster.kube_apply:
    objects: "{{ lookup('ansible.builtin.file', 'calico.yml') | from_yaml_all }}"
"""

RETURN = r"""
applied:
  description: Objects that changed, or in check mode would, as kind and name.
  type: list
  elements: str
  returned: always
"""

import json
import urllib.parse
from collections.abc import Sequence
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import files
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import APPLY, Api, ApiError, Object, Paths

SERVERS_OWN = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp")


def label(item: Object) -> str:
    """Return kind, namespace and name of an object."""
    metadata = item["metadata"]
    return f"{item['kind']} {metadata.get('namespace', '')}/{metadata['name']}".replace(" /", " ")


def essence(item: Optional[Object]) -> Optional[str]:
    """Return an object as text, without what the API server itself keeps in it."""
    if item is None:
        return None
    metadata = {key: value for key, value in item["metadata"].items() if key not in SERVERS_OWN}
    wanted = {key: value for key, value in item.items() if key != "status"}
    return json.dumps({**wanted, "metadata": metadata}, indent=2, sort_keys=True) + "\n"


def apply(api: Api, paths: Paths, item: Object, query: str) -> tuple[Optional[str], Optional[str]]:
    """Apply one object; return its essence before and after."""
    path = paths.of(item)
    before = api.find(path)
    return essence(before), essence(api.request("PATCH", f"{path}?{query}", item, APPLY))


def work(api: Api, objects: Sequence[Object], manager: str, check_mode: bool) -> dict[str, Any]:
    """Apply the objects; return the module's answer."""
    options = {"fieldManager": manager, "force": "true"}
    if check_mode:
        options["dryRun"] = "All"
    query = urllib.parse.urlencode(options)
    paths = Paths(api)
    diff, applied = [], []
    for item in objects:
        try:
            before, after = apply(api, paths, item, query)
        except ApiError as error:
            if not (check_mode and error.status == 404):
                raise ApiError(f"{label(item)}: {error}", error.status) from error
            before, after = None, essence(item)  # its kind or namespace would be made by an object before it
        if before != after:
            applied.append(label(item))
            diff.append(files.difference(label(item), before, after))
    return {"changed": bool(applied), "applied": applied, "diff": diff}


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "objects": {"type": "list", "elements": "dict", "required": True},
            "field_manager": {"type": "str", "default": "kubesmith"},
        },
        supports_check_mode=True,
    )
    objects = [item for item in module.params["objects"] if item]
    try:
        module.exit_json(**work(Api(), objects, module.params["field_manager"], module.check_mode))
    except ApiError as error:
        if module.check_mode and error.status == 0:
            names = [label(item) for item in objects]
            module.exit_json(changed=True, applied=names, diff={"prepared": "there is no cluster yet\n"})
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
