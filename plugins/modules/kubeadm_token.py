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
  minutes:
    description: How long the token is valid.
    type: int
    default: 15
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

import base64
import datetime
import secrets
import string
import urllib.parse
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import Api, ApiError, Object
from ansible_collections.kubesmith.cluster.plugins.module_utils.pins import pin

CA = "/etc/kubernetes/pki/ca.crt"
FOLDER = "/api/v1/namespaces/kube-system/secrets"
TYPE = "bootstrap.kubernetes.io/token"
LETTERS = string.ascii_lowercase + string.digits
GROUP = "system:bootstrappers:kubeadm:default-node-token"  # kubeadm lets it ask for a kubelet's certificate


def token_secret(identity: str, secret: str, expires: datetime.datetime, description: str) -> Object:
    """Return the Secret that is a bootstrap token, as kubeadm makes it."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": TYPE,
        "metadata": {"name": f"bootstrap-token-{identity}", "namespace": "kube-system"},
        "stringData": {
            "token-id": identity,
            "token-secret": secret,
            "expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "description": description,
            "usage-bootstrap-authentication": "true",
            "usage-bootstrap-signing": "true",
            "auth-extra-groups": GROUP,
        },
    }


def letters(count: int) -> str:
    """Return random lower-case letters and digits."""
    return "".join(secrets.choice(LETTERS) for _letter in range(count))


def make(api: Api, minutes: int, description: str) -> dict[str, Any]:
    """Make a token; return the module's answer."""
    identity, secret = letters(6), letters(16)
    expires = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=minutes)
    api.request("POST", FOLDER, token_secret(identity, secret, expires, description))
    return {
        "changed": True,
        "endpoint": api.endpoint,
        "token": f"{identity}.{secret}",
        "ca_cert_hashes": [pin(Path(CA).read_text(encoding="ascii"))],
    }


def is_ours(item: Object, description: str) -> bool:
    """Tell whether a Secret is a token with ``description``."""
    return base64.b64decode(item.get("data", {}).get("description", "")).decode(errors="replace") == description


def revoke(api: Api, description: str, check_mode: bool) -> dict[str, Any]:
    """Revoke tokens; return the module's answer."""
    selector = urllib.parse.urlencode({"fieldSelector": f"type={TYPE}"})
    found = [
        item["metadata"]["name"] for item in api.get(f"{FOLDER}?{selector}")["items"] if is_ours(item, description)
    ]
    for name in found if not check_mode else []:
        api.request("DELETE", f"{FOLDER}/{name}")
    return {"changed": bool(found), "revoked": len(found)}


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "minutes": {"type": "int", "default": 15},
            "description": {"type": "str", "default": "kubesmith"},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    try:
        if wanted["state"] == "absent":
            answer = revoke(Api(), wanted["description"], module.check_mode)
        elif module.check_mode:
            answer = {"changed": True}
        else:
            answer = make(Api(), wanted["minutes"], wanted["description"])
    except (ApiError, OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**answer)


if __name__ == "__main__":
    main()
