"""T16: a service account may do nothing, then what a Role says, and no more."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from urllib.parse import urlsplit

import yaml

from kubesmith.tour.api import Object
from kubesmith.tour.stage import Stage
from kubesmith.tour.tours.network import SPREAD

ACCOUNT = "reader"
LIFE = 600  # seconds that the account's token lives: the least that there is
DECISION = "authorization.k8s.io/decision"
GROUP = "rbac.authorization.k8s.io"


def take(stage: Stage) -> None:
    """Take the tour."""
    space = stage.namespace
    stage.space()
    stage.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}})
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": LIFE}}
    place = f"/api/v1/namespaces/{space}/serviceaccounts/{ACCOUNT}/token"
    token = str(json.loads(stage.api.raw("POST", place, asked))["status"]["token"])  # kept in memory alone
    who = As(stage, token)
    pods = f"/api/v1/namespaces/{space}/pods"
    status, said = who.ask("GET", pods)
    stage.see("refused", source="probe", status=status, said=said)
    stage.claim("refused", status == 403, status=status)
    role, binding = objects()
    stage.say("bind")
    stage.act("bind", lambda: stage.create(role, binding), role=ACCOUNT)
    stage.until(lambda: who.ask("GET", pods)[0] == 200, SPREAD)
    status, _ = who.ask("GET", pods)
    stage.see("allowed", source="probe", status=status)
    stage.claim("allowed", status == 200, status=status)
    stage.say("no_more")
    item: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}}
    status, said = who.ask("POST", f"/api/v1/namespaces/{space}/configmaps", item)
    stage.see("still_refused", source="probe", status=status, said=said)
    stage.claim("still_refused", status == 403, status=status)
    _audited(stage)


def objects() -> tuple[Object, Object]:
    """Return a Role that allows reading pods, and its binding to the account."""
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    version = f"{GROUP}/v1"
    role: Object = {"apiVersion": version, "kind": "Role", "metadata": {"name": ACCOUNT}, "rules": rules}
    binding: Object = {
        "apiVersion": version,
        "kind": "RoleBinding",
        "metadata": {"name": ACCOUNT},
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": ACCOUNT},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT}],
    }
    return role, binding


def _audited(stage: Stage) -> None:
    """Find the refusal in the audit log, with its reason."""

    def look() -> list[Object]:
        rows: list[Object] = []
        for node in stage.nodes.control_planes:
            rows += stage.nodes.ask(node, "flow", {"step": "audit", "word": stage.namespace})["events"]
        return [
            row for row in rows if row.get("annotations", {}).get(DECISION) == "forbid" and ACCOUNT in str(row["user"])
        ]

    rows = stage.must("audited", look, 20, 1)
    stage.open("api", "request", "403", rows[-1])
    decision = rows[-1]["annotations"][DECISION]
    stage.see("audited", source="audit", user=rows[-1]["user"]["username"], decision=decision)
    code = rows[-1].get("responseStatus", {}).get("code")
    stage.claim("audited", code == 403, code=code)


class As:
    """The API server, asked with a service account's token and no certificate."""

    def __init__(self, stage: Stage, token: str) -> None:
        config = yaml.safe_load(stage.job.kubeconfig.read_text())["clusters"][0]["cluster"]
        authority = base64.b64decode(config["certificate-authority-data"]).decode()
        self.context = ssl.create_default_context(cadata=authority)
        self.server = urlsplit(config["server"]).netloc
        self.headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}

    def ask(self, method: str, path: str, body: Object | None = None) -> tuple[int, str]:
        """Send one request; return the answer's status and the server's sentence, empty for a success."""
        connection = http.client.HTTPSConnection(self.server, timeout=20, context=self.context)
        headers = self.headers | ({"Content-Type": "application/json"} if body else {})
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            said = json.loads(answer.read())
        finally:
            connection.close()
        return answer.status, str(said.get("message", "")) if answer.status >= 400 else ""
