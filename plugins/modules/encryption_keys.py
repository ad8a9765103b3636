#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: encryption_keys
short_description: The keys by which secrets are encrypted in etcd
version_added: 0.2.0
author: kubesmith maintainers (@kubesmith)
description:
  - Looks at the keys of a control plane, and takes one step of their rotation. Runs on a control plane.
  - A step restarts the API server of this node if it was not started with the file as it is by now, and waits for it.
  - Each step may be repeated, so that a rotation that was interrupted goes on where it was.
options:
  state:
    description:
      - V(look) changes nothing.
      - V(new) makes a new key that reads, unless there are two already.
      - V(present) takes O(key), which another control plane made.
      - V(first) has the key O(name) write; V(only) removes all others.
      - V(rewritten) has the API server write everything anew that another key wrote, until nothing of that is in etcd.
    type: str
    choices: [look, new, present, first, rewritten, only]
    default: look
  key:
    description: A key, for V(present).
    type: dict
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      secret:
        description: The key itself, as base64.
        type: str
        required: true
  name:
    description: Name of a key, for V(first) and V(only).
    type: str
  reveal:
    description: Whether to return the newest key itself. A task that does must have C(no_log).
    type: bool
    default: false
  count:
    description: Whether to count in etcd which key wrote how much.
    type: bool
    default: false
  timeout:
    description: Seconds that the API server may take to start, and that writing anew may take.
    type: int
    default: 180
attributes:
  check_mode:
    support: full
    description: Says what would be done.
  diff_mode:
    support: none
    description: Keys are never shown.
"""

EXAMPLES = r"""
- name: See which keys there are, and which of them wrote what
  kubesmith.cluster.encryption_keys:
    count: true

- name: Encrypt by the new key from now on
  kubesmith.cluster.encryption_keys:
    state: first
    name: key2
"""

RETURN = r"""
known:
  description: C(name) and C(digest) of each key, the one that writes first.
  type: list
  elements: dict
  returned: always
writer:
  description: Provider and name of the key that writes.
  type: str
  returned: always
newest:
  description: Name of the newest key.
  type: str
  returned: always
in_use:
  description: Whether the API server of this node was started with these keys and is ready.
  type: bool
  returned: always
stored:
  description: How many objects each key has written in etcd; V(plain) are those that are not encrypted.
  type: dict
  returned: when O(count) is true
key:
  description: The newest key itself.
  type: dict
  returned: when O(reveal) is true
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
"""

import time
from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import encryption
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import ApiError
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, lock


def changed(config: encryption.Config, wanted: Mapping[str, Any]) -> encryption.Config:
    """Return the configuration after the wanted step, which may be the same."""
    state = wanted["state"]
    if state == "new":
        single = len(encryption.keys(config)) == 1
        return encryption.present(config, encryption.made(config)) if single else config
    if state == "present":
        return encryption.present(config, wanted["key"])
    if state == "first":
        return encryption.first(config, wanted["name"])
    return encryption.only(config, wanted["name"]) if state == "only" else config


def keep_readable(config: encryption.Config, after: encryption.Config) -> None:
    """Raise CommandError if a key would go that something in etcd needs."""
    left = {f"{encryption.provider(after)}:{key['name']}" for key in encryption.keys(after)}
    lost = {by: count for by, count in encryption.stored(config).items() if by not in {*left, "plain"}}
    if lost:
        raise CommandError(f"a key is needed yet, and stays: {', '.join(f'{by} wrote {lost[by]}' for by in lost)}")


def step(wanted: Mapping[str, Any], check_mode: bool) -> dict[str, Any]:
    """Take one step; return the module's answer."""
    place = encryption.path()
    config = encryption.load(place)
    after = changed(config, wanted)
    actions = []
    if after != config:
        actions.append(f"keys: {names(config)} → {names(after)}")
        if wanted["state"] == "only":
            keep_readable(config, after)
        if not check_mode:
            encryption.save(place, after)
    if wanted["state"] != "look" and (after != config or not encryption.in_use(place)):
        actions.append("restart kube-apiserver")
        if not check_mode:
            encryption.restart(place, wanted["timeout"])
    if wanted["state"] == "rewritten":
        actions += rewritten(after, wanted["timeout"], check_mode)
    return {
        "changed": bool(actions),
        "actions": actions,
        "known": encryption.told(after),
        "writer": encryption.writer(after),
        "newest": encryption.newest(after)["name"],
        "in_use": encryption.in_use(place),
        **({"stored": encryption.stored(after)} if wanted["count"] else {}),
        **({"key": encryption.newest(after)} if wanted["reveal"] else {}),
    }


def names(config: encryption.Config) -> str:
    """Return the names of the keys in order."""
    return ", ".join(key["name"] for key in encryption.keys(config))


def rewritten(config: encryption.Config, timeout: float, check_mode: bool) -> list[str]:
    """Have everything written by the first key; CommandError for what still is not after ``timeout`` seconds."""
    rows = encryption.outdated(config)
    if not rows or check_mode:
        return [f"write {len(rows)} object(s) anew"] if rows else []
    count, ends = len(rows), time.monotonic() + timeout
    while rows:
        if time.monotonic() > ends:
            raise CommandError(f"{len(rows)} object(s) are still written by another key, such as {'/'.join(rows[0])}")
        encryption.rewrite(rows)
        rows = encryption.outdated(config)
    return [f"write {count} object(s) anew"]


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "choices": ["look", "new", "present", "first", "rewritten", "only"],
                "default": "look",
            },
            "key": {
                "type": "dict",
                "no_log": False,  # of its name; the secret is hidden
                "options": {
                    "name": {"type": "str", "required": True},
                    "secret": {"type": "str", "required": True, "no_log": True},
                },
            },
            "name": {"type": "str"},
            "reveal": {"type": "bool", "default": False},
            "count": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 180},
        },
        required_if=[("state", "present", ["key"]), ("state", "first", ["name"]), ("state", "only", ["name"])],
        supports_check_mode=True,
    )
    only_look = module.check_mode or module.params["state"] == "look"
    try:
        with lock("kubeadm", module.params["timeout"], only_look):
            module.exit_json(**step(module.params, module.check_mode))
    except (CommandError, ApiError, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
