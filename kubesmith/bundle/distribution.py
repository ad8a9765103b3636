"""Images from registries, over the OCI distribution API, every blob by its digest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from kubesmith.bundle.fetch import FIX, Fetcher, UnavailableError, UntrustedError, body, refuse

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker.distribution"
LISTS = (f"{OCI}.index.v1+json", f"{DOCKER}.manifest.list.v2+json")
MANIFESTS = (f"{OCI}.manifest.v1+json", f"{DOCKER}.manifest.v2+json")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# Docker's own registry answers under another name than its images carry.
HOSTS = {"docker.io": "registry-1.docker.io"}


@dataclass(frozen=True)
class Reference:
    """An image's place: ``address`` is ``https://host``, ``repository`` the name there, ``tag`` a tag or digest."""

    address: str
    repository: str
    tag: str

    @property
    def text(self) -> str:
        """The reference as people write it."""
        separator = "@" if self.tag.startswith("sha256:") else ":"
        return f"{self.address.partition('://')[2]}/{self.repository}{separator}{self.tag}"


def reference(text: str) -> Reference:
    """Read ``host/name:tag``, before which ``http://`` may stand for a registry without TLS."""
    scheme, separator, rest = text.rpartition("://")
    host, _, name = rest.partition("/")
    repository, _, tag = name.rpartition(":")
    return Reference(f"{scheme if separator else 'https'}://{HOSTS.get(host, host)}", repository, tag)


@dataclass(frozen=True)
class Pulled:
    """An image for one platform: ``top`` is what the tag stands for, ``manifest`` the platform's own."""

    top: str
    manifest: str
    blobs: tuple[str, ...]
    size: int


class Client:
    """Pulls images with a Fetcher's login, proxies and certificates."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._tokens: dict[tuple[str, str], str] = {}

    def answers(self, address: str) -> bool:
        """Tell whether a registry answers there, asked once."""
        try:
            with self._fetcher.get(f"{address}/v2/", tries=1) as answer:
                return answer.status_code in (200, 401)
        except UnavailableError:
            return False

    def manifest(self, place: Reference) -> tuple[str, bytes]:
        """Return the digest and the bytes of what ``place`` names; of a digest they must be it."""
        url = f"{place.address}/v2/{place.repository}/manifests/{place.tag}"
        content = self._small(place, url, {"Accept": ", ".join((*LISTS, *MANIFESTS))})
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if place.tag.startswith("sha256:") and digest != place.tag:
            raise UntrustedError(f"{place.text}: what came has the digest {digest}", fix="Do not use that registry.")
        return digest, content

    def pull(self, place: Reference, arch: str, blobs: Path) -> Pulled:
        """Put the image's manifest, config and layers for linux/``arch`` into the folder ``blobs``."""
        blobs.mkdir(parents=True, exist_ok=True)
        top, content = self.manifest(place)
        data = _json(place, content)
        digest = top
        if "manifests" in data:
            digest = _platform(place, data, arch)
            _, content = self.manifest(Reference(place.address, place.repository, digest))
            data = _json(place, content)
        try:
            parts = [data["config"], *data["layers"]]
            wanted = [(str(part["digest"]), int(part["size"])) for part in parts]
        except (KeyError, TypeError, ValueError) as error:
            raise UnavailableError(
                f"{place.text} is no image: its manifest has no config and layers", fix=FIX
            ) from error
        (blobs / digest.removeprefix("sha256:")).write_bytes(content)
        for part, size in dict.fromkeys(wanted):
            self._blob(place, part, size, blobs)
        self._fits(place, blobs / wanted[0][0].removeprefix("sha256:"), arch)
        return Pulled(
            top, digest, (digest, *(part for part, _ in wanted)), len(content) + sum(size for _, size in wanted)
        )

    def blob(self, place: Reference, digest: str) -> bytes:
        """Return a short blob, checked."""
        content = self._small(place, f"{place.address}/v2/{place.repository}/blobs/{digest}", {})
        if f"sha256:{hashlib.sha256(content).hexdigest()}" != digest:
            raise UntrustedError(f"{place.text}: blob {digest} is not what came", fix="Do not use that registry.")
        return content

    def _fits(self, place: Reference, config: Path, arch: str) -> None:
        found = _json(place, config.read_bytes()).get("architecture")
        if found != arch:
            raise UnavailableError(f"{place.text} is an image for {found}, wanted is one for {arch}", fix=FIX)

    def _blob(self, place: Reference, digest: str, size: int, blobs: Path) -> None:
        if not DIGEST.fullmatch(digest):
            raise UntrustedError(f"{place.text}: {digest!r} is no sha256 digest", fix="Do not use that registry.")
        target = blobs / digest.removeprefix("sha256:")
        if target.exists():
            return
        url = f"{place.address}/v2/{place.repository}/blobs/{digest}"
        partial = blobs / f".{target.name}"
        found = self._fetcher.file(url, partial, self._headers(place))
        if f"sha256:{found}" != digest:
            partial.unlink()
            raise UntrustedError(
                f"{place.text}: layer or config {digest} has the sha256 {found}", fix="Do not use that registry."
            )
        if partial.stat().st_size != size:
            raise UntrustedError(f"{place.text}: {digest} has {partial.stat().st_size} bytes, its manifest says {size}")
        partial.replace(target)

    def _headers(self, place: Reference) -> dict[str, str]:
        token = self._tokens.get((place.address, place.repository))
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _small(self, place: Reference, url: str, headers: Mapping[str, str]) -> bytes:
        """Return a short answer, after asking for a token where the registry wants one."""
        for attempt in range(2):
            with self._fetcher.get(url, {**headers, **self._headers(place)}) as answer:
                challenge = answer.headers.get("WWW-Authenticate", "")
                if answer.status_code == 401 and not attempt and challenge.lower().startswith("bearer "):
                    self._token(place, challenge)
                    continue
                refuse(answer, place.text)
                return body(answer, place.text)
        raise UnavailableError(f"{place.text} answers 401 to its own token", fix=FIX)

    def _token(self, place: Reference, challenge: str) -> None:
        """Fetch a token from the service that the challenge names; the login goes with it if it is that host's."""
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        query = {"scope": f"repository:{place.repository}:pull"}
        query |= {"service": fields["service"]} if "service" in fields else {}
        realm = fields.get("realm", "")
        if not realm.startswith(("http://", "https://")):
            raise UnavailableError(f"{place.text} wants a token from {realm!r}, which is no address", fix=FIX)
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}"
        answer = _json(place, self._fetcher.small(url))
        self._tokens[place.address, place.repository] = str(answer.get("token") or answer.get("access_token") or "")


def _json(place: Reference, content: bytes) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except ValueError as error:
        raise UnavailableError(f"{place.text} answers with something that is not JSON", fix=FIX) from error
    if not isinstance(data, dict):
        raise UnavailableError(f"{place.text} answers with JSON that is no mapping", fix=FIX)
    return data


def _platform(place: Reference, index: Mapping[str, Any], arch: str) -> str:
    """Return the digest of the index's manifest for linux/``arch``."""
    for row in index["manifests"]:
        platform = row.get("platform") or {}
        if (platform.get("os"), platform.get("architecture")) == ("linux", arch) and DIGEST.fullmatch(row["digest"]):
            return str(row["digest"])
    raise UnavailableError(f"{place.text} has no image for linux/{arch}", fix=FIX)
