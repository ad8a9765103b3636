"""The ``debian`` source: base layers out of packages, fetched and checked by a private apt."""

from __future__ import annotations

import fnmatch
import io
import os
import re
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kubesmith.bundle.layers import Entry
from kubesmith.bundle.process import Runner, output
from kubesmith.bundle.recipe import LayerRecipe
from kubesmith.bundle.store import file_sha256
from kubesmith.errors import InputError, KubesmithError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# Since Debian 12 these are links into /usr; packages still ship files under the old names.
MERGED = ("bin", "sbin", "lib", "lib64")


@dataclass(frozen=True)
class Package:
    """One Debian package, as fetched."""

    name: str
    version: str
    file: Path
    sha256: str


def _sites(suite: str) -> list[str]:
    """Return apt source lines for ``suite`` at the sites from which this machine's apt takes Debian."""
    form = "$(SITE) $(RELEASE)"
    text = output(["apt-get", "indextargets", "--format", form, "Created-By: Packages", "Origin: Debian"])
    lines = {}
    for line in text.splitlines():
        site, _, release = line.partition(" ")
        for kind in ("", "-updates", "-security"):
            if kind == re.sub(r"^[a-z]+", "", release):
                lines[kind] = f"deb [signed-by={KEYRING}] {site} {suite}{kind} main"
    if "" not in lines:
        raise InputError(
            "apt on this machine knows no archive of Debian, from which the images' base is made",
            fix="Have a Debian archive in /etc/apt/sources.list and run: sudo apt-get update",
        )
    if not KEYRING.exists():
        raise InputError(f"{KEYRING} is missing", fix="sudo apt-get install -y debian-archive-keyring")
    return list(lines.values())


def _private_apt(root: Path, suite: str, arch: str) -> Path:
    """Set up an apt of its own under ``root``, which knows no installed package; return its configuration."""
    for folder in ("lists/partial", "archives/partial", "etc", "packages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "status").touch()
    (root / "etc" / "sources.list").write_text("\n".join(_sites(suite)) + "\n")
    settings = {
        "Dir::State": root,
        "Dir::State::lists": root / "lists",
        "Dir::State::status": root / "status",
        "Dir::Cache": root,
        "Dir::Cache::archives": root / "archives",
        "Dir::Etc": root / "etc",
        "Dir::Etc::sourcelist": root / "etc" / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "APT::Architecture": arch,
        "APT::Architectures": arch,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
    }
    proxy = [line for line in output(["apt-config", "dump"]).splitlines() if re.match(r"Acquire::https?::Proxy", line)]
    configuration = root / "apt.conf"
    configuration.write_text("\n".join([*(f'{key} "{value}";' for key, value in settings.items()), *proxy, ""]))
    return configuration


class Archive:
    """Fetches packages of one suite; apt checks the signature of the suite and the hash of each package."""

    def __init__(self, root: Path, suite: str, arch: str, runner: Runner) -> None:
        self._root = root
        self._runner = runner
        path = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
        proxies = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
        self._env = {**path, **proxies, "APT_CONFIG": str(_private_apt(root, suite, arch))}
        self._run(["apt-get", "update", "--error-on=any"])

    def _run(self, command: list[str]) -> None:
        self._runner.run("debian", command, env=self._env, cwd=self._root / "packages")

    def fetch(self, names: Sequence[str]) -> list[Package]:
        """Return exactly the packages called ``names``, in their order."""
        if names:
            self._run(["apt-get", "download", *names])
        return [self._package(name) for name in names]

    def _package(self, name: str) -> Package:
        found = list((self._root / "packages").glob(f"{name}_*.deb"))
        if len(found) != 1:
            raise KubesmithError(f"apt fetched {len(found)} files for the package {name}, not one", fix="Run it again.")
        fields = output(["dpkg-deb", "--show", "--showformat", "${Version}", str(found[0])])
        return Package(name, fields.strip(), found[0], file_sha256(found[0]))


def _merged(path: str) -> str:
    first, _, rest = path.partition("/")
    return f"usr/{path}" if first in MERGED and rest else path


def unpack(package: Package) -> Iterator[Entry]:
    """Yield the files, links and directories of a package, with the old top folders moved below ``usr``."""
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package.file)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        with tarfile.open(fileobj=io.BytesIO(process.stdout.read())) as archive:
            for member in archive:
                path = member.name.removeprefix("./").rstrip("/")
                if path and path != "." and path not in MERGED:
                    yield _entry(archive, member, _merged(path))
    if process.returncode:
        raise KubesmithError(f"{package.file} cannot be unpacked", fix="Remove it and run again.")


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> Entry:
    if member.isdir():
        return Entry(path, mode=member.mode, directory=True)
    if member.issym():
        return Entry(path, symlink=member.linkname)
    if member.islnk():
        return Entry(path, hardlink=_merged(member.linkname.removeprefix("./")))
    content = archive.extractfile(member)
    assert content
    # set-user-ID bits are dropped: nothing in these images needs them.
    return Entry(path, mode=member.mode & 0o777, content=content.read())


