"""Builds the box and adds it to Vagrant."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kubesmith import paths
from kubesmith.box import recipe
from kubesmith.errors import InputError, KubesmithError
from kubesmith.progress import Progress
from kubesmith.providers.podman.node_image.mirror import Archive, archive
from kubesmith.providers.podman.node_image.recipe import KEYRING

ITEM = "box"
DISK_MB = 4096  # root file system, disk, its packed form and the box lie side by side for a while
TOOLS = ("mmdebstrap", "mkfs.ext4", "sfdisk", "extlinux", "qemu-img", "vagrant")


class Box:
    """The box of the recipe. Safe to interrupt: a half-built one is never taken for a whole one."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or paths.cache() / "box"
        self.file = self.folder / f"debian-12-{recipe.ARCHITECTURE}-{recipe.digest()}.box"

    def check(self) -> None:
        """Raise InputError for whatever would stop a build that is still to be done."""
        if self.file.exists():
            return
        if os.uname().machine != "x86_64":
            raise InputError(
                f"boxes are built for amd64, and this machine is {os.uname().machine}",
                fix="name a box of your architecture in KUBESMITH_BOX, from a registry or by `vagrant box add`",
            )
        if os.geteuid() != 0:
            raise InputError(
                f"a box is built as root, and this is user {os.geteuid()}: its disk is mounted once",
                fix="run the same command with sudo",
            )
        missing = [tool for tool in TOOLS if not shutil.which(tool)]
        if missing:
            raise InputError(f"missing: {', '.join(missing)}", fix="give --yes and they are installed")
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free // 2**20
        if free < DISK_MB:
            raise InputError(f"a box takes {DISK_MB} MiB and {self.folder} has {free} MiB free", fix="free some")

    def ensure(self, progress: Progress) -> Path:
        """Build the box where it is missing and add it to Vagrant; return its file."""
        self.check()
        progress.start(ITEM, "looking for it")
        with self._alone():
            built = not self.file.exists()
            if built:
                self._build(progress)
            added = not self._added()
            if added:
                self._add(progress)
        progress.done(ITEM, f"{recipe.NAME} is at hand", changed=built or added)
        return self.file

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _build(self, progress: Progress) -> None:
        work = self.folder / "work"
        subprocess.run(["rm", "-rf", "--one-file-system", str(work)], check=True)
        for old in self.folder.glob("*.box*"):
            old.unlink()
        root = work / "root"
        work.mkdir()
        source = archive(recipe.SUITE)
        progress.update(ITEM, "unpacking Debian's packages")
        self._debian(root, source)
        finish(root, source.sources, insecure_keys())
        progress.update(ITEM, "making its disk")
        disk = work / "disk.raw"
        self._run(["unshare", "--mount", "sh", str(recipe.SCRIPT), str(root), str(disk), str(recipe.DISK_GB)])
        self._run(["qemu-img", "convert", "-c", "-O", "qcow2", str(disk), str(work / "box.img")])
        metadata = {"provider": "libvirt", "format": "qcow2", "virtual_size": recipe.DISK_GB}
        (work / "metadata.json").write_text(json.dumps(metadata))
        (work / "Vagrantfile").write_text(recipe.VAGRANTFILE)
        partial = self.file.with_suffix(".box.new")
        self._run(["tar", "-cf", str(partial), "-C", str(work), "metadata.json", "Vagrantfile", "box.img"])
        partial.replace(self.file)
        subprocess.run(["rm", "-rf", "--one-file-system", str(work)], check=True)

    def _debian(self, root: Path, source: Archive) -> None:
        """Run mmdebstrap; apt's own configuration of this machine, which may name a proxy, stays in force."""
        sources = root.parent / "sources.list"
        sources.write_text(source.sources)
        proxy = {"http_proxy": source.proxy} if source.proxy else {}
        dpkg = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "locale", "info", "doc")]
        command = [
            *("mmdebstrap", "--mode=root", "--variant=minbase", f"--architectures={recipe.ARCHITECTURE}"),
            *(
                f"--include={','.join(recipe.PACKAGES)}",
                '--aptopt=Acquire::Languages "none"',
                "--dpkgopt=force-unsafe-io",
            ),
            f"--keyring={KEYRING}",
            *(*dpkg, "--dpkgopt=path-include=/usr/share/doc/*/copyright"),
            *(recipe.SUITE, str(root), str(sources)),
        ]
        self._run(command, os.environ | {"LC_ALL": "C.UTF-8"} | proxy)

    def _run(self, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        """Run a step, its words kept in ``build.log``. It dies with us."""
        log = self.folder / "build.log"
        with log.open("a") as record:
            done = subprocess.run(
                ["setpriv", "--pdeathsig", "KILL", *command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=record,
                stderr=subprocess.STDOUT,
                check=False,
            )
        if done.returncode:
            words = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise KubesmithError(f"the box could not be built: {command[0]}: {words[-1]}", fix=f"see {log}")

    @property
    def _mark(self) -> Path:
        """The file that says which build of the box Vagrant has: it knows boxes by name only."""
        return vagrant_home() / "boxes" / recipe.NAME.replace("/", "-VAGRANTSLASH-") / "0" / "libvirt" / "kubesmith.txt"

    def _added(self) -> bool:
        return self._mark.exists() and self._mark.read_text() == recipe.digest()

    def _add(self, progress: Progress) -> None:
        progress.update(ITEM, "adding it to Vagrant")
        self._run(["vagrant", "box", "add", "--force", "--name", recipe.NAME, str(self.file)])
        self._mark.write_text(recipe.digest())


def vagrant_home() -> Path:
    """Return the folder where Vagrant keeps boxes."""
    return Path(os.environ.get("VAGRANT_HOME", "~/.vagrant.d")).expanduser()


def insecure_keys() -> str:
    """Return the public keys with which Vagrant first enters a box; it replaces them by its own at once."""
    found = [path for pattern in ("/usr/share", "/opt/vagrant") for path in Path(pattern).glob("**/keys/vagrant.pub*")]
    lines = {line for path in found for line in path.read_text().splitlines() if re.match(r"ssh-(rsa|ed25519) ", line)}
    if not lines:
        raise KubesmithError("Vagrant's public key vagrant.pub is not to be found", fix="install Vagrant again")
    return "".join(f"{line}\n" for line in sorted(lines))


def finish(root: Path, sources: str, keys: str) -> None:
    """Turn a fresh Debian under ``root`` into a box: our files, the user vagrant, nothing that must be unique."""
    for pattern in recipe.DROPPED:
        for unwanted in root.glob(pattern):
            unwanted.unlink()
    for name, text in (recipe.FILES | {"etc/apt/sources.list": sources}).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "etc/sudoers.d/vagrant").chmod(0o440)
    for unit in recipe.MASKED:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    add = ["useradd", "--root", str(root), "--create-home", "--shell", "/bin/bash", "vagrant"]
    subprocess.run(add, check=True, capture_output=True)
    home = root / "home/vagrant"
    (home / ".ssh").mkdir(mode=0o700)
    (home / ".ssh/authorized_keys").write_text(keys)
    owner = home.stat()
    for path in (home / ".ssh", home / ".ssh/authorized_keys"):
        os.chown(path, owner.st_uid, owner.st_gid)
    (home / ".ssh/authorized_keys").chmod(0o600)
