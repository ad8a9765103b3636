# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The keys by which a control plane encrypts secrets in etcd, and what really stands there."""

from __future__ import annotations

import base64
import contextlib
import copy
import hashlib
import http.client
import json
import os
import re
import signal
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kubesmith.cluster.plugins.module_utils import files, served
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import Api, ApiError
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, must

SERVER = "kube-apiserver"
ETCDCTL, PKI = "/usr/local/bin/etcdctl", "/etc/kubernetes/pki"
#: What may be encrypted besides secrets: where it is in etcd and in the API, both with namespace and name behind.
PLACES = {"secrets": "/registry/secrets/", "configmaps": "/registry/configmaps/"}
MARK = b"k8s:enc:"
BYTES = 32
NUMBER = re.compile(r"\d+$")
Config = dict[str, Any]
Key = dict[str, str]


def path() -> str:
    """Return the file that this node's API server is told of; CommandError where it is told of none."""
    found = served.flag(SERVER, r"--encryption-provider-config=([^\s\"']+)")
    if not found:
        raise CommandError(
            "secrets are not encrypted: the API server has no --encryption-provider-config. A cluster gets it when it "
            "is made, by features.encrypt_secrets or security.profile cis"
        )
    return found


def load(place: str) -> Config:
    """Return the configuration; CommandError for one that is not as kubesmith writes it."""
    text = files.read(place)
    if text is None:
        raise CommandError(f"{place}, which the API server is told of, is not there")
    try:
        config: Config = json.loads(text)
        keys(config)
    except (ValueError, KeyError, IndexError, TypeError):
        raise CommandError(
            f"{place} is not as kubesmith writes it: JSON, one entry of resources, a provider with keys first"
        ) from None
    if len(config["resources"]) != 1 or (strange := set(resources(config)) - set(PLACES)):
        names = sorted(strange) if len(config["resources"]) == 1 else "several entries of resources"
        raise CommandError(f"{place} encrypts more than its keys can be changed for here: {names}")
    return config


def save(place: str, config: Config) -> None:
    """Write the configuration, whole or not at all, for root only."""
    files.put(place, json.dumps(config, indent=2) + "\n", 0o600)


def resources(config: Config) -> list[str]:
    """Return what is encrypted: secrets, and perhaps more."""
    found: list[str] = config["resources"][0]["resources"]
    return found


def provider(config: Config) -> str:
    """Return the name of the provider that writes."""
    first: Config = config["resources"][0]["providers"][0]
    return next(iter(first))


def keys(config: Config) -> list[Key]:
    """Return the keys, the one that writes first."""
    found: list[Key] = config["resources"][0]["providers"][0][provider(config)]["keys"]
    if not found:
        raise KeyError("keys")
    return found


def told(config: Config) -> list[Key]:
    """Return {name, digest} of each key; the digest tells two keys apart and nothing of what they are."""
    return [{"name": key["name"], "digest": digest(key)} for key in keys(config)]


def digest(key: Key) -> str:
    """Return the beginning of a key's SHA-256; a key is random, so that it cannot be guessed from that."""
    return hashlib.sha256(base64.b64decode(key["secret"])).hexdigest()[:12]


def newest(config: Config) -> Key:
    """Return the key with the highest number at the end of its name."""
    return max(keys(config), key=lambda key: _number(key["name"]))


def _number(name: str) -> int:
    found = NUMBER.search(name)
    return int(found.group()) if found else 0


def made(config: Config) -> Key:
    """Return a new random key, its number one above all others."""
    number = max(_number(key["name"]) for key in keys(config)) + 1
    return {"name": f"key{number}", "secret": base64.b64encode(os.urandom(BYTES)).decode()}


def with_keys(config: Config, wanted: list[Key]) -> Config:
    """Return the configuration with these keys instead."""
    changed = copy.deepcopy(config)
    changed["resources"][0]["providers"][0][provider(config)]["keys"] = wanted
    return changed


def present(config: Config, key: Key) -> Config:
    """Return the configuration with a key that reads, behind the others; CommandError for another of this name."""
    same = [other for other in keys(config) if other["name"] == key["name"]]
    if same and same[0]["secret"] != key["secret"]:
        raise CommandError(f"this control plane has another key of the name {key['name']}; both stay as they are")
    return config if same else with_keys(config, [*keys(config), key])


