# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What a benchmark wants to know about a node and its cluster, read from what runs. Keeps no secret."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kubesmith.cluster.plugins.module_utils import files, permissions, served
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import Api, ApiError, Object

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
#: Files that the API server is told of, by its argument; what is kept of the last one are the names of its providers.
READ = ("--authentication-config", "--admission-control-config-file", "--audit-policy-file")
ENCRYPTION = "--encryption-provider-config"
PROVIDER = re.compile(r"[\"\s-](secretbox|aescbc|aesgcm|kms|identity)\"?\s*:")
PORTS = (2379, 2380, 2381, 6443, 10248, 10249, 10250, 10255, 10256, 10257, 10259)
LISTENING = "0A"  # in /proc/net/tcp


def look(patterns: Iterable[str], root: str = "/") -> dict[str, Any]:
    """Return {programs, files, texts, providers, listening} of this node.

    ``programs`` are the command lines of the cluster's programs that run, ``files`` {path: [octal mode, user:group]} of
    what matches ``patterns``, ``texts`` the configuration files of the API server by the argument that names them,
    ``listening`` {port: [addresses]} of the ports of a cluster.
    """
    programs = running(root)
    server = programs.get("kube-apiserver", [])
    texts = {name: files.read(root + value.lstrip("/")) for name in READ for value in values(server, name)}
    encryption = "".join(files.read(root + value.lstrip("/")) or "" for value in values(server, ENCRYPTION))
    return {
        "programs": programs,
        "files": modes(patterns, root),
        "texts": {name: text for name, text in texts.items() if text is not None},
        "providers": PROVIDER.findall(encryption),
        "listening": listening(root),
    }


def running(root: str = "/") -> dict[str, list[str]]:
    """Return the command line of each of the cluster's programs that runs on this node."""
    found = {}
    for name in PROGRAMS:
        for pid in served.processes(name):
            with contextlib.suppress(OSError):  # it ended meanwhile
                raw = Path(f"{root}/proc/{pid}/cmdline").read_bytes()
                found[name] = raw.decode(errors="replace").split("\0")[:-1]
    return found


def values(words: Sequence[str], name: str) -> list[str]:
    """Return the value of a program's argument, as a list of one; nothing where it is not given."""
    found = [word.partition("=")[2] for word in words if word.startswith(f"{name}=")]
    found += [words[at + 1] for at, word in enumerate(words[:-1]) if word == name]
    return found[-1:]


def modes(patterns: Iterable[str], root: str = "/") -> dict[str, list[str]]:
    """Return {path: [octal mode, user:group]} of the files that match."""
    found = {}
    for pattern in patterns:
        for path in sorted(Path(root).glob(pattern.lstrip("/"))):
            try:
                seen = path.stat()
            except OSError:
                continue
            owner = f"{permissions.user_name(seen.st_uid)}:{permissions.group_name(seen.st_gid)}"
            found["/" + str(path.relative_to(root))] = [f"{seen.st_mode & 0o7777:o}", owner]
    return found


def listening(root: str = "/") -> dict[str, list[str]]:
    """Return the addresses on which something listens, by port: of the ports of a cluster those that are open."""
    found: dict[str, set[str]] = {}
    for name in ("tcp", "tcp6"):
        for line in (files.read(f"{root}proc/net/{name}") or "").splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, _colon, port = local.partition(":")
            if state == LISTENING and int(port, 16) in PORTS:
                found.setdefault(str(int(port, 16)), set()).add(address_of(address))
    return {port: sorted(addresses) for port, addresses in found.items()}


def address_of(raw: str) -> str:
    """Return an address of /proc/net/tcp in words: IPv4 as usual, of IPv6 what matters here, all or loopback."""
    if len(raw) == 8:
        return ".".join(str(byte) for byte in reversed(bytes.fromhex(raw)))
    number = bytes.fromhex(raw)
    if not any(number):
        return "::"
    return "::1" if raw == "00000000000000000000000001000000" else raw


def cluster(api: Optional[Api] = None) -> dict[str, Any]:
    """Return what the API server says: roles, bindings, namespaces, accounts, pods by what they may, kubelets.

    ``error`` says why there is nothing more where it does not answer.
    """
    try:
        server = api or Api()
        nodes = [item["metadata"]["name"] for item in server.get("/api/v1/nodes")["items"]]
        rbac = "/apis/rbac.authorization.k8s.io/v1"
        return {
            "error": "",
            "kubelets": {name: kubelet(server, name) for name in nodes},
            "proxy": proxy(server),
            "roles": [
                role(item) for kind in ("clusterroles", "roles") for item in server.get(f"{rbac}/{kind}")["items"]
            ],
            "bindings": [
                binding(item)
                for kind in ("clusterrolebindings", "rolebindings")
                for item in server.get(f"{rbac}/{kind}")["items"]
            ],
            "namespaces": {
                item["metadata"]["name"]: item["metadata"].get("labels") or {}
                for item in server.get("/api/v1/namespaces")["items"]
            },
            "policies": sorted(
                {
                    item["metadata"]["namespace"]
                    for item in server.get("/apis/networking.k8s.io/v1/networkpolicies")["items"]
                }
            ),
            "accounts": {
                item["metadata"]["namespace"]: item.get("automountServiceAccountToken", True)
                for item in server.get("/api/v1/serviceaccounts?fieldSelector=metadata.name%3Ddefault")["items"]
            },
            "pods": [pod(item) for item in server.get("/api/v1/pods")["items"]],
        }
    except ApiError as error:
        return {"error": str(error)}


