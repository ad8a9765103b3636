"""Downloads: over HTTP, through the proxies of the environment, checked while they come in."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import requests

from kubesmith.errors import KubesmithError

CHUNK = 1 << 20
TRIES = 3
PAUSE = 1.0
SMALL = 1 << 22  # bytes; a checksum, a signature or a manifest is never longer


class UnavailableError(KubesmithError):
    """What was asked for cannot be had from there: no connection, or an answer that is not the thing."""


class UntrustedError(KubesmithError):
    """What came is not what its checksum or signature vouches for."""


@dataclass(frozen=True)
class Login:
    """A user and a password, sent to ``hosts`` (names with ports) alone."""

    hosts: frozenset[str]
    username: str
    password: str = field(repr=False)

    def for_url(self, url: str) -> tuple[str, str] | None:
        """Return what to send with a request to ``url``."""
        return (self.username, self.password) if urlsplit(url).netloc in self.hosts else None


class Fetcher:
    """One session. ``timeout`` is (to connect, between two pieces) in seconds; ``ca`` vouches for private servers."""

    def __init__(
        self,
        login: Login | None = None,
        ca: Path | None = None,
        timeout: tuple[float, float] = (5.0, 30.0),
        tries: int = TRIES,
    ) -> None:
        self.login = login
        self.timeout = timeout
        self.tries = tries
        self._session = requests.Session()
        # With each request and not in the session: there REQUESTS_CA_BUNDLE of the environment would win.
        self._verify = str(ca) if ca else None

    def get(self, url: str, headers: Mapping[str, str] | None = None, *, tries: int = 0) -> requests.Response:
        """Return the answer to a GET, its body not read yet. A token in ``headers`` goes instead of the login.

        UnavailableError if there is no connection; what the status says is for the caller to judge.
        """
        sent = {"Accept-Encoding": "identity", **(headers or {})}
        auth = self.login.for_url(url) if self.login and "Authorization" not in sent else None
        for attempt in range(tries or self.tries):
            if attempt:
                time.sleep(PAUSE)
            try:
                return self._session.get(
                    url, headers=sent, auth=auth, timeout=self.timeout, stream=True, verify=self._verify
                )
            except requests.RequestException as error:
                reason = why(error)
        raise UnavailableError(f"{url} cannot be fetched: {reason}", fix=FIX)

    def small(self, url: str) -> bytes:
        """Return a short file; UnavailableError if it cannot be had."""
        with self.get(url) as answer:
            refuse(answer, url)
            return body(answer, url)

    def file(self, url: str, target: Path, headers: Mapping[str, str] | None = None) -> str:
        """Download ``url`` into ``target``; return its sha256. A connection that breaks is tried again."""
        for attempt in range(self.tries):
            if attempt:
                time.sleep(PAUSE)
            with self.get(url, headers) as answer:
                refuse(answer, url)
                try:
                    return save(answer, target)
                except (requests.RequestException, OSError) as error:
                    reason = why(error)
        raise UnavailableError(f"{url} broke off after {target.stat().st_size} bytes: {reason}", fix=FIX)


FIX = "Check the address under bundle.upstream, the network, and http_proxy, https_proxy and no_proxy."


def save(answer: requests.Response, target: Path) -> str:
    """Write an answer's body into ``target``; return its sha256. Raises what requests and the disk raise."""
    sha256 = hashlib.sha256()
    with target.open("wb") as out:
        for piece in answer.iter_content(CHUNK):
            sha256.update(piece)
            out.write(piece)
    return sha256.hexdigest()


def body(answer: requests.Response, url: str) -> bytes:
    """Return a short body; UnavailableError if it is long or breaks off."""
    read = b""
    try:
        for piece in answer.iter_content(1 << 16):
            read += piece
            if len(read) > SMALL:
                raise UnavailableError(
                    f"{url} answers with more than {SMALL} bytes, which is not what it should", fix=FIX
                )
    except requests.RequestException as error:
        raise UnavailableError(f"{url} broke off: {why(error)}", fix=FIX) from error
    return read


def refuse(answer: requests.Response, url: str) -> None:
    """Raise UnavailableError unless the answer is 200."""
    if answer.status_code != 200:
        known = {401: " (a login is needed, or wrong)", 403: " (not allowed)", 404: " (not found)"}
        text = f"{url} answers {answer.status_code}{known.get(answer.status_code, '')}"
        raise UnavailableError(text, fix=FIX)


def why(error: Exception) -> str:
    """Return the innermost reason of a failed request, without object addresses and without a login."""
    kinds = {
        requests.exceptions.ProxyError: "the proxy does not answer or refuses",
        requests.exceptions.SSLError: "its certificate is not trusted",
        requests.exceptions.ConnectTimeout: "no connection in time",
        requests.exceptions.ReadTimeout: "nothing came in time",
        requests.exceptions.ChunkedEncodingError: "the connection was cut",
        requests.exceptions.InvalidURL: "that is no address",
        requests.exceptions.MissingSchema: "that is no address",
        requests.exceptions.InvalidSchema: "that is no http address",
    }
    for kind, text in kinds.items():
        if isinstance(error, kind):
            return text
    said = str(error)
    if "Name or service not known" in said or "resolve" in said or "name resolution" in said:
        return "its name is not known"
    if "timed out" in said:
        return "nothing came in time"
    return "connection refused" if "refused" in said else f"no connection ({type(error).__name__})"
