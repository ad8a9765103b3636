# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Registries, their mirrors and logins, and the proxy, as the files that containerd reads. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

FOLDER = "/etc/containerd/certs.d"
HEADER = "# Managed by kubesmith.\n"
PROXY = "/etc/containerd/proxy.env"
DROP_IN = "/etc/systemd/system/containerd.service.d/kubesmith-proxy.conf"


def hosts_files(registries: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return ``{path, content, mode}`` of each registry's hosts.toml, and of each CA that was given as PEM text."""
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
    address = server(registry["upstream"])
    if address:
        lines.append(f"server = {_quoted(address)}")
    for number, host in enumerate([*(registry.get("mirrors") or ()), *_itself(registry, address)]):
        ca = host.get("ca") or ""
        if ca.startswith("-----BEGIN"):
            files.append({"path": f"{where}/ca-{number}.crt", "content": HEADER + ca.rstrip() + "\n", "mode": "0644"})
            ca = f"{where}/ca-{number}.crt"
        lines += ["", *_mirror(host, ca)]
    mode = "0600" if _private(registry) else "0644"
    return [{"path": f"{where}/hosts.toml", "content": HEADER + "\n".join(lines) + "\n", "mode": mode}, *files]


def _itself(registry: Mapping[str, Any], address: str) -> list[dict[str, Any]]:
    """Return the registry's own row after its mirrors, where it has a login or a certificate of its own."""
    own = {key: registry[key] for key in ("auth", "ca", "skip_verify") if registry.get(key)}
    return [{"url": address, **own}] if own and address else []


def _private(registry: Mapping[str, Any]) -> bool:
    """Tell whether the registry's file holds what others may not read."""
    return any(host.get("auth") or host.get("header") for host in (registry, *(registry.get("mirrors") or ())))


def authorization(auth: Mapping[str, str]) -> str:
    """Return the header for a login.

    containerd sends it to that host alone, also when it asks that host's token service; CRI's own table of logins
    (registry.configs) is deprecated and would put the password into config.toml.
    """
    return "Basic " + base64.b64encode(f"{auth['username']}:{auth['password']}".encode()).decode()


def _mirror(mirror: Mapping[str, Any], ca: str) -> list[str]:
    name = f"host.{_quoted(mirror['url'])}"
    capabilities = mirror.get("capabilities") or ["pull", "resolve"]
    lines = [f"[{name}]", f"  capabilities = [{', '.join(_quoted(word) for word in capabilities)}]"]
    if ca:
        lines.append(f"  ca = {_quoted(ca)}")
    if mirror.get("skip_verify"):
        lines.append("  skip_verify = true")
    header = dict(mirror.get("header") or {})
    if mirror.get("auth"):
        header["Authorization"] = authorization(mirror["auth"])
    if header:
        lines.append(f"  [{name}.header]")
        lines += [f"    {_quoted(key)} = {_quoted(value)}" for key, value in sorted(header.items())]
    return lines


def proxy_files(proxy: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return ``{path, content, mode}`` of the files that give containerd its proxy; an empty one takes it away."""
    names = {"http": "HTTP_PROXY", "https": "HTTPS_PROXY"}
    lines = [f"{names[key]}={_with_login(proxy[key], proxy.get('auth'))}" for key in names if proxy.get(key)]
    if not lines:
        return [{"path": PROXY, "content": HEADER, "mode": "0600"}]
    if proxy.get("no_proxy"):
        lines.append("NO_PROXY=" + ",".join(proxy["no_proxy"]))
    unit = f"{HEADER}[Service]\nEnvironmentFile=-{PROXY}\n"
    return [
        {"path": PROXY, "content": HEADER + "\n".join(lines) + "\n", "mode": "0600"},
        {"path": DROP_IN, "content": unit, "mode": "0644"},
    ]


def _with_login(url: str, auth: Mapping[str, str] | None) -> str:
    if not auth:
        return url
    parts = urlsplit(url)
    login = f"{quote(auth['username'], safe='')}:{quote(auth['password'], safe='')}"
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}"))


def logins(registries: Sequence[Mapping[str, Any]], proxy: Mapping[str, Any] | None = None) -> list[tuple[str, Any]]:
    """Return (whose, auth) of every login."""
    rows = [(registry["upstream"], registry) for registry in registries]
    rows += [(mirror["url"], mirror) for registry in registries for mirror in registry.get("mirrors") or ()]
    rows += [("the proxy", proxy)] if proxy else []
    return [(whose, row["auth"]) for whose, row in rows if row.get("auth")]


def resolved(row: Mapping[str, Any], password: Callable[[str, Mapping[str, Any]], str], whose: str) -> dict[str, Any]:
    """Return a registry, mirror or proxy with its password in it, as ``password(whose, auth)`` gives it."""
    made = dict(row)
    if row.get("auth"):
        made["auth"] = {"username": row["auth"]["username"], "password": password(whose, row["auth"])}
    if row.get("mirrors"):
        made["mirrors"] = [resolved(mirror, password, mirror["url"]) for mirror in row["mirrors"]]
    return made


def _quoted(text: str) -> str:
    """Return a TOML basic string; JSON's escapes are a part of TOML's."""
    return json.dumps(str(text), ensure_ascii=False)