def first(config: Config, name: str) -> Config:
    """Return the configuration with the key of this name in front, where it writes."""
    return (
        with_keys(config, sorted(keys(config), key=lambda key: key["name"] != name)) if _has(config, name) else config
    )


def only(config: Config, name: str) -> Config:
    """Return the configuration without any other key."""
    return with_keys(config, [key for key in keys(config) if key["name"] == name]) if _has(config, name) else config


def _has(config: Config, name: str) -> bool:
    if all(key["name"] != name for key in keys(config)):
        raise CommandError(f"this control plane has no key {name!r}: {', '.join(key['name'] for key in keys(config))}")
    return True


def in_use(place: str) -> bool:
    """Tell whether the API server of this node was started with the file as it is, and is ready."""
    start = served.start_of(SERVER)
    return start is not None and start >= Path(place).stat().st_mtime and ready()


def ready() -> bool:
    """Tell whether the API server of this very node says so; whoever asks for that needs no credentials."""
    host, port = "127.0.0.1", int(served.flag(SERVER, r"--secure-port=(\d+)") or 6443)
    context = ssl.create_default_context(cafile=f"{PKI}/ca.crt")
    context.check_hostname = False  # its certificate is not for this address; it must be the cluster's all the same
    connection = http.client.HTTPSConnection(host, port, context=context, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def restart(place: str, timeout: float) -> None:
    """End the API server of this node, and wait until the kubelet has started it again; CommandError if it does not."""
    for pid in served.processes(SERVER):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    ends = time.monotonic() + timeout
    while not in_use(place):
        if time.monotonic() > ends:
            raise CommandError(f"the API server was restarted to read {place}, and is not ready after {timeout:.0f} s")
        time.sleep(0.5)


def etcd(resource: str) -> Iterator[tuple[str, bytes]]:
    """Yield (namespace/name, raw bytes) of each object as it stands in etcd."""
    pki = [f"--cacert={PKI}/etcd/ca.crt", f"--cert={PKI}/etcd/healthcheck-client.crt"]
    pki += [f"--key={PKI}/etcd/healthcheck-client.key", "--endpoints=https://127.0.0.1:2379"]
    place = PLACES[resource]
    said = must([ETCDCTL, *pki, "get", place, "--prefix", "--write-out=json"], timeout=120)
    for row in json.loads(said).get("kvs", []):
        name = base64.b64decode(row["key"]).decode().removeprefix(place)
        yield name, base64.b64decode(row.get("value", ""))


def written_by(raw: bytes) -> str:
    """Return the provider and the key that the bytes say they were written by, or ``plain``."""
    if not raw.startswith(MARK):
        return "plain"
    parts = raw.split(b":", 5)
    return b":".join((parts[2], parts[4])).decode(errors="replace")


def stored(config: Config) -> dict[str, int]:
    """Return how many objects are written in etcd by which key: {"secretbox:key1": 12, "plain": 1}."""
    counts: dict[str, int] = {}
    for resource in resources(config):
        for _name, raw in etcd(resource):
            by = written_by(raw)
            counts[by] = counts.get(by, 0) + 1
    return counts


def writer(config: Config) -> str:
    """Return the key that writes as ``written_by`` tells it."""
    return f"{provider(config)}:{keys(config)[0]['name']}"


def outdated(config: Config) -> list[tuple[str, str]]:
    """Return (resource, namespace/name) of what in etcd was not written by the first key."""
    wanted = writer(config)
    return [
        (resource, name) for resource in resources(config) for name, raw in etcd(resource) if written_by(raw) != wanted
    ]


def rewrite(rows: list[tuple[str, str]], api: Optional[Api] = None) -> None:
    """Have the API server write objects anew as they are; one that is gone, or changes meanwhile, is no error."""
    server = api or Api()
    for resource, name in rows:
        namespace, _slash, short = name.partition("/")
        place = f"/api/v1/namespaces/{namespace}/{resource}/{short}"
        try:
            if (item := server.find(place)) is not None:
                server.request("PUT", place, item)
        except ApiError as error:
            if error.status not in (http.HTTPStatus.CONFLICT, http.HTTPStatus.NOT_FOUND):
                raise
