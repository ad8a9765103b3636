"""The API server as a tour asks it from this machine, and what objects a tour makes."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubesmith.errors import KubesmithError
from kubesmith.verify.remote.common import Api, Refused

Object = dict[str, Any]
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
ENDINGS = {"NetworkPolicy": "networkpolicies"}  # of kinds whose plural is more than an s


class Unanswered(KubesmithError):
    """The API server did not answer at all."""


class Denied(KubesmithError):
    """The API server answered with a refusal; ``status`` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Cluster:
    """The API server, asked with the administrator's kubeconfig."""

    def __init__(self, kubeconfig: Path) -> None:
        self._api = Api(str(kubeconfig))

    def raw(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> str:
        """Send one request; Unanswered without an answer, Denied for one that is no success.

        A connection that was kept may belong to a server that is gone: reading is tried again on a new one, and what
        changes something always has a new one.
        """
        try:
            if method != "GET":
                self._api.local.connection = None
                return self._api.raw(method, path, body, kind)
            try:
                return self._api.raw(method, path)
            except (OSError, http.client.HTTPException):
                return self._api.raw(method, path)
        except Refused as error:
            raise Denied(_said(str(error)), error.status) from error
        except (OSError, http.client.HTTPException) as error:
            raise Unanswered(f"{method} {path}: {error or type(error).__name__}") from error

    def get(self, path: str) -> Object:
        """Return one object, or a list's object."""
        answer: Object = json.loads(self.raw("GET", path))
        return answer

    def find(self, path: str) -> Object | None:
        """Return one object, None where there is none."""
        try:
            return self.get(path)
        except Denied as error:
            if error.status != 404:
                raise
            return None

    def items(self, path: str) -> list[Object]:
        """Return the items of a list."""
        answer: list[Object] = self.get(path)["items"]
        return answer

    def create(self, item: Object) -> Object:
        """Create one object and return it as the server has it."""
        answer: Object = json.loads(self.raw("POST", place(item), item))
        return answer

    def patch(self, path: str, change: Mapping[str, Any], kind: str = MERGE) -> None:
        """Change one object."""
        self.raw("PATCH", path, change, kind)

    def delete(self, path: str) -> None:
        """Delete one object, or none if it is gone already, without waiting for its end."""
        try:
            self.raw("DELETE", path)
        except Denied as error:
            if error.status != 404:
                raise


def _said(text: str) -> str:
    """Return the API server's own sentence out of a refusal."""
    before, _, body = text.partition(" {")
    try:
        return f"{before}: {json.loads('{' + body)['message']}"
    except (ValueError, LookupError):
        return text


def place(item: Object) -> str:
    """Return the API path at which an object of this kind is created."""
    version, space, kind = item["apiVersion"], item["metadata"].get("namespace"), item["kind"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    ending = ENDINGS.get(kind, f"{kind.lower()}s")
    return f"{root}/namespaces/{space}/{ending}" if space else f"{root}/{ending}"


def path(item: Object) -> str:
    """Return the API path of one object."""
    return f"{place(item)}/{item['metadata']['name']}"
