"""The source ``upstream``: release files and images of the projects, by version, checked before they count."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from kubesmith import paths
from kubesmith.bundle import builder, toolchain
from kubesmith.bundle.assemble import assemble
from kubesmith.bundle.distribution import Client, Reference, reference
from kubesmith.bundle.fetch import FIX, Fetcher, Login, UnavailableError, UntrustedError
from kubesmith.bundle.layers import BLOBS
from kubesmith.bundle.model import Component, File, Image, canonical, component_data
from kubesmith.bundle.oci import REPOSITORY
from kubesmith.bundle.recipe import Model, RelativePath, read, refuse
from kubesmith.bundle.signature import Signed, Signer, authorities, openpgp, sigstore
from kubesmith.bundle.store import Entry, Store, file_sha256, locked
from kubesmith.errors import InputError
from kubesmith.progress import Progress

#: Raised whenever this code would make another record of the same downloads.
FORMAT = 1
#: Downloads, and the bundle made of them, in MiB.
DISK_MIB = 3000
QUICK = (2.0, 3.0)
# What cosign notes beside a signature of an image.
COSIGN = "dev.cosignproject.cosign/signature"
CERTIFICATE = "dev.sigstore.cosign/certificate"


@dataclass(frozen=True)
class Places:
    """Where to fetch from: the projects' own addresses, or mirrors of them in the same layout."""

    kubernetes: str = "https://dl.k8s.io/release"
    github: str = "https://github.com"
    raw: str = "https://raw.githubusercontent.com"
    registry: str = "registry.k8s.io"
    calico: str = "docker.io"

    def url(self, text: str, arch: str) -> str:
        """Return ``text`` with the addresses in it."""
        return text.format(**vars(self), arch=arch)


@dataclass(frozen=True)
class Settings:
    """``bundle.upstream``: places, a login at those that are not the projects' own, a CA for their TLS.

    ``trust`` is a file with the authorities whose signers are believed, where a site signs its mirror itself.
    """

    places: Places = Places()
    login: tuple[str, str] | None = field(default=None, repr=False)
    ca: Path | None = None
    trust: Path | None = None
    timeout: tuple[float, float] = (5.0, 30.0)

    def fetcher(self, timeout: tuple[float, float] | None = None) -> Fetcher:
        """Return what downloads with these settings."""
        own = vars(Places())
        hosts = {_host(value) for key, value in vars(self.places).items() if value != own[key]}
        login = Login(frozenset(hosts), *self.login) if self.login else None
        return Fetcher(login, self.ca, timeout or self.timeout)


def _host(address: str) -> str:
    return address.rpartition("://")[2].partition("/")[0]


class Placed(Model):
    """A file of the bundle, out of a download (or its ``member``, if that is an archive) or a recipe's folder."""

    member: str = ""
    from_: Annotated[RelativePath | None, Field(alias="from")] = None
    path: RelativePath
    mode: Annotated[str, Field(pattern=r"^0[0-7]{3}$")] = "0755"
    set: str
    install: str = ""
    replace: dict[str, str] = Field(default_factory=dict)


Pin = Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]


