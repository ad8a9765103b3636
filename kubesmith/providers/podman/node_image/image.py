"""Builds the node image, keeps it as one tar file, and hands it to podman."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kubesmith import paths
from kubesmith.errors import InputError, KubesmithError
from kubesmith.progress import Progress
from kubesmith.providers.podman.engine import exists, podman, podman_json
from kubesmith.providers.podman.lab import CLUSTER
from kubesmith.providers.podman.node_image import recipe
from kubesmith.providers.podman.node_image.mirror import Archive, archive

REPOSITORY = "localhost/kubesmith/node"
LABEL = "kubesmith.node-image"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
ITEM = "node image"


class NodeImage:
    """The image that every lab node starts from. Safe to interrupt: a half-built one is never taken for a whole one."""

    def __init__(self, folder: Path | None = None, debian: int = 12) -> None:
        self.suite = recipe.SUITES[debian]
        usual = paths.cache() / "node-image"
        self.folder = folder or (usual if debian == 12 else usual / self.suite)
        self.repository = REPOSITORY if debian == 12 else f"{REPOSITORY}-{self.suite}"
        self.architecture = ARCHITECTURES.get(os.uname().machine, os.uname().machine)
        self.digest = recipe.digest(self.architecture, self.suite)

    @property
    def reference(self) -> str:
        """The image's name in podman, ``localhost/kubesmith/node:DIGEST``."""
        return f"{self.repository}:{self.digest}"

    @property
    def tar(self) -> Path:
        """The root file system, from which podman's copy can be made again without a download."""
        return self.folder / f"{self.digest}.tar"

    def present(self) -> bool:
        """Tell whether podman has the image."""
        return exists("image", self.reference)

    def at_hand(self) -> bool:
        """Tell whether nothing has to be fetched for it."""
        return self.tar.exists() or bool(shutil.which("podman") and self.present())

    def check(self) -> None:
        """Raise InputError for whatever would stop a build that is still to be done."""
        if self.at_hand():
            return
        if not shutil.which("debootstrap"):
            raise InputError("debootstrap is missing; it builds the lab's nodes", fix="apt-get install debootstrap")
        if not recipe.KEYRING.exists():
            raise InputError(
                f"{recipe.KEYRING} is missing; it vouches for Debian's packages",
                fix="apt-get install debian-archive-keyring",
            )
        archive(self.suite)

    def ensure(self, progress: Progress) -> str:
        """Return the image's name, building or importing it first where it is missing."""
        progress.start(ITEM, "looking for it")
        if self.present():
            progress.done(ITEM, "at hand", changed=False)
            return self.reference
        with self._alone():
            if not self.tar.exists():
                self._build(progress)
            if not self.present():
                self._import(progress)
        progress.done(ITEM, f"ready as {self.reference}", changed=True)
        return self.reference

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep a second build of the same cache waiting; the lock goes with the process, whatever ends it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _import(self, progress: Progress) -> None:
        progress.update(ITEM, "importing into podman")
        # Older ones that nothing uses go. Snapshots have the label too, and a cluster's besides: they stay.
        entries = podman_json("images", "--filter", f"label={LABEL}", "--filter", f"reference={self.repository}")
        for old in {entry["Id"] for entry in entries if CLUSTER not in (entry.get("Labels") or {})}:
            podman("rmi", old, check=False)
        changes = [
            f"CMD {json.dumps(recipe.COMMAND)}",
            "STOPSIGNAL SIGRTMIN+3",
            f"LABEL {LABEL}={self.digest}",
        ]
        flags = [flag for change in changes for flag in ("--change", change)]
        podman("import", "--quiet", *flags, str(self.tar), self.reference)

    def _build(self, progress: Progress) -> None:
        root = self.folder / "root"
        for leftover in self.folder.glob("*.tar*"):
            leftover.unlink()
        _remove(root)
        source = archive(self.suite)
        _debootstrap(root, self.architecture, self.suite, source, folder=self.folder, progress=progress)
        progress.update(ITEM, "packing")
        finish(root, source.sources)
        _pack(root, self.tar)
        _remove(root)


def finish(root: Path, sources: str) -> None:
    """Turn a fresh Debian under ``root`` into a node: our files, masked units, nothing that must be unique."""
    for path, data in recipe.files().items():
        _write(root / path, data)
    _write(root / "etc/apt/sources.list", sources.encode())
    _write(root / "etc/machine-id", b"")
    for folder in ("var/lib/containerd", "var/lib/kubelet", "var/lib/etcd", "var/lib/kubesmith", "var/log/journal"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for unit in recipe.MASKED:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    for pattern in recipe.DROPPED:
        for unwanted in root.glob(pattern):
            _remove(unwanted)


def _debootstrap(
    root: Path, architecture: str, suite: str, source: Archive, *, folder: Path, progress: Progress
) -> None:
    """Run debootstrap in mount and process namespaces of its own: whatever ends us ends it, mounts included."""
    packages = folder / "packages"
    packages.mkdir(exist_ok=True)
    _write(root / "etc/dpkg/dpkg.cfg.d/kubesmith", recipe.files()["etc/dpkg/dpkg.cfg.d/kubesmith"])
    root.chmod(0o755)
    command = [
        *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"),
        *("debootstrap", "--variant=minbase", f"--arch={architecture}", f"--keyring={recipe.KEYRING}"),
        *(f"--cache-dir={packages}", f"--include={','.join(recipe.PACKAGES)}"),
        *(suite, str(root), source.mirror),
    ]
    environment = os.environ | {"LC_ALL": "C.UTF-8"} | ({"http_proxy": source.proxy} if source.proxy else {})
    log = folder / "build.log"
    reason = _run(command, environment, log, progress)
    if reason:
        raise KubesmithError(
            f"debootstrap could not build the node image from {source.mirror}: {reason}",
            fix=f"see {log} and {root / 'debootstrap/debootstrap.log'}; then run the same command again",
        )


def _run(command: list[str], environment: dict[str, str], log: Path, progress: Progress) -> str:
    """Run ``command``, logging and showing what it says; return its last complaint when it failed, "" when not."""
    complaint = "it said nothing"
    with (
        log.open("w") as record,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run,
    ):
        try:
            for line in run.stdout or ():
                record.write(line)
                if line.startswith("I: "):
                    progress.update(ITEM, line[3:].strip())
                else:
                    complaint = line.strip()
        except BaseException:
            run.kill()
            raise
    return complaint if run.returncode else ""


def _pack(root: Path, tar: Path) -> None:
    partial = tar.with_suffix(".tar.new")
    command = ["tar", "--create", "--numeric-owner", "--sort=name", "--xattrs", "--one-file-system"]
    subprocess.run([*command, f"--file={partial}", f"--directory={root}", "."], check=True)
    partial.replace(tar)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _remove(path: Path) -> None:
    """Remove ``path`` without ever leaving its file system, should something be mounted below."""
    subprocess.run(["rm", "-rf", "--one-file-system", str(path)], check=True)
