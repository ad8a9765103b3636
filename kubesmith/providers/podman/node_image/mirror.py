"""Where this machine gets its Debian packages from: its own apt configuration says so, nothing here does."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from kubesmith.errors import InputError

VARIABLE = "KUBESMITH_DEBIAN_MIRROR"


@dataclass(frozen=True)
class Archive:
    """The mirror to build from, the node's own ``sources.list``, and the proxy that apt uses ("" for none)."""

    mirror: str
    sources: str
    proxy: str = ""


def archive(suite: str) -> Archive:
    """Return the archive for ``suite`` (such as ``bookworm``). Raises InputError when this machine knows none."""
    targets = _apt_targets()
    mirror = os.environ.get(VARIABLE) or choose(suite, _codename(), targets)
    return Archive(mirror, sources(suite, mirror, targets), _proxy())


def choose(suite: str, codename: str, targets: Iterable[tuple[str, str]]) -> str:
    """Pick the mirror that serves ``suite`` from apt's ``(address, suite)`` pairs.

    The mirror that serves this machine's own Debian (``codename``, "" when it runs something else) has the others too.
    """
    mirrors = [target for target in targets if target[1] in (suite, codename)]
    mirrors.sort(key=lambda target: (target[1] != suite, not target[0].endswith("/debian")))
    if not mirrors:
        raise InputError(
            f"this machine's apt configuration names no Debian archive; lab nodes are made of Debian {suite}",
            fix=f"set {VARIABLE} to the address of a Debian mirror, the folder that holds dists/{suite}",
        )
    return mirrors[0][0]


def sources(suite: str, mirror: str, targets: Iterable[tuple[str, str]]) -> str:
    """Return the node's ``sources.list``: the suite from its mirror, and the updates that this machine's apt knows."""
    extra = [target for target in targets if target[1] in (f"{suite}-updates", f"{suite}-security")]
    return "".join(f"deb {uri} {release} main\n" for uri, release in [(mirror, suite), *extra])


def _codename() -> str:
    release = platform.freedesktop_os_release()
    return release.get("VERSION_CODENAME", "") if release.get("ID") == "debian" else ""


def _apt_targets() -> list[tuple[str, str]]:
    """Return each ``(address, suite)`` of the main components in apt's configuration, in its order."""
    if not shutil.which("apt-get"):
        return []
    command = ["apt-get", "indextargets", "--format", "$(COMPONENT) $(REPO_URI) $(RELEASE)", "Identifier: Packages"]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    words = [line.split() for line in lines if line.startswith(("main http", "main file:"))]
    return list(dict.fromkeys((uri.rstrip("/"), release) for _, uri, release in words))


def _proxy() -> str:
    if not shutil.which("apt-config"):
        return ""
    command = ["apt-config", "shell", "proxy", "Acquire::http::Proxy"]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return text.removeprefix("proxy=").strip("'")
