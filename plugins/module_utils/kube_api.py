# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""A small client of the Kubernetes API, as the administrator of a control plane.

kubectl takes a quarter of a second of processor time to start; a wait that looks every second would cost more than
what it waits for. This client looks in some milliseconds, over one connection.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import ssl
import tempfile
import urllib.parse
from pathlib import Path
from typing import Any, Optional

ADMIN = "/etc/kubernetes/admin.conf"
Object = dict[str, Any]
APPLY = "application/apply-patch+yaml"
MERGE = "application/strategic-merge-patch+json"


class ApiError(Exception):
    """The API server did not do what was asked; ``status`` is its HTTP status, 0 where it did not answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """The API server that a kubeconfig of kubeadm names (``endpoint``: host:port), with the certificate in it."""

    def __init__(self, kubeconfig: str = ADMIN, timeout: float = 30, server: str = "") -> None:
        """Read ``kubeconfig``; ApiError where there is none. ``timeout`` is for each request, in seconds.

        ``server`` (host:port) is asked instead of the endpoint in it, such as one of several API servers.
        """
        try:
            text = Path(kubeconfig).read_text(encoding="utf-8")
        except OSError as error:
            raise ApiError(f"{kubeconfig}: {error.strerror}") from error
        found = urllib.parse.urlsplit(f"https://{server}" if server else _field(text, "server", kubeconfig))
        self._address = (found.hostname or "", found.port or 443)
        self.endpoint = found.netloc
        self._tls = _tls(text, kubeconfig)
        self._timeout = timeout
        self._connection: Optional[http.client.HTTPSConnection] = None

    def request(self, method: str, path: str, body: Any = None, content: str = "application/json") -> Any:
        """Return the answer to a request, parsed if it is JSON; ApiError with the server's own words otherwise."""
        data = None if body is None else json.dumps(body).encode()
        try:
            status, answer = self._exchange(method, path, data, content)
        except (OSError, http.client.HTTPException) as error:
            self._connection = None
            raise ApiError(f"the API server does not answer: {error or type(error).__name__}") from error
        if status >= 400:
            raise ApiError(_words(answer) or f"HTTP {status}", status)
        try:
            return json.loads(answer)
        except ValueError:
            return answer.decode(errors="replace")

    def _exchange(self, method: str, path: str, data: Optional[bytes], content: str) -> tuple[int, bytes]:
        if self._connection is None:
            host, port = self._address
            self._connection = http.client.HTTPSConnection(host, port, context=self._tls, timeout=self._timeout)
        headers = {"Accept": "application/json", **({"Content-Type": content} if data is not None else {})}
        self._connection.request(method, path, body=data, headers=headers)
        response = self._connection.getresponse()
        return response.status, response.read()

    def close(self) -> None:
        """Give the connection up; the next request makes another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def get(self, path: str) -> Any:
        """Return the answer to a GET."""
        return self.request("GET", path)

    def find(self, path: str) -> Optional[Object]:
        """Return an object, or None where the server has none at this path."""
        try:
            found: Object = self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise
        return found


def listed(answer: Object) -> list[Object]:
    """Return the items of a list, each with its kind, as kubectl prints them."""
    kind = answer["kind"].removesuffix("List")
    return [{**item, "kind": kind, "apiVersion": answer["apiVersion"]} for item in answer["items"]]


class Paths:
    """Finds the path of an object from its kind, by asking the server what it serves; each group is asked once."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._known: dict[str, dict[str, Object]] = {}

    def of(self, item: Object) -> str:
        """Return the path of ``item``; ApiError where the server does not know its kind."""
        version, kind = item["apiVersion"], item["kind"]
        resource = self._kinds(version).get(kind)
        if resource is None:
            self._known.pop(version)  # a definition applied a moment ago may serve it by now
            resource = self._kinds(version).get(kind)
        if resource is None:
            raise ApiError(f"the API server knows no {kind} of {version}", 404)
        namespace = item["metadata"].get("namespace", "default")
        inside = f"namespaces/{namespace}/" if resource["namespaced"] else ""
        return f"{_root(version)}/{inside}{resource['name']}/{item['metadata']['name']}"

    def _kinds(self, version: str) -> dict[str, Object]:
        if version not in self._known:
            answer = self._api.find(_root(version)) or {"resources": []}
            self._known[version] = {row["kind"]: row for row in answer["resources"] if "/" not in row["name"]}
        return self._known[version]


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _field(text: str, name: str, path: str) -> str:
    """Return a field of a kubeconfig with one cluster and one user, which is all that kubeadm writes.

    A node need not have a YAML parser; kubeadm writes each of these fields on a line of its own.
    """
    found = re.search(rf"^\s+{name}:\s*(\S+)\s*$", text, re.MULTILINE)
    if not found:
        raise ApiError(f"{path} is not a kubeconfig of kubeadm: it has no {name}")
    return found.group(1).strip("\"'")


def _tls(text: str, path: str) -> ssl.SSLContext:
    """Return a context that trusts the kubeconfig's CA alone and shows its certificate."""
    data = {
        name: base64.b64decode(_field(text, f"{name}-data", path))
        for name in ("certificate-authority", "client-certificate", "client-key")
    }
    context = ssl.create_default_context(cadata=data["certificate-authority"].decode())
    # Keys are read from files only; /run is memory.
    handle, name = tempfile.mkstemp(dir="/run" if os.access("/run", os.W_OK) else None)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data["client-certificate"] + b"\n" + data["client-key"])
        context.load_cert_chain(name)
    finally:
        Path(name).unlink()
    return context


def _words(answer: bytes) -> str:
    """Return the message of a Status object, or the text itself."""
    try:
        return str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        return answer.decode(errors="replace").strip()[:500]
