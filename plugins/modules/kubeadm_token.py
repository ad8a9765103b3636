#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_token
short_description: A short-lived token for joining a cluster
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Makes a random bootstrap token, or revokes those that were made here. Runs on a control plane.
  - The answer holds the token, so give the task C(no_log).
options:
  state:
    description: V(present) makes a new token each time; V(absent) revokes every token with O(description).
    type: str
    choices: [present, absent]
    default: present
  ttl:
    description: How long the token is valid, as a Go duration.
    type: str
    default: 15m0s
  description:
    description: Text by which tokens of ours are known.
    type: str
    default: kubesmith
attributes:
  check_mode:
    support: full
    description: Makes and revokes nothing.
  diff_mode:
    support: none
    description: A secret is not shown.
"""

EXAMPLES = r"""
- name: Make a token
  kubesmith.cluster.kubeadm_token:
  register: token
  no_log: true

- name: Revoke it
  kubesmith.cluster.kubeadm_token:
    state: absent
"""

RETURN = r"""
token:
  description: The token. Secret.
  type: str
  returned: when a token was made
ca_cert_hashes:
  description: Pins of the cluster's CA, as kubeadm wants them.
  type: list
  elements: str
  returned: when a token was made
endpoint:
  description: Where the API server is joined, host and port.
  type: str
  returned: when a token was made
revoked:
  description: How many tokens were revoked, or in check mode would be.
  type: int
  returned: when O(state=absent)
"""

import json
import re
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import kubeadm
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import ADMIN
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, run

JOIN = re.compile(r"kubeadm join (?P<endpoint>\S+) --token (?P<token>\S+)")
PIN = re.compile(r"--discovery-token-ca-cert-hash (\S+)")


def parse_join(text: str) -> tuple[str, str, list[str]]:
    """Return (endpoint, token, pins) of the command that ``kubeadm token create --print-join-command`` prints."""
    found = JOIN.search(text)
    pins = PIN.findall(text)
    if not found or not pins:
        raise CommandError("kubeadm token create printed no join command with a CA hash")
    return found.group("endpoint"), found.group("token"), pins


def token_command(*args: str) -> str:
    """Run ``kubeadm token`` and return its output; CommandError (without a token in it) when it fails."""
    result = run([kubeadm.KUBEADM, "token", *args, "--kubeconfig", ADMIN], timeout=60)
    if result.rc != 0:
        raise CommandError(f"kubeadm token {args[0]}: {kubeadm.first_error(result.err)}")
    return result.out


def make(ttl: str, description: str) -> dict[str, Any]:
    """Make a token; return the module's answer."""
    args = ["create", "--ttl", ttl, "--description", description, "--print-join-command"]
    endpoint, token, pins = parse_join(token_command(*args))
    return {"changed": True, "endpoint": endpoint, "token": token, "ca_cert_hashes": pins}


def ours(listing: str, description: str) -> list[str]:
    """Return the public parts of the tokens with ``description`` in kubeadm's JSON, one object for each."""
    decoder, found, rest = json.JSONDecoder(), [], listing.strip()
    while rest:
        item, end = decoder.raw_decode(rest)
        rest = rest[end:].strip()
        if item.get("description") == description:
            found.append(item["token"].split(".")[0])
    return found


def revoke(description: str, check_mode: bool) -> dict[str, Any]:
    """Revoke tokens; return the module's answer."""
    found = ours(token_command("list", "--output=json"), description)
    if found and not check_mode:
        token_command("delete", *found)
    return {"changed": bool(found), "revoked": len(found)}


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "ttl": {"type": "str", "default": "15m0s"},
            "description": {"type": "str", "default": "kubesmith"},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        if wanted["state"] == "absent":
            answer = revoke(wanted["description"], module.check_mode)
        elif module.check_mode:
            answer = {"changed": True}
        else:
            answer = make(wanted["ttl"], wanted["description"])
    except (CommandError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
