"""The ``debian`` source: base layers out of packages, fetched and checked by a private apt."""

from __future__ import annotations

import fnmatch
import io
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
    for folder in ("lists/partial", "archives/partial", "etc"):
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
    configuration = root / "apt.conf"
    configuration.write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
    return configuration


class Archive:
    """Fetches packages of one suite with everything they depend on."""

    def __init__(self, root: Path, suite: str, arch: str, runner: Runner) -> None:
        self._root = root
        self._runner = runner
        self._env = {"APT_CONFIG": str(_private_apt(root, suite, arch)), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
        runner.run("debian", ["apt-get", "update"], env=self._env)

    def fetch(self, names: Iterable[str]) -> list[Package]:
        """Return ``names`` and their dependencies, sorted by name; apt checks signature and hash of each."""
        wanted = list(names)
        if not wanted:
            return []
        base = ["apt-get", "-y", "--download-only", "install", *wanted]
        self._runner.run("debian", base, env=self._env)
        planned = output(["apt-get", "-s", "install", *wanted], env=self._env)
        chosen = dict(re.findall(r"^Inst (\S+) \((\S+) ", planned, re.MULTILINE))
        return [self._package(name, version) for name, version in sorted(chosen.items())]

    def _package(self, name: str, version: str) -> Package:
        escaped = version.replace(":", "%3a")
        found = list((self._root / "archives").glob(f"{name}_{escaped}_*.deb"))
        if len(found) != 1:
            raise KubesmithError(f"apt fetched no file for {name} {version}", fix="Run it again.")
        return Package(name, version, found[0], file_sha256(found[0]))


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
    for target, names in layer.links.items():
        folder, _, name = target.rpartition("/")
        kept.update({f"{folder}/{link}": Entry(f"{folder}/{link}", symlink=name) for link in names})
    return {path: entry for path, entry in kept.items() if not entry.directory or _used(path, kept)}


def _used(folder: str, kept: Mapping[str, Entry]) -> bool:
    """Tell whether a folder is worth a member: it holds something, or a link of the merged root points at it."""
    if folder == "run" or folder.removeprefix("usr/") in MERGED:
        return True
    return any(path.startswith(f"{folder}/") and not entry.directory for path, entry in kept.items())