def kubelet(api: Api, node: str) -> Optional[Object]:
    """Return the configuration that a kubelet works with; None where it cannot be asked."""
    try:
        found: Object = api.get(f"/api/v1/nodes/{node}/proxy/configz")["kubeletconfig"]
    except (ApiError, KeyError, TypeError):
        return None
    return found


def proxy(api: Api) -> str:
    """Return kube-proxy's configuration, a YAML text."""
    found = api.find("/api/v1/namespaces/kube-system/configmaps/kube-proxy") or {}
    return str((found.get("data") or {}).get("config.conf", ""))


def role(item: Object) -> Object:
    """Return a role's name (with its namespace) and rules."""
    return {"name": full_name(item), "rules": item.get("rules") or []}


def binding(item: Object) -> Object:
    """Return a binding's name, the role that it grants and to whom."""
    namespace = item["metadata"].get("namespace", "")
    inside = namespace if item["roleRef"]["kind"] == "Role" else ""
    rows = item.get("subjects") or []
    subjects = [f"{row['kind']} {row.get('namespace', '')}/{row['name']}".replace(" /", " ") for row in rows]
    name = f"{inside}/{item['roleRef']['name']}" if inside else item["roleRef"]["name"]
    return {"name": full_name(item), "role": name, "subjects": subjects}


def full_name(item: Object) -> str:
    """Return an object's name, with its namespace in front if it has one."""
    metadata = item["metadata"]
    return "/".join(part for part in (metadata.get("namespace"), metadata["name"]) if part)


def pod(item: Object) -> Object:
    """Return a pod's name, and of what a pod may what this one does, as words."""
    spec = item["spec"]
    containers = [*(spec.get("initContainers") or []), *spec["containers"]]
    contexts = [container.get("securityContext") or {} for container in containers]
    does = [name for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    does += ["privileged"] if any(context.get("privileged") for context in contexts) else []
    does += ["escalation"] if any(may_escalate(context) for context in contexts) else []
    does += ["root"] if any(may_be_root(context, spec) for context in contexts) else []
    does += ["capabilities"] if any((context.get("capabilities") or {}).get("add") for context in contexts) else []
    does += ["net_raw"] if any(not drops_net_raw(context) for context in contexts) else []
    does += ["hostPath"] if any("hostPath" in volume for volume in spec.get("volumes") or []) else []
    does += ["hostPort"] if any(p.get("hostPort") for c in containers for p in c.get("ports") or []) else []
    does += ["secretEnv"] if any(uses_secret(container) for container in containers) else []
    does += ["token"] if any(token_volume(volume) for volume in spec.get("volumes") or []) else []
    does += [] if any(spec.get("securityContext") or {}) or any(contexts) else ["noContext"]
    return {"name": full_name(item), "does": does}


def may_escalate(context: Mapping[str, Any]) -> bool:
    """Tell whether a container's programs may get more rights than their parent: so it is unless it is refused."""
    return context.get("allowPrivilegeEscalation", True) is not False


def may_be_root(context: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    """Tell whether a container may run as root."""
    whole = spec.get("securityContext") or {}
    user = context.get("runAsUser", whole.get("runAsUser"))
    return not (context.get("runAsNonRoot", whole.get("runAsNonRoot")) or user)


def drops_net_raw(context: Mapping[str, Any]) -> bool:
    """Tell whether a container gives the right to raw packets away."""
    dropped = (context.get("capabilities") or {}).get("drop") or []
    return bool({"ALL", "NET_RAW"} & set(dropped))


def uses_secret(container: Mapping[str, Any]) -> bool:
    """Tell whether a container finds a secret in its environment."""
    env = container.get("env") or []
    return any("secretKeyRef" in (row.get("valueFrom") or {}) for row in env) or any(
        "secretRef" in row for row in container.get("envFrom") or []
    )


def token_volume(volume: Mapping[str, Any]) -> bool:
    """Tell whether a volume holds a token of the pod's service account."""
    return any("serviceAccountToken" in source for source in (volume.get("projected") or {}).get("sources") or [])
