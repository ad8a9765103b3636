# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What software is on a node: its system, packages, the cluster's programs, and the images that containers run."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils import files, node
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import run

DPKG = ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}\t${Package}\t${Version}\t${Architecture}\n"]
RPM = ["rpm", "--query", "--all", "--queryformat=%{NAME}\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\t%{ARCH}\n"]
CTR = ["/usr/local/bin/ctr", "--namespace", "k8s.io"]
PROGRAMS = ("/usr/local/bin/*", "/usr/local/sbin/*", "/opt/cni/bin/*")
Package = dict[str, str]


def look() -> dict[str, Any]:
    """Return {os, kernel, machine, packages, programs, images} of this node.

    ``packages`` are {kind, name, version, arch} with the kind deb or rpm, ``programs`` {path: sha256} of what is in
    folders that no package fills, ``images`` {name: digest} of the images of which there are containers.
    """
    release = node.os_release(files.read("/etc/os-release") or "")
    return {
        "os": {"id": release.get("ID", ""), "version": release.get("VERSION_ID", ""), "name": release.get("NAME", "")},
        "kernel": platform.release(),
        "machine": platform.machine(),
        "packages": packages(),
        "programs": programs(),
        "images": images(),
    }


def packages() -> list[Package]:
    """Return the installed packages, by name."""
    found = debian(run(DPKG, timeout=60).out) or rpm(run(RPM, timeout=120).out)
    return sorted(found, key=lambda row: (row["name"], row["version"], row["arch"]))


def debian(text: str) -> list[Package]:
    """Return the packages of dpkg-query's words; what was removed and left its configuration is none."""
    rows = [line.split("\t") for line in text.splitlines() if line.startswith("ii")]
    return [{"kind": "deb", "name": name, "version": version, "arch": arch} for _state, name, version, arch in rows]


def rpm(text: str) -> list[Package]:
    """Return the packages of rpm's words; the keys that it lists among them are none."""
    rows = [line.split("\t") for line in text.splitlines() if line.count("\t") == 2]
    return [
        {"kind": "rpm", "name": name, "version": version[2:] if version.startswith("0:") else version, "arch": arch}
        for name, version, arch in rows
        if name != "gpg-pubkey"
    ]


def programs(patterns: Iterable[str] = PROGRAMS) -> dict[str, str]:
    """Return the SHA-256 of each program in folders that no package fills."""
    paths = sorted(path for pattern in patterns for path in Path("/").glob(pattern.lstrip("/")))
    seen = {str(path): files.sha256(path) for path in paths if path.is_file() and not path.is_symlink()}
    return {path: digest for path, digest in seen.items() if digest}


def images() -> dict[str, str]:
    """Return the digest of each image of which there is a container."""
    said = run([*CTR, "containers", "list"], timeout=60)
    used = {line.split()[1] for line in said.out.splitlines()[1:] if len(line.split()) > 1}
    listed = run([*CTR, "images", "list"], timeout=60)
    rows = [line.split() for line in listed.out.splitlines()[1:]]
    digests = {row[0]: next((word for word in row if word.startswith("sha256:")), "") for row in rows if row}
    return {name: digests[name] for name in sorted(used) if digests.get(name)}