class Download(Model):
    """One file to fetch. ``checksum`` is a suffix of its address, or a path beside it.

    ``sha256`` pins it instead, for each architecture where the address names it.
    """

    url: str
    checksum: str = ""
    sha256: Pin | dict[str, Pin] = ""
    sigstore: str = ""
    openpgp: RelativePath | None = None
    files: Annotated[tuple[Placed, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _checked(self) -> Download:
        if bool(self.checksum) == bool(self.sha256):
            raise ValueError("needs one of checksum and sha256")
        return self


class Pull(Model):
    """One image; its short name and tag in the bundle are those of ``from`` unless given."""

    from_: Annotated[str, Field(alias="from")]
    name: str = ""
    set: Literal["control-plane", "node", "verify"]
    sigstore: str = ""


class Part(Model):
    """One component."""

    name: str
    version: str
    licence: str
    features: tuple[str, ...] = ()
    downloads: tuple[Download, ...] = ()
    recipes: tuple[Placed, ...] = ()
    images: tuple[Pull, ...] = ()


class Release(Model):
    """``bundle/upstream/VERSION.yml``."""

    kubernetes: str
    signers: dict[str, Signer] = Field(default_factory=dict)
    components: Annotated[tuple[Part, ...], Field(min_length=1)]
    #: Folders under ``bundle/components`` that are made of Debian's packages here: no project publishes them as images.
    made_here: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _signers_known(self) -> Release:
        named = {download.sigstore for part in self.components for download in part.downloads}
        named |= {image.sigstore for part in self.components for image in part.images}
        if unknown := sorted(named - {""} - set(self.signers)):
            raise ValueError(f"signers are not described: {', '.join(unknown)}")
        return self


def folder() -> Path:
    """Return the folder with the releases' files, pinned keys and authorities."""
    return paths.bundle_recipes() / "upstream"


def load_release(kubernetes: str) -> Release:
    """Read what there is to fetch for ``kubernetes``; InputError if no such release is described."""
    file = folder() / f"{kubernetes}.yml"
    if not file.is_file():
        known = ", ".join(sorted(found.stem for found in folder().glob("*.yml"))) or "none"
        raise InputError(f"upstream files of Kubernetes {kubernetes} are not described", fix=f"Choose one of: {known}.")
    try:
        return Release.model_validate(read(file))
    except ValidationError as error:
        raise refuse(file, error) from error


def reachable(settings: Settings, kubernetes: str) -> bool:
    """Tell within seconds whether upstream answers: the checksum of kubeadm, and the registry, each asked once."""
    fetcher = settings.fetcher(QUICK)
    arch = toolchain.host_arch()
    url = settings.places.url(f"{{kubernetes}}/v{kubernetes}/bin/linux/{{arch}}/kubeadm.sha256", arch)
    try:
        with fetcher.get(url, tries=1) as answer:
            if answer.status_code != 200 or not re.match(rb"[0-9a-f]{64}\s*", answer.raw.read(100)):
                return False
    except (UnavailableError, OSError):
        return False
    return Client(fetcher).answers(reference(f"{settings.places.registry}/x:y").address)


def build(progress: Progress, kubernetes: str, settings: Settings) -> Path:
    """Fetch the bundle for ``kubernetes`` and return its folder; what the store has is not fetched again.

    UnavailableError and UntrustedError name the file or image; what was fetched before is kept.
    """
    release = load_release(kubernetes)
    arch = toolchain.host_arch()
    root = builder.folder()
    progress.total(len(release.components))
    with locked(root / "lock", lambda pid: progress.start("lock", f"waiting for process {pid}")) as waited:
        if waited:
            progress.done("lock", "the other has ended", changed=False)
        store = Store(paths.cache() / "store")
        store.sweep()
        work = _Work(release, arch, settings, store, progress)
        entries = [work.entry(part) for part in release.components]
        entries += _made_here(release, progress)
        return assemble(root, kubernetes, arch, entries)


def _made_here(release: Release, progress: Progress) -> list[Entry]:
    """Return the components made of Debian's packages; none on a machine that knows no Debian, which is told.

    Only a cluster whose control planes share an address lacks them, and its role says so.
    """
    if not release.made_here:
        return []
    try:
        return builder.from_packages(release.made_here, release.kubernetes, progress)
    except InputError as error:
        progress.done(release.made_here[-1], f"left out: {error}", changed=False)
        return []


class _Work:
    """One run of ``build``."""

    def __init__(self, release: Release, arch: str, settings: Settings, store: Store, progress: Progress) -> None:
        self.release = release
        self.arch = arch
        self.places = settings.places
        self.fetcher = settings.fetcher()
        self.client = Client(self.fetcher)
        self.store = store
        self.progress = progress
        self.trusted = authorities((settings.trust or folder() / "fulcio.pem").read_bytes())

    def entry(self, part: Part) -> Entry:
        """Return a component out of the store, fetched first if it is not there."""
        name = f"upstream-{part.name}"
        signers = [vars(signer) for signer in self.release.signers.values()]
        key = hashlib.sha256(canonical([FORMAT, self.arch, part.model_dump(by_alias=True), signers])).hexdigest()[:20]
        found = self.store.get(name, key)
        if not found:
            toolchain.check_disk(paths.cache(), DISK_MIB)
            self.progress.start(part.name, part.version)
            found = self.store.put(name, key, lambda new: self._make(part, new))
        self.progress.done(part.name, part.version, changed=False)
        return found

    def _make(self, part: Part, new: Path) -> dict[str, Any]:
        files: list[File] = []
        origins: list[dict[str, str]] = []
        for download in part.downloads:
            got, origin = self._download(part.name, download, new)
            files += got
            origins.append(origin)
        for placed in part.recipes:
            content = (paths.bundle_recipes() / "components" / str(placed.from_)).read_bytes()
            files.append(_place(placed, content, new))
        images = []
        for pull in part.images:
            image, origin = self._pull(part.name, pull, new / BLOBS)
            images.append(image)
            origins.append(origin)
        source = {"type": "upstream", "from": origins}
        component = Component(part.name, part.version, part.licence, source, tuple(files), tuple(images), part.features)
        return {"component": component_data(component)}

    def _download(self, item: str, download: Download, new: Path) -> tuple[list[File], dict[str, str]]:
        url = self.places.url(download.url, self.arch)
        self.progress.update(item, f"fetching {PurePosixPath(url).name}")
        new.mkdir(parents=True, exist_ok=True)
        file = new / ".download"
        found = self.fetcher.file(url, file)
        pinned = download.sha256 if isinstance(download.sha256, str) else download.sha256.get(self.arch, "")
        if not pinned and not download.checksum:
            raise UnavailableError(f"{url}: no sha256 is pinned for {self.arch}", fix=FIX)
        wanted = pinned or self._checksum(url, download.checksum)
        if found != wanted:
            raise UntrustedError(f"{url} has the sha256 {found}, its checksum is {wanted}", fix=FIX)
        if download.sigstore:
            self._signed(url, found, download.sigstore)
        if download.openpgp:
            openpgp(url, file, self.fetcher.small(f"{url}.asc"), folder() / download.openpgp)
        files = self._files(url, download, file, new)
        file.unlink()
        origin = {"url": Places().url(download.url, self.arch), "sha256": found}
        kind = "sigstore" if download.sigstore else "openpgp" if download.openpgp else ""
        return files, origin | ({"signed": kind} if kind else {})

    def _checksum(self, url: str, where: str) -> str:
        """Return the published sha256 of ``url``: a bare one, or the line of a list that names the file."""
        name = PurePosixPath(url).name
        place = url + where if where.startswith(".") and not where.startswith("../") else ""
        place = place or url.rpartition("/")[0] + "/" + where.removeprefix("../")
        text = self.fetcher.small(place).decode(errors="replace")
        bare = re.fullmatch(r"\s*([0-9a-f]{64})\s*", text)
        listed = re.search(rf"^([0-9a-f]{{64}})[ \t]+[*]?(?:\./)?{re.escape(name)}\s*$", text, re.MULTILINE)
        found = bare or listed
        if not found:
            raise UnavailableError(f"{place} holds no sha256 of {name}", fix=FIX)
        return found.group(1)

    def _signed(self, url: str, digest: str, name: str) -> None:
        signer = self.release.signers[name]
        signed = Signed(self.fetcher.small(f"{url}.sig"), self.fetcher.small(f"{url}.cert"))
        sigstore(url, digest, signed, signer, self.trusted)

    def _files(self, url: str, download: Download, file: Path, new: Path) -> list[File]:
        if not any(placed.member for placed in download.files):
            return [_place(placed, file.read_bytes(), new) for placed in download.files]
        wanted = {placed.member.format(arch=self.arch): placed for placed in download.files}
        found = {}
        try:
            with tarfile.open(file) as archive:
                for member in archive:
                    name = member.name.removeprefix("./")
                    if name in wanted and member.isreg():
                        content = archive.extractfile(member)
                        assert content
                        found[name] = _place(wanted[name], content.read(), new)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise UnavailableError(f"{url} is no archive that can be read: {error}", fix=FIX) from error
        if missing := sorted(set(wanted) - set(found)):
            raise UnavailableError(f"{url} lacks {', '.join(missing)}", fix=FIX)
        return [found[name] for name in wanted]

    def _pull(self, item: str, pull: Pull, blobs: Path) -> tuple[Image, dict[str, str]]:
        place = reference(self.places.url(pull.from_, self.arch))
        self.progress.update(item, f"pulling {place.text}")
        got = self.client.pull(place, self.arch, blobs)
        if pull.sigstore:
            self._signed_image(place, got.top, pull.sigstore)
        name = pull.name or place.repository.rpartition("/")[2]
        image = Image(f"{REPOSITORY}/{name}:{place.tag}", got.manifest, got.size, pull.set, got.blobs)
        origin = {"image": reference(Places().url(pull.from_, self.arch)).text, "digest": got.top}
        return image, origin | ({"signed": "sigstore"} if pull.sigstore else {})

    def _signed_image(self, place: Reference, digest: str, name: str) -> None:
        """Check that one of the signatures beside an image is the signer's; else tell why the last is not."""
        signer = self.release.signers[name]
        tag = f"{digest.replace(':', '-')}.sig"
        _, content = self.client.manifest(Reference(place.address, place.repository, tag))
        problem: UntrustedError | None = None
        for layer in _layers(content):
            notes = layer.get("annotations") or {}
            payload = self.client.blob(place, str(layer.get("digest", "")))
            signed = Signed(str(notes.get(COSIGN, "")).encode(), str(notes.get(CERTIFICATE, "")).encode())
            try:
                _is_about(place.text, payload, digest)
                found = hashlib.sha256(payload).hexdigest()
                sigstore(place.text, found, signed, signer, self.trusted)
            except UntrustedError as error:
                problem = error
            else:
                return
        raise problem or UntrustedError(f"{place.text}: its signature is empty", fix=FIX)


def _layers(content: bytes) -> Sequence[Mapping[str, Any]]:
    try:
        layers = json.loads(content)["layers"]
    except (ValueError, KeyError, TypeError):
        return ()
    return [layer for layer in layers if isinstance(layer, dict)]


def _is_about(what: str, payload: bytes, digest: str) -> None:
    """Check that a signed statement is about this digest."""
    try:
        named = json.loads(payload)["critical"]["image"]["docker-manifest-digest"]
    except (ValueError, KeyError, TypeError):
        named = "nothing"
    if named != digest:
        raise UntrustedError(f"{what}: what was signed is {named}, not {digest}", fix=FIX)


def _place(placed: Placed, content: bytes, new: Path) -> File:
    """Write one file of the bundle, its text replaced where the recipe says so."""
    text = content
    for old, by in placed.replace.items():
        if old.encode() not in text:
            raise UnavailableError(f"{placed.path}: {old!r} does not occur in what was fetched", fix=FIX)
        text = text.replace(old.encode(), by.encode())
    target = new / placed.path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(text)
    target.chmod(int(placed.mode, 8))
    return File(placed.path, file_sha256(target), len(text), placed.mode, placed.set, placed.install)
