"""Where a run's bundle comes from: the one at hand, a file, upstream, or built here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kubesmith import paths
from kubesmith.bundle import archive, builder, upstream
from kubesmith.bundle.assemble import folder_name, use
from kubesmith.bundle.fetch import UnavailableError
from kubesmith.bundle.model import FILE, load
from kubesmith.bundle.store import locked
from kubesmith.bundle.upstream import Settings
from kubesmith.bundle.verify import verify
from kubesmith.errors import InputError, KubesmithError
from kubesmith.progress import Progress

Kind = Literal["at hand", "file", "upstream", "gomod"]
ITEM = "bundle"


@dataclass(frozen=True)
class Wanted:
    """The bundle that a cluster needs, and where from: ``source`` is auto, gomod, upstream or file."""

    kubernetes: str
    source: str = "auto"
    file: Path | None = None
    upstream: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class Choice:
    """What ``choose`` settled on."""

    kind: Kind
    wanted: Wanted


def node_images() -> Path:
    """Return the folder where the podman provider keeps the lab's node image."""
    return paths.cache() / "node-image"


def choose(wanted: Wanted, *, fresh: bool = False) -> Choice:
    """Say where the bundle will come from; nothing is fetched, made or read through. ``fresh``: never from at hand.

    InputError if the file is not there, or ``KUBESMITH_BUNDLE`` names a bundle that does not fit.
    """
    if fresh:
        if wanted.source == "file":
            raise InputError("bundle.source is file: nothing is built or fetched", fix="Choose another source.")
        return Choice(_made_from(wanted), wanted)
    if wanted.source == "file" and wanted.file:
        if not wanted.file.is_file():
            raise InputError(f"bundle.file: there is no file {wanted.file}", fix="Carry it here, or correct the path.")
        return Choice("file", wanted)
    given = paths.bundle_given()
    if given or wanted.source in ("auto", "file"):
        reason = _unfit(at_hand(wanted.kubernetes), wanted.kubernetes)
        if not reason:
            return Choice("at hand", wanted)
        if given or wanted.source == "file":
            fix = "Import one: runner.py bundle import FILE"
            raise InputError(reason, fix="Correct or unset KUBESMITH_BUNDLE." if given else fix)
    return Choice(_made_from(wanted), wanted)


def at_hand(kubernetes: str) -> Path:
    """Return where the bundle for a Kubernetes version is, if there is one: its own link, else the newest bundle."""
    own = paths.bundle(kubernetes)
    return own if own.exists() else paths.bundle()


def _made_from(wanted: Wanted) -> Kind:
    """Say where a bundle that is not at hand will be made from; auto asks upstream once."""
    if wanted.source == "auto":
        return "upstream" if upstream.reachable(wanted.upstream, wanted.kubernetes) else "gomod"
    return "upstream" if wanted.source == "upstream" else "gomod"


def _unfit(folder: Path, kubernetes: str) -> str:
    """Say why the bundle in ``folder`` does not serve, "" if it does."""
    if not (folder / FILE).is_file():
        return f"there is no bundle at {folder}"
    try:
        found = load(folder).kubernetes
    except KubesmithError as error:
        return str(error)
    if found != kubernetes:
        return f"the bundle at {folder} is for Kubernetes {found}, the cluster wants {kubernetes}"
    if builder.outdated(folder.resolve(), kubernetes):
        return f"the bundle at {folder} was built from recipes that were changed since"
    return ""


def provide(choice: Choice, progress: Progress) -> Path:
    """Have the chosen bundle where a run looks for it, checked, and return its folder.

    InputError names what is wrong with a bundle or a file; KubesmithError if making one fails.
    """
    wanted = choice.wanted
    if choice.kind == "file":
        assert wanted.file
        return take(wanted.file, wanted.kubernetes, progress)
    if choice.kind == "upstream":
        try:
            return upstream.build(progress, wanted.kubernetes, wanted.upstream)
        except UnavailableError as error:
            if wanted.source != "auto":
                raise
            progress.done("upstream", f"given up: {error}", changed=False)
            return builder.build(progress, wanted.kubernetes)
    if choice.kind == "gomod":
        return builder.build(progress, wanted.kubernetes)
    progress.start(ITEM, "checking")
    folder = at_hand(wanted.kubernetes).resolve()
    _refuse(folder, verify(folder, trust_times=True))
    if not paths.bundle(wanted.kubernetes).exists():
        use(folder, wanted.kubernetes)
    progress.done(ITEM, f"{folder.name}, at hand", changed=False)
    return folder


def _refuse(folder: Path, problems: list[str]) -> None:
    if problems:
        raise InputError(
            f"the bundle {folder} is not as it was made: {'; '.join(problems[:5])}",
            fix="Import it again (runner.py bundle import FILE), or build it again (runner.py bundle build).",
        )


def take(file: Path, kubernetes: str, progress: Progress, digest: str = "") -> Path:
    """Import ``file``, or find that it was; it must be a bundle for ``kubernetes`` ("" for any)."""
    progress.start(ITEM, "looking")
    head = archive.contents(file)  # a wrong file is told at once, not after the build that holds the lock
    if kubernetes and head.get("kubernetes") != kubernetes:
        raise InputError(
            f"{file} holds a bundle for Kubernetes {head.get('kubernetes')}, the cluster wants {kubernetes}",
            fix="Carry the right file, or set cluster.kubernetes.",
        )
    with locked(builder.folder() / "lock", lambda pid: progress.update(ITEM, f"waiting for process {pid}")):
        there = builder.folder() / folder_name(str(head.get("name")), str(head.get("digest")))
        if _imported(there, head) and not digest:
            progress.update(ITEM, "reading")
            archive.digest_of_file(file)
            use(there, str(head.get("kubernetes")))
            progress.done(ITEM, f"{there.name}, imported before", changed=False)
            return there
        return archive.read(file, builder.folder(), progress, digest=digest, node_images=node_images()).bundle


def brings(wanted: Wanted, node_image: str) -> bool:
    """Tell whether the wanted file carries this node image too."""
    rows = archive.contents(wanted.file)["members"] if wanted.file else []
    return any(row["name"] == f"{archive.NODE_IMAGE}/{node_image}" for row in rows)


def _imported(folder: Path, head: dict[str, object]) -> bool:
    """Tell whether the file's bundle is here and whole, and so is its node image, if it brings one."""
    if not (folder / FILE).is_file() or folder.parent != builder.folder():
        return False
    members = head["members"]
    assert isinstance(members, list)
    images = [row["name"].rpartition("/")[2] for row in members if row["name"].startswith(archive.NODE_IMAGE)]
    if not all((node_images() / image).is_file() for image in images):
        return False
    try:
        return load(folder).digest == head.get("digest") and not verify(folder, trust_times=True)
    except KubesmithError:
        return False
