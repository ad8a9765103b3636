# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Held packages of one repository: files and commands for apt, dnf and zypper. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

MANAGED = "# Managed by kubesmith.\n"
KEYS = "/etc/apt/keyrings"
#: Only this repository, and what is known of the others stays: a node may reach no other.
ALONE = ("Dir::Etc::sourceparts=-", "APT::Get::List-Cleanup=0")


def apt_files(name: str, url: str, key: str) -> dict[str, str]:
    """Return {path: content} of the repository's key and source; the key is trusted for this repository alone."""
    path = f"{KEYS}/{name}.asc"
    source = f"{MANAGED}Types: deb\nURIs: {url.rstrip('/')}/\nSuites: /\nSigned-By: {path}\n"
    return {path: key.rstrip() + "\n", f"/etc/apt/sources.list.d/{name}.sources": source}


def apt_update(name: str) -> list[str]:
    """Return the command that reads this repository's list, and no other; a list that is not to be had is an error."""
    options = (f"Dir::Etc::sourcelist=/etc/apt/sources.list.d/{name}.sources", *ALONE, "Acquire::Retries=2")
    return ["apt-get", "update", "--error-on=any", *(part for option in options for part in ("-o", option))]


def apt_version(madison: str, package: str, wanted: str, url: str) -> str:
    """Return the full version of ``package`` that ``apt-cache madison`` lists from ``url``: "" for none.

    ``wanted`` is ``1.37.2`` or a full ``1.37.2-1.1``; of several revisions the first, apt's own choice, counts.
    """
    for line in madison.splitlines():
        name, version, source = [*(part.strip() for part in line.split("|")), "", ""][:3]
        if name == package and fits(version, wanted) and source.split()[:1] == [url.rstrip("/")]:
            return version
    return ""


def fits(version: str, wanted: str) -> bool:
    """Tell whether a package's full version is the wanted one, whatever its revision."""
    return version == wanted or version.split(":", 1)[-1].partition("-")[0] == wanted


def apt_install(versions: Mapping[str, str]) -> list[str]:
    """Return the command that installs exactly these versions, older ones and held ones too."""
    named = [f"{name}={version}" for name, version in versions.items()]
    flags = ["--yes", "--no-install-recommends", "--allow-downgrades", "--allow-change-held-packages"]
    return [
        "apt-get",
        "install",
        *flags,
        "-o",
        "DPkg::Lock::Timeout=120",
        "-o",
        "Dpkg::Options::=--force-confold",
        *named,
    ]


def dpkg_rows(listing: str) -> dict[str, tuple[str, str]]:
    """Return {package: (wanted state, version)} of ``dpkg-query -W -f '${Package} ${db:Status-Abbrev} ${Version}\\n'``.

    Only what is installed counts; its wanted state is ``install`` or ``hold``.
    """
    rows = [line.split() for line in listing.splitlines()]
    return {r[0]: ("hold" if r[1][0] == "h" else "install", r[2]) for r in rows if len(r) == 3 and r[1][1:2] == "i"}


def rpm_files(name: str, url: str, key: str, packages: Iterable[str], folder: str) -> dict[str, str]:
    """Return {path: content} of the repository's key and description for dnf (or zypper, by ``folder``).

    ``exclude`` keeps the packages from an ordinary update, as the project's own instructions do.
    """
    path = f"/etc/pki/rpm-gpg/{name}.asc"
    lines = [f"[{name}]", f"name={name}", f"baseurl={url.rstrip('/')}/", "enabled=1", "gpgcheck=1", "repo_gpgcheck=1"]
    lines += [f"gpgkey=file://{path}", f"exclude={' '.join(packages)}"]
    return {path: key.rstrip() + "\n", f"{folder}/{name}.repo": MANAGED + "\n".join(lines) + "\n"}


def rpm_install(manager: str, name: str, versions: Mapping[str, str]) -> list[list[str]]:
    """Return the commands that install exactly these versions and hold them."""
    named = [f"{package}-{version}" for package, version in versions.items()]
    if manager == "zypper":
        flags = ["--non-interactive", "--gpg-auto-import-keys"]
        locks = [["zypper", "--non-interactive", verb, *versions] for verb in ("removelock", "addlock")]
        install = [f"{package}={version}" for package, version in versions.items()]
        return [locks[0], ["zypper", *flags, "install", "--oldpackage", "--from", name, *install], locks[1]]
    return [["dnf", "install", "--assumeyes", f"--disableexcludes={name}", "--setopt=install_weak_deps=False", *named]]


def rpm_rows(listing: str) -> dict[str, str]:
    """Return {package: version} of ``rpm -q --qf '%{NAME} %{VERSION}\\n'``."""
    rows = [line.split() for line in listing.splitlines() if "not installed" not in line]
    return {row[0]: row[1] for row in rows if len(row) == 2}


def changes(present: Mapping[str, tuple[str, str]], wanted: Mapping[str, str]) -> list[str]:
    """Return in words what differs: ``present`` is {package: (install or hold, version)}."""
    found = []
    for name, version in wanted.items():
        state, have = present.get(name, ("", ""))
        if not fits(have, version):
            found.append(f"{name} {have or 'absent'} → {version}")
        elif state != "hold":
            found.append(f"{name} is to be held")
    return found


def key_problem(key: str) -> str:
    """Say what is wrong with an armoured public key, "" if it looks like one."""
    if "PRIVATE KEY" in key:
        return "is a private key"
    return "" if re.search(r"-----BEGIN PGP PUBLIC KEY BLOCK-----", key) else "is no armoured OpenPGP public key"