def usr_links() -> list[Entry]:
    """Return the links ``/bin`` → ``usr/bin`` and so on, and the folders that a program may expect."""
    links = [Entry(name, symlink=f"usr/{name}") for name in MERGED]
    return [*links, *(Entry(f"usr/{name}", directory=True) for name in MERGED), Entry("run", directory=True)]


def excluded(path: str, patterns: Iterable[str]) -> bool:
    """Tell whether ``path`` matches one of the shell patterns."""
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def certificates(entries: Mapping[str, Entry]) -> Entry:
    """Return ``/etc/ssl/certs/ca-certificates.crt``: what update-ca-certificates would make."""
    found = sorted(p for p in entries if p.startswith("usr/share/ca-certificates/") and p.endswith(".crt"))
    return Entry("etc/ssl/certs/ca-certificates.crt", mode=0o644, content=b"".join(entries[p].content for p in found))


def licences(package: Package, entries: Mapping[str, Entry]) -> list[str]:
    """Return the short names in the package's copyright file, if it has the machine-readable form."""
    copyright_file = entries.get(f"usr/share/doc/{package.name}/copyright")
    text = copyright_file.content.decode(errors="replace") if copyright_file else ""
    return sorted({name.strip() for name in re.findall(r"^License:[ \t]*(\S.*)$", text, re.MULTILINE)})


def tree(packages: Iterable[Package], layer: LayerRecipe, exclude: Sequence[str]) -> dict[str, Entry]:
    """Return path → entry of the packages' files, less what ``exclude`` and the layer's own ``exclude`` match."""
    bottom = not layer.over
    entries = {entry.path: entry for entry in usr_links()} if bottom else {}
    for package in packages:
        entries.update({entry.path: entry for entry in unpack(package)})
    if layer.certificates:
        bundle = certificates(entries)
        entries[bundle.path] = bundle
    kept = {path: entry for path, entry in entries.items() if not excluded(path, [*exclude, *layer.exclude])}
    kept.update({entry.path: entry for entry in _links(layer.links)})
    return {path: entry for path, entry in kept.items() if not entry.directory or _used(path, kept)}


def _links(wanted: Mapping[str, Sequence[str]]) -> Iterator[Entry]:
    for target, names in wanted.items():
        folder, _, name = target.rpartition("/")
        for link in names:
            yield Entry(link, symlink=f"/{target}") if "/" in link else Entry(f"{folder}/{link}", symlink=name)


def _used(folder: str, kept: Mapping[str, Entry]) -> bool:
    """Tell whether a folder is worth a member: it holds something, or a link of the merged root points at it."""
    if folder == "run" or folder.removeprefix("usr/") in MERGED:
        return True
    return any(path.startswith(f"{folder}/") and not entry.directory for path, entry in kept.items())
