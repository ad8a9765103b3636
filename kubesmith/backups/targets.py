"""Places away from this machine: folders of S3-compatible stores (obstore) and of SSH hosts (OpenSSH's own sftp)."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

import obstore
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import BackupTarget
from obstore.exceptions import BaseError
from obstore.store import S3Store

from kubesmith import logins
from kubesmith.errors import KubesmithError

SSH_OPTIONS = ("-oBatchMode=yes", "-oConnectTimeout=10", "-oServerAliveInterval=5", "-oServerAliveCountMax=6")
PIECE = 4 << 20
SIMPLE = re.compile(r"[A-Za-z0-9._-]+")  # names of backups' files; a target may hold others, which are left alone


class TargetError(KubesmithError):
    """A target did not do what was asked."""


class Target(Protocol):
    """A folder elsewhere. Every method raises TargetError, which names the target and its own words."""

    url: str

    def put(self, file: Path) -> None:
        """Store a file under its own name, whole or not at all."""

    def get(self, names: Sequence[str], folder: Path) -> None:
        """Bring files into a folder of this machine."""

    def names(self) -> list[str]:
        """Return the names of the files that are there."""

    def remove(self, names: Sequence[str]) -> None:
        """Remove files; one that is not there is no error."""


def make(wanted: BackupTarget) -> Target:
    """Return the target that the cluster file describes; InputError where its password is not to be had."""
    address = urlsplit(wanted.url)
    return S3(wanted, address) if address.scheme == "s3" else Ssh(wanted, address)


class S3:
    """A prefix in a bucket."""

    def __init__(self, wanted: BackupTarget, address: SplitResult) -> None:
        self.url = wanted.url
        login: dict[str, str] = {}
        if wanted.auth:
            secret = logins.password(wanted.url, wanted.auth.model_dump(exclude_none=True))
            login = {"access_key_id": wanted.auth.username, "secret_access_key": secret}
        endpoint = {"endpoint": wanted.endpoint.rstrip("/")} if wanted.endpoint else {}
        self._store = S3Store(
            address.netloc,
            prefix=address.path.strip("/") or None,
            region=wanted.region,
            client_options={"allow_http": True, "connect_timeout": "10s", "timeout": "600s"},
            retry_config={"max_retries": 3},
            **endpoint,  # type: ignore[arg-type]
            **login,  # type: ignore[arg-type]
        )

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (BaseError, OSError) as error:
            raise TargetError(f"{self.url}: {_s3_words(str(error))}", fix="check bucket, endpoint and login") from error

    def put(self, file: Path) -> None:
        """Store a file; the store itself makes it appear whole."""
        with self._told():
            obstore.put(self._store, file.name, file)

    def get(self, names: Sequence[str], folder: Path) -> None:
        """Bring files here."""
        with self._told():
            for name in names:
                target = folder / name
                target.touch(mode=0o600)
                with target.open("wb") as out:
                    for piece in obstore.get(self._store, name).stream(min_chunk_size=PIECE):
                        out.write(piece)

    def names(self) -> list[str]:
        """List the folder itself, without what is below."""
        with self._told():
            found = [str(row["path"]) for rows in obstore.list(self._store) for row in rows]
            return [name for name in found if SIMPLE.fullmatch(name)]

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects."""
        with self._told():
            obstore.delete(self._store, list(names))


def _s3_words(text: str) -> str:
    """Return what an S3 server said, without the debug text of the library: code and message, else the first line."""
    said = re.search(r"<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", text, re.DOTALL)
    return f"{said.group(1)}: {said.group(2)}" if said else text.strip().partition("\n")[0][:300]


class Ssh:
    """A folder of an SSH host; an account that may do no more than sftp is enough."""

    def __init__(self, wanted: BackupTarget, address: SplitResult) -> None:
        self.url = wanted.url
        self.folder = address.path.removeprefix("/~/") if address.path.startswith("/~/") else address.path
        self._command = ["sftp", "-b", "-", *SSH_OPTIONS, "-oStrictHostKeyChecking=yes"]
        if address.port:
            self._command += ["-P", str(address.port)]
        if wanted.key:
            self._command += ["-i", str(Path(wanted.key).expanduser())]
        if wanted.known_hosts:
            self._command += [f"-oUserKnownHostsFile={Path(wanted.known_hosts).expanduser()}"]
        host = address.hostname or ""
        user = f"{address.username}@" if address.username else ""
        self._command.append(f"{user}[{host}]" if ":" in host else f"{user}{host}")

    def _do(self, *lines: str) -> str:
        try:
            done = subprocess.run(
                self._command, input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=1800, check=False
            )
        except (FileNotFoundError, subprocess.TimeoutExpired) as error:
            raise TargetError(f"{self.url}: {error}", fix="sftp must be installed, and the host must answer") from error
        if done.returncode != 0:
            said = (done.stderr.strip().splitlines() or ["no answer"])[-1]
            raise TargetError(
                f"{self.url}: {said}",
                fix=f"look whether this works: {shlex.join([*self._command[:1], *self._command[3:]])}",
            )
        return done.stdout

    def put(self, file: Path) -> None:
        """Store a file under another name first."""
        parts = Path(self.folder).parts
        folders = [str(Path(*parts[: index + 1])) for index in range(len(parts))]
        made = [f'-mkdir "{folder}"' for folder in folders if folder not in ("/", "")]
        new = f"{self.folder}/.{file.name}.new"
        self._do(*made, f'put "{file}" "{new}"', f'chmod 600 "{new}"', f'rename "{new}" "{self.folder}/{file.name}"')

    def get(self, names: Sequence[str], folder: Path) -> None:
        """Bring files here."""
        self._do(*(f'get "{self.folder}/{name}" "{folder}/{name}"' for name in names))
        for name in names:
            (folder / name).chmod(0o600)

    def names(self) -> list[str]:
        """List the folder; one that is not there yet is empty."""
        said = self._do(f'-ls -1 "{self.folder}"')
        found = [line.strip().rpartition("/")[2] for line in said.splitlines() if not line.startswith("sftp>")]
        return [name for name in found if SIMPLE.fullmatch(name)]

    def remove(self, names: Sequence[str]) -> None:
        """Remove files."""
        self._do(*(f'-rm "{self.folder}/{name}"' for name in names))


def described(target: Target) -> Path:
    """Return a new folder with the descriptions of all backups at a target; the caller removes it."""
    folder = Path(tempfile.mkdtemp(prefix="kubesmith-target-"))
    names = [name for name in target.names() if name.endswith(".json")]
    if names:
        target.get(names, folder)
    return folder
