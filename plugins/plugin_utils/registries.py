# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Registries and their mirrors as the files that containerd reads. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

FOLDER = "/etc/containerd/certs.d"
HEADER = "# Managed by kubesmith.\n"


def hosts_files(registries: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return ``{path, content}`` of each registry's hosts.toml, and of each CA that was given as PEM text."""
    return [file for registry in registries for file in _registry(registry)]


def folder(upstream: str) -> str:
    """Return the folder of a registry: a port is written host_port_, which any file system can hold."""
    host, colon, port = upstream.partition(":")
    return f"{FOLDER}/{host}_{port}_" if colon else f"{FOLDER}/{host}"


def server(upstream: str) -> str:
    """Return the address of the registry itself, an empty string for all registries (_default)."""
    hosts = {"_default": "", "docker.io": "https://registry-1.docker.io"}
    return hosts.get(upstream, f"https://{upstream}")


def _registry(registry: Mapping[str, Any]) -> list[dict[str, str]]:
    where = folder(registry["upstream"])
    lines, files = [], []
    if server(registry["upstream"]):
        lines.append(f"server = {_quoted(server(registry['upstream']))}")
    for number, mirror in enumerate(registry.get("mirrors") or ()):
        ca = mirror.get("ca") or ""
        if ca.startswith("-----BEGIN"):
            files.append({"path": f"{where}/ca-{number}.crt", "content": HEADER + ca.rstrip() + "\n"})
            ca = f"{where}/ca-{number}.crt"
        lines += ["", *_mirror(mirror, ca)]
    return [{"path": f"{where}/hosts.toml", "content": HEADER + "\n".join(lines) + "\n"}, *files]


def _mirror(mirror: Mapping[str, Any], ca: str) -> list[str]:
    name = f"host.{_quoted(mirror['url'])}"
    capabilities = mirror.get("capabilities") or ["pull", "resolve"]
    lines = [f"[{name}]", f"  capabilities = [{', '.join(_quoted(word) for word in capabilities)}]"]
    if ca:
        lines.append(f"  ca = {_quoted(ca)}")
    if mirror.get("skip_verify"):
        lines.append("  skip_verify = true")
    if mirror.get("header"):
        lines.append(f"  [{name}.header]")
        lines += [f"    {_quoted(key)} = {_quoted(value)}" for key, value in sorted(mirror["header"].items())]
    return lines


def _quoted(text: str) -> str:
    """Return a TOML basic string; JSON's escapes are a part of TOML's."""
    return json.dumps(str(text), ensure_ascii=False)
