# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Serving certificates of kubelets: a request is approved if it asks for nothing but its own node's names.

Kubernetes signs what is approved and looks at neither the addresses nor whose they are: a node that may name any
address could stand in for another. What it may name comes from the inventory, never from what it says of itself.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils import der, served
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import Api, ApiError

SIGNER = "kubernetes.io/kubelet-serving"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
USAGES = {"digital signature", "key encipherment", "server auth"}
PORT = 10250
Nodes = Mapping[str, Sequence[str]]  # addresses by name


def problem(item: Mapping[str, Any], nodes: Nodes) -> str:
    """Return why a request may not be approved, an empty string where it may."""
    spec = item["spec"]
    user = str(spec.get("username", ""))
    name = user.removeprefix("system:node:")
    if name == user or "system:nodes" not in spec.get("groups", ()):
        return f"{user!r} is not a node"
    if name not in nodes:
        return f"{name!r} is not a node of the inventory"
    usages = set(spec.get("usages", ()))
    if "server auth" not in usages or usages - USAGES:
        return f"it asks for the usages {', '.join(sorted(usages))}"
    try:
        asked = der.request(base64.b64decode(spec["request"]).decode("ascii"))
    except (ValueError, LookupError) as error:
        return f"it cannot be read: {error}"
    if sorted(asked.subject) != sorted([(der.COMMON_NAME, user), (der.ORGANIZATION, "system:nodes")]):
        return f"its subject is not O=system:nodes, CN={user}"
    strange = [text for text in asked.dns if text != name]
    strange += [text for text in asked.addresses if text not in nodes[name]]
    if strange:
        return f"{', '.join(strange)} is not of {name}, whose addresses are {', '.join(nodes[name])}"
    return "" if asked.dns or asked.addresses else "it names nothing"


def pending(item: Mapping[str, Any]) -> bool:
    """Tell whether nobody has judged a request yet, and it is one of ours to judge."""
    return bool(item["spec"].get("signerName") == SIGNER and not item.get("status", {}).get("conditions"))


def judge(api: Api, nodes: Nodes, *, only_look: bool = False) -> list[tuple[str, str, str]]:
    """Approve or deny what is pending; return (name of the request, who asks, why it was denied or an empty string)."""
    done = []
    for item in api.get(REQUESTS)["items"]:
        if not pending(item):
            continue
        why = problem(item, nodes)
        name = item["metadata"]["name"]
        done.append((name, str(item["spec"].get("username", "")), why))
        if not only_look:
            decide(api, item, why)
    return done


def decide(api: Api, item: dict[str, Any], why: str) -> None:
    """Write the verdict on a request; another control plane's that came before is as good."""
    condition = {
        "type": "Denied" if why else "Approved",
        "status": "True",
        "reason": "Kubesmith",
        "message": why or "it names its own node, with the addresses of the inventory, and nothing else",
        "lastUpdateTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    body = dict(item, apiVersion="certificates.k8s.io/v1", kind="CertificateSigningRequest")
    body["status"] = {"conditions": [condition]}
    try:
        api.request("PUT", f"{REQUESTS}/{item['metadata']['name']}/approval", body)
    except ApiError as error:
        if error.status != 409:
            raise


def without(nodes: Nodes, present: Sequence[str]) -> list[str]:
    """Return those of the nodes ``present`` whose kubelet shows no certificate yet."""
    return [name for name in present if name in nodes and not served.handshake(nodes[name][0], PORT)]


def main(words: Sequence[str]) -> int:
    """Judge what is pending; what a control plane's timer runs."""
    try:
        nodes = json.loads(Path(words[0]).read_text(encoding="utf-8"))["nodes"]
        done = judge(Api(), nodes)
    except (ApiError, OSError, ValueError, LookupError) as error:
        print(f"requests were not judged: {error}", file=sys.stderr)
        return 1
    for name, user, why in done:
        print(f"{name} of {user}: {'denied: ' + why if why else 'approved'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
