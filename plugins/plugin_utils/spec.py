# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The cluster file as a frozen, typed Spec; every problem in it found in one go."""

from __future__ import annotations

import copy
import difflib
import ipaddress
import itertools
import re
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path as File
from typing import Annotated, Any, Literal, Optional

try:
    import pydantic
except ImportError as error:  # the collection is installed, its Python requirement is not
    raise ImportError(
        "kubesmith.cluster needs pydantic 2 on the controller: python3 -m pip install pydantic"
    ) from error

from ansible_collections.kubesmith.cluster.plugins.plugin_utils import rules
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.load import MAX_BYTES, Document, parse
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.problems import (
    MOST_PROBLEMS,
    Path,
    Problem,
    SpecError,
    shown,
)
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

VERSIONS = ("1.36.3", "1.37.2")  # Kubernetes versions that the bundle's recipes build, oldest first
IPV4 = r"((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(\.(?=[0-9])|(?![0-9.]))){4}"
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
HOST = re.compile(r"[A-Za-z0-9]([-.A-Za-z0-9]*[A-Za-z0-9])?|[0-9A-Fa-f:]+")
NUMBERS = re.compile(
    r"([^:]*\.)?\d+"
)  # a name that ends in a number is none: it is meant as an address (RFC 1123, 2.1)
DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
QUALIFIED = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
TAINT = re.compile(QUALIFIED.pattern + r"(=[-A-Za-z0-9_.]*)?:(NoSchedule|PreferNoSchedule|NoExecute)")
PATCHED = (
    *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
    *("kubeletconfiguration", "corednsdeployment"),
)
PATCH = re.compile(rf"({'|'.join(PATCHED)})[0-9a-zA-Z-]*(\+(?P<kind>strategic|merge|json))?")
PATCH_RULE = f"a target is one of {', '.join(PATCHED)}, then, if wanted, +strategic, +merge or +json"
OPERATIONS = ("add", "remove", "replace", "move", "copy", "test")
SHARE = re.compile(r"([1-9][0-9]?|100)%")
USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
USER_RULE = "is not a user name: lower-case letters, digits, '-' and '_', 32 at most"
JUMP = re.compile(r"([^\s@,:]+@)?(?P<host>[-.A-Za-z0-9]+|\[[0-9A-Fa-f:]+\])(:(?P<port>\d{1,5}))?")
TAKEN_NAMES = {
    "all": "Ansible's group of all machines",
    "ungrouped": "Ansible's group of machines without one",
    "localhost": "every machine itself",
}


@dataclass(frozen=True)
class _Matching(AfterValidator):
    """A validator by a regular expression, which the JSON Schema carries too: an editor shows the same mistakes."""

    keywords: dict[str, Any] = field(default_factory=dict)

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> Any:
        """Return the schema with the expression and the length in it."""
        return handler(core) | self.keywords


def _matching(pattern: re.Pattern[str], rule: str, longest: int = 253) -> AfterValidator:
    def check(value: str) -> str:
        if len(value) > longest:
            raise ValueError(f"has {len(value)} characters, the most is {longest}")
        if not pattern.fullmatch(value):
            raise ValueError(rule)
        return value

    return _Matching(check, {"pattern": f"^({pattern.pattern})$", "maxLength": longest})


def _address(value: str) -> str:
    try:
        right = ipaddress.IPv4Address(value)
    except ValueError:
        raise ValueError("is not an IPv4 address such as 192.168.56.10") from None
    return _of_a_machine(right)


def _of_a_machine(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Return an address that a node can have; the kubelet refuses the others too (ValidateNodeIP)."""
    kinds = {
        "loopback": address.is_loopback,
        "multicast": address.is_multicast,
        "link-local": address.is_link_local,
        "unspecified": address.is_unspecified,
        "reserved": address.is_reserved,
    }
    for kind, yes in kinds.items():
        if yes:
            article = "an" if kind == "unspecified" else "a"
            raise ValueError(f"is {article} {kind} address, at which no other machine reaches this one")
    return str(address)


def _host(value: str) -> str:
    if NUMBERS.fullmatch(value) or ":" in value:
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            raise ValueError("is not a host name or address") from None
    return value


def _jumps(value: str) -> str:
    for jump in value.split(","):
        found = JUMP.fullmatch(jump)
        if not found or not 1 <= int(found["port"] or 22) <= 65535:
            raise ValueError("is not a jump host as user@host:port")
        _host(found["host"].strip("[]"))
    return value


def _network(value: str) -> str:
    rule = "is not an IPv4 network in CIDR notation such as 10.244.0.0/16"
    if "/" not in value:
        raise ValueError(rule)
    try:
        right = ipaddress.IPv4Network(value, strict=False)
    except ValueError:
        raise ValueError(rule) from None
    if ipaddress.IPv4Address(value.partition("/")[0]) != right.network_address:
        raise ValueError(f"has host bits set: the network is {right}")
    if right.is_loopback or right.is_link_local or right.is_multicast or right.is_reserved:
        raise ValueError("has addresses that do not leave a machine: take a private network such as 10.244.0.0/16")
    return str(right)


def _joined(value: Any) -> Any:
    """Return a list of networks, one for each family, as kubeadm writes it: with a comma."""
    texts = isinstance(value, list) and value and all(isinstance(part, str) for part in value)
    return ",".join(value) if texts else value


def _networks(value: str) -> str:
    first, comma, second = (part.strip() for part in value.partition(","))
    if not comma:
        return _network(first)
    try:
        six = ipaddress.IPv6Network(second, strict=False)
    except ValueError:
        six = None
    if six is None or "/" not in second or ":" in first:
        example = "10.244.0.0/16,fd00:10:244::/56"
        raise ValueError(f"is not an IPv4 network, or an IPv4 and then an IPv6 one such as {example}")
    if ipaddress.IPv6Address(second.partition("/")[0]) != six.network_address:
        raise ValueError(f"has host bits set: the network is {six}")
    return f"{_network(first)},{six}"


def _address6(value: str) -> str:
    try:
        right = ipaddress.IPv6Address(value)
    except ValueError:
        raise ValueError("is not an IPv6 address such as fd00:56::10") from None
    return _of_a_machine(right)


def _version(value: str) -> str:
    wanted = value.removeprefix("v")
    if wanted in ("stable", "latest"):  # the recipes build releases only, so that the two are one
        return VERSIONS[-1]
    newest = [version for version in VERSIONS if version == wanted or version.rsplit(".", 1)[0] == wanted]
    if not newest:
        raise ValueError(f"is not a Kubernetes version that this release builds: {', '.join(VERSIONS)}, or stable")
    return newest[-1]


def _free_name(value: str) -> str:
    if value in TAKEN_NAMES:
        raise ValueError(f"means something else already: {TAKEN_NAMES[value]}")
    return value


def _at_once(value: Any) -> Any:
    number = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 5000
    if not number and not (isinstance(value, str) and SHARE.fullmatch(value)):
        raise ValueError("is neither a number of nodes from 1 to 5000 nor a percentage from 1% to 100%")
    return value


ClusterName = Annotated[str, _matching(LABEL, "is not a name: lower-case letters, digits and inner hyphens", 32)]
NodeName = Annotated[
    str,
    _matching(DOMAIN, "is not a host name: lower-case letters, digits, inner hyphens and dots", 63),
    AfterValidator(_free_name),
]
Host = Annotated[str, _matching(HOST, "is not a host name or address"), AfterValidator(_host)]
Endpoint = Annotated[
    str,
    _matching(HOST, "is not a host name or address: it has no https:// and no port, which is 6443"),
    AfterValidator(_host),
]
Address = Annotated[str, AfterValidator(_address), WithJsonSchema({"type": "string", "pattern": f"^{IPV4}$"})]
NetworkCidr = Annotated[
    str, AfterValidator(_network), WithJsonSchema({"type": "string", "pattern": f"^{IPV4}/[0-9]{{1,2}}$"})
]
Address6 = Annotated[str, AfterValidator(_address6), WithJsonSchema({"type": "string", "format": "ipv6"})]
NetworkPair = Annotated[
    str,
    BeforeValidator(_joined),
    AfterValidator(_networks),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": 2}]}),
]
Port = Annotated[int, Field(ge=1, le=65535)]
LabelKey = Annotated[str, _matching(QUALIFIED, "is not a label key such as tier or example.org/tier")]
LabelValue = Annotated[str, _matching(LABEL_VALUE, "is not a label value: letters, digits, '-', '_', '.'", 63)]
AtOnce = Annotated[
    Any,
    AfterValidator(_at_once),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 5000},
                {"type": "string", "pattern": f"^{SHARE.pattern}$"},
            ]
        }
    ),
]
Taint = Annotated[str, _matching(TAINT, "is not a taint such as dedicated=gpu:NoSchedule")]


class Part(BaseModel):
    """Common behaviour: frozen, no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Cluster(Part):
    """What the cluster is called and which Kubernetes it runs."""

    name: ClusterName = Field(description="Name of the cluster; machines, networks and the state folder carry it.")
    kubernetes: Annotated[
        str,
        AfterValidator(_version),
        # Editors read 1.37 as a number; what reads the file does not.
        WithJsonSchema({"type": ["string", "number"], "examples": ["stable", *VERSIONS]}),
    ] = Field(
        VERSIONS[-1],
        validate_default=True,
        description="Kubernetes version, a minor (its newest patch), stable or latest.",
    )
    endpoint: Optional[Endpoint] = Field(
        None,
        description="Name or address by which the API server is reached at port 6443, that of a load balancer for "
        "instance; by default vip, or the only control plane's address.",
    )
    vip: Optional[Address] = Field(
        None,
        description="Free address that the control planes share: keepalived keeps it on one of them, HAProxy there "
        "hands connections on to all. Machines of a provider get one by themselves if there are several of them.",
    )
    vip_port: Annotated[int, Field(ge=1024, le=65534)] = Field(
        8443, description="Port of HAProxy at that address; the next one, on loopback, tells how it is."
    )


class Group(Part):
    """What several nodes have in common."""

    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, description="Labels of each of its nodes.")
    taints: tuple[Taint, ...] = Field((), strict=False, description="Taints of each of its nodes.")
    kubelet: dict[str, Any] = Field(
        default_factory=dict,
        description="Merged into KubeletConfiguration of each of its nodes, above kubeadm.kubelet.",
    )
    max_unavailable: AtOnce = Field(
        1, description="How many of its workers an upgrade takes out of service at a time, or how much of them, as 25%."
    )

    def at_once(self, nodes: int) -> int:
        """Return how many of ``nodes`` nodes may be out of service at a time: a share is rounded down, to one."""
        wanted = self.max_unavailable
        number = nodes * int(wanted[:-1]) // 100 if isinstance(wanted, str) else int(wanted)
        return max(1, min(number, nodes))


class Node(Part):
    """One machine."""

    name: NodeName = Field(description="Host name and node name.")
    role: Literal["control-plane", "worker"] = Field("worker", description="What the node does in the cluster.")
    address: Optional[Address] = Field(None, description="Address that kubelet, API server and Calico use.")
    address6: Optional[Address6] = Field(None, description="IPv6 address of the node in a dual-stack cluster.")
    host: Optional[Host] = Field(None, description="Where SSH reaches the machine, if not at its address.")
    port: Optional[Port] = Field(None, description="SSH port, if not the one of access.port.")
    user: Optional[Annotated[str, _matching(USER, USER_RULE)]] = Field(
        None, description="SSH user, if not the one of access.user."
    )
    group: Optional[ClusterName] = Field(None, description="The group under 'groups' that it belongs to.")
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, description="Labels of the node.")
    taints: tuple[Taint, ...] = Field((), strict=False, description="Taints of the node, as key=value:Effect.")
    kubelet: dict[str, Any] = Field(
        default_factory=dict, description="Merged into KubeletConfiguration of the node, above its group's."
    )


class Calico(Part):
    """The network plug-in."""

    encapsulation: Literal["vxlan", "ipip", "none"] = Field("vxlan", description="How pods of two nodes reach another.")
    mtu: Annotated[int, Field(ge=0, le=9000)] = Field(0, description="MTU of pod interfaces in bytes; 0: worked out.")


class Network(Part):
    """Address ranges, DNS and the network plug-in."""

    pods: NetworkPair = Field("10.244.0.0/16", description="Pod CIDR; for dual-stack an IPv4 and an IPv6 one.")
    services: NetworkPair = Field("10.96.0.0/12", description="Service CIDR; for dual-stack an IPv4 and an IPv6 one.")
    nodes: Optional[NetworkCidr] = Field(
        None, description="Network of the machines that a provider makes; a free one is found by default."
    )
    dns_domain: Annotated[
        str, _matching(DOMAIN, "is not a DNS domain: lower-case letters, digits, inner hyphens and dots")
    ] = Field("cluster.local", description="DNS domain of services.")
    proxy: Literal["nftables", "iptables"] = Field("nftables", description="Mode of kube-proxy.")
    calico: Calico = Field(default_factory=Calico, description="The network plug-in's settings.")


FROM_CONTROLLER = re.compile(r"(/|~/)\S+")


class Auth(Part):
    """A login. The password itself never stands in the cluster file."""

    username: Annotated[str, _matching(re.compile(r"[^\s:]+"), "is empty, or has white space or a colon")] = Field(
        description="Name to log in with."
    )
    password_env: Optional[Annotated[str, _matching(re.compile(r"[A-Za-z_][A-Za-z0-9_]*"), "is not a name")]] = Field(
        None, description="Environment variable, on the controller, that holds the password."
    )
    password_file: Optional[Annotated[str, _matching(FROM_CONTROLLER, "is not an absolute path")]] = Field(
        None, description="File, on the controller, that holds the password; ansible-vault may have encrypted it."
    )


class Mirror(Part):
    """Where images of one registry may be pulled from instead."""

    url: Annotated[str, _matching(re.compile(r"https?://\S+"), "is not an http or https address")] = Field(
        description="Address of the mirror."
    )
    skip_verify: bool = Field(False, description="Accept any certificate. Only for a laboratory.")
    ca: Optional[str] = Field(None, description="Path, on the node, of the CA that signed the mirror's certificate.")
    auth: Optional[Auth] = Field(None, description="Login at the mirror.")


class Registry(Part):
    """One upstream registry and its mirrors, tried in order."""

    upstream: Annotated[str, _matching(re.compile(r"[A-Za-z0-9.-]+(:\d+)?|_default"), "is not a registry's host")] = (
        Field(description="The registry's host, docker.io, or _default for all.")
    )
    mirrors: tuple[Mirror, ...] = Field((), strict=False, description="Where to pull its images instead.")
    auth: Optional[Auth] = Field(None, description="Login at the registry itself.")
    ca: Optional[str] = Field(None, description="Path, on the node, of the CA that signed the registry's certificate.")


PROXY_RULE = "is not an http or https address without a login"


class Proxy(Part):
    """The way of image pulls into the internet."""

    http: Optional[Annotated[str, _matching(re.compile(r"https?://[^\s@]+"), PROXY_RULE)]] = Field(
        None, description="Proxy for http addresses."
    )
    https: Optional[Annotated[str, _matching(re.compile(r"https?://[^\s@]+"), PROXY_RULE)]] = Field(
        None, description="Proxy for https addresses."
    )
    no_proxy: tuple[Annotated[str, _matching(re.compile(r"[^\s,]+"), "has a comma or white space")], ...] = Field(
        (), strict=False, description="Hosts and networks to reach directly, besides the cluster's own."
    )
    auth: Optional[Auth] = Field(None, description="Login at the proxy.")


class Runtime(Part):
    """The container runtime."""

    registries: tuple[Registry, ...] = Field((), strict=False, description="Mirrors and logins for image pulls.")
    proxy: Proxy = Field(default_factory=Proxy, description="Proxy of image pulls.")


PLACE = _matching(re.compile(r"https?://[^\s@{}]+"), "is not an http or https address without a login")
REGISTRY = _matching(
    re.compile(r"(https?://)?[A-Za-z0-9.-]+(:\d+)?(/[^\s@{}]*[^\s@{}/])?"), "is not a registry such as mirror:5000/k8s"
)


class Upstream(Part):
    """Where release files and images are fetched from: the projects' own places, or mirrors in the same layout."""

    kubernetes: Annotated[str, PLACE] = Field("https://dl.k8s.io/release", description="Kubernetes' programs.")
    github: Annotated[str, PLACE] = Field("https://github.com", description="Releases of containerd, runc, CNI, etcd.")
    raw: Annotated[str, PLACE] = Field("https://raw.githubusercontent.com", description="Single files of repositories.")
    registry: Annotated[str, REGISTRY] = Field("registry.k8s.io", description="Kubernetes' images.")
    calico: Annotated[str, REGISTRY] = Field("docker.io", description="Calico's images.")
    auth: Optional[Auth] = Field(None, description="Login, sent only to places that are not the projects' own.")
    ca: Optional[Annotated[str, _matching(FROM_CONTROLLER, "is not an absolute path")]] = Field(
        None, description="CA, on the controller, that signed the certificates of all these places."
    )
    trust: Optional[Annotated[str, _matching(FROM_CONTROLLER, "is not an absolute path")]] = Field(
        None, description="Authorities whose signatures are believed, instead of Sigstore's own: a PEM file."
    )


class Bundle(Part):
    """Where the files and images that nodes get come from."""

    source: Literal["auto", "upstream", "gomod", "file"] = Field(
        "auto",
        description="auto: a bundle at hand, else upstream if it answers, else built from Go modules. "
        "file: what was imported, or the file named.",
    )
    upstream: Upstream = Field(default_factory=Upstream, description="Addresses of release files and images.")
    file: Optional[str] = Field(
        None, description="An exported bundle, for source 'file'; a relative path starts at the cluster file's folder."
    )


class Access(Part):
    """How SSH reaches machines that exist already."""

    user: Annotated[str, _matching(USER, USER_RULE)] = Field("root", description="SSH user.")
    port: Port = Field(22, description="SSH port.")
    key: Optional[str] = Field(None, description="Path of the private key; SSH's own search by default.")
    bastion: Optional[Annotated[str, AfterValidator(_jumps)]] = Field(
        None, description="Jump host, as user@host:port; several with commas between them."
    )
    known_hosts: Optional[str] = Field(None, description="File with the machines' host keys; ~/.ssh/known_hosts.")


def _patches(value: dict[str, Any]) -> dict[str, Any]:
    for target, patch in value.items():
        found = PATCH.fullmatch(target)
        if found is None:
            near = difflib.get_close_matches(target.partition("+")[0][:80], PATCHED, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"names {shown(target)}, which kubeadm cannot patch: {PATCH_RULE}{hint}")
        is_list = isinstance(patch, list)
        if is_list != (found["kind"] == "json") or not isinstance(patch, (dict, list)):
            wanted = "a list of operations" if found["kind"] == "json" else "a mapping (a list goes with +json)"
            raise ValueError(f"has {shown(patch)} for {target}, which takes {wanted}")
        for step in patch if is_list else ():
            if not isinstance(step, dict) or step.get("op") not in OPERATIONS or "path" not in step:
                raise ValueError(
                    f"has {shown(step)} for {target}, which is no operation with 'op' and 'path' (RFC 6902)"
                )
    return value


class Features(Part):
    """What the cluster does beyond the usual, chosen when it is made."""

    audit_log: bool = Field(True, description="The API server writes down who changed what, on the control plane.")
    encrypt_secrets: Optional[bool] = Field(
        None,
        description="Secrets are encrypted in etcd, by a key made on the node; by default in security.profile cis.",
    )
    signed_kubelet_certificates: Optional[bool] = Field(
        None,
        description="The cluster's CA signs what kubelets show, if they name themselves and their own addresses; the "
        "API server trusts no other. By default in security.profile cis.",
    )
    schedule_control_planes: bool = Field(False, description="Control planes run ordinary pods too: they get no taint.")


def _ports(value: str) -> str:
    first, _dash, last = value.partition("/")[0].partition("-")
    if not 1 <= int(first) <= int(last or first) <= 65535:
        raise ValueError("is no port or range of ports between 1 and 65535")
    return value


OPEN = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?/(tcp|udp)")
OpenPorts = Annotated[str, _matching(OPEN, "is no port with its protocol such as 80/tcp"), AfterValidator(_ports)]


class Security(Part):
    """How strict the cluster is."""

    profile: Literal["standard", "cis"] = Field(
        "standard",
        description="What is as safe as it can be without a user noticing; or cis, which passes the CIS benchmark.",
    )
    firewall: Literal["none", "nftables"] = Field(
        "none", description="nftables: each node lets in only what its role needs (docs/security.md), and SSH."
    )
    ports: tuple[OpenPorts, ...] = Field(
        (),
        strict=False,
        description="Ports of all nodes that the firewall leaves open besides, as 80/tcp or 8000-8010/udp.",
    )


# The node asks systemd itself; here is what no calendar of it can be.
CALENDAR = re.compile(
    r"(minutely|hourly|daily|weekly|monthly|quarterly|semiannually|yearly|annually)"
    r"|(?=.*[:*-])[A-Za-z0-9*:/,.~ -]*[A-Za-z0-9*]"
)
CALENDAR_RULE = "is not a time of systemd's OnCalendar= such as daily or '*-*-* 03:00'"


class Certificates(Part):
    """How long certificates last, and who renews them."""

    days: Optional[Annotated[int, Field(ge=1, le=36500)]] = Field(
        None, description="Days that certificates last; 365 by default, 3650 in a lab. Taken when they are made."
    )
    authority_days: Optional[Annotated[int, Field(ge=1, le=36500)]] = Field(
        None, description="Days that the CAs last; 3650 by default, and never less than certificates."
    )
    renewal: Optional[Annotated[str, _matching(CALENDAR, CALENDAR_RULE)]] = Field(
        None,
        description="When nodes renew by themselves what ends soon, as in systemd's OnCalendar=; never by default.",
    )
    renewal_days: Annotated[int, Field(ge=1, le=365)] = Field(
        30, description="How many days before its end a certificate is renewed so."
    )

    def lasting(self, lab: bool) -> tuple[int, int]:
        """Return the days that certificates and CAs last."""
        days = self.days or (3650 if lab else 365)
        return days, self.authority_days or max(3650, days)


TARGET = re.compile(
    r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._-]+)*"
    r"|ssh://([a-z_][a-z0-9_.-]*@)?([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?/(~/)?[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*"
)
RECIPIENT = _matching(re.compile(r"age1[02-9ac-hj-np-z]{58}"), "is not a public key of age (age1…, 62 characters)")


class BackupTarget(Part):
    """A place that backups are copied to: a folder of an S3-compatible store, or of an SSH host."""

    url: Annotated[str, _matching(TARGET, "is no s3://bucket/folder and no ssh://user@host:port/folder")] = Field(
        description="s3://bucket/folder, or ssh://user@host:port/folder."
    )
    endpoint: Optional[Annotated[str, PLACE]] = Field(None, description="Address of the S3 store, if not Amazon's own.")
    region: Annotated[str, _matching(re.compile(r"[a-z0-9-]+"), "is not a region such as eu-central-1")] = Field(
        "us-east-1", description="Region of the S3 store."
    )
    auth: Optional[Auth] = Field(None, description="Login at the S3 store: key ID, and where its secret is.")
    key: Optional[Annotated[str, _matching(FROM_CONTROLLER, "is not an absolute path")]] = Field(
        None, description="Private SSH key, on the controller; SSH's own search by default."
    )
    known_hosts: Optional[Annotated[str, _matching(FROM_CONTROLLER, "is not an absolute path")]] = Field(
        None, description="File with the SSH host's key, on the controller; ~/.ssh/known_hosts."
    )


class Backup(Part):
    """Backups of etcd, the cluster's keys, kubeadm's configuration and this file, encrypted by age."""

    before_changes: bool = Field(True, description="A backup comes before every change of a running cluster.")
    keep: Annotated[int, Field(ge=1, le=1000)] = Field(
        14, description="How many backups are kept in each place; the oldest go."
    )
    schedule: Optional[Annotated[str, _matching(CALENDAR, CALENDAR_RULE)]] = Field(
        None, description="When control planes take one by themselves, as in systemd's OnCalendar=; never by default."
    )
    recipients: tuple[Annotated[str, RECIPIENT], ...] = Field(
        (),
        strict=False,
        description="Public keys of age that can read them too, beside the one made on the controller.",
    )
    targets: tuple[BackupTarget, ...] = Field((), strict=False, description="Where each backup is copied to as well.")


class Vagrant(Part):
    """The virtual machines that provider vagrant makes; what is left out suits this host."""

    hypervisor: Optional[Literal["libvirt", "virtualbox"]] = Field(
        None, description="Who runs the virtual machines; what this host has by default."
    )
    box: Optional[Annotated[str, _matching(re.compile(r"\S+"), "has white space")]] = Field(
        None, description="Vagrant box; the one of `box build` where there is one, else Debian 12 from the registry."
    )
    cpus: Annotated[int, Field(ge=2, le=64)] = Field(2, description="Processors of each machine; kubeadm wants 2.")
    control_plane_memory: Optional[Annotated[int, Field(ge=1800, le=1048576)]] = Field(
        None, description="MiB of a control plane; kubeadm refuses less than 1700 MB. By this host's memory by default."
    )
    worker_memory: Optional[Annotated[int, Field(ge=1024, le=1048576)]] = Field(
        None, description="MiB of a worker. By this host's memory by default."
    )


class Podman(Part):
    """The containers that provider podman makes as nodes."""

    debian: Literal[12, 13] = Field(12, description="Debian release of the nodes, chosen when they are made.")


class Kubeadm(Part):
    """Settings handed to kubeadm's configuration as they are."""

    kubelet: dict[str, Any] = Field(default_factory=dict, description="Merged into KubeletConfiguration.")
    proxy: dict[str, Any] = Field(default_factory=dict, description="Merged into KubeProxyConfiguration.")
    cert_sans: tuple[Host, ...] = Field(
        (), strict=False, description="Further names and addresses in the API server's certificate."
    )
    patches: Annotated[dict[str, Any], AfterValidator(_patches)] = Field(
        default_factory=dict,
        description="kubeadm's own patches, by target such as kube-apiserver, etcd+json, kubeletconfiguration+merge.",
    )


class Spec(Part):
    """A whole cluster file."""

    plugin: Literal["kubesmith.cluster.spec"] = Field(
        "kubesmith.cluster.spec",
        description="Lets a plain ansible-playbook find the inventory plugin without settings.",
    )
    cluster: Cluster
    provider: Literal["podman", "vagrant", "ssh"] = Field("ssh", description="Who makes the machines.")
    adopted: Optional[Literal["keep", "replace"]] = Field(
        None,
        description="Other hands built the cluster. keep: programs, runtime and network plug-in of its nodes stay as "
        "they are; replace: up puts the bundle's in their place.",
    )
    lab: bool = Field(False, description="The cluster may be broken on purpose, for teaching and tests.")
    control_planes: Optional[Annotated[int, Field(ge=0, le=7)]] = Field(
        None, description="How many control planes a provider makes, if nodes are not listed."
    )
    workers: Optional[Annotated[int, Field(ge=0, le=5000)]] = Field(
        None, description="How many workers a provider makes, if nodes are not listed."
    )
    nodes: tuple[Node, ...] = Field((), strict=False, description="The machines, one by one.")
    groups: dict[ClusterName, Group] = Field(default_factory=dict, description="Groups of nodes, by name.")
    network: Network = Field(default_factory=Network)
    runtime: Runtime = Field(default_factory=Runtime)
    bundle: Bundle = Field(default_factory=Bundle)
    access: Access = Field(default_factory=Access)
    features: Features = Field(default_factory=Features)
    security: Security = Field(default_factory=Security)
    backup: Backup = Field(default_factory=Backup)
    certificates: Certificates = Field(default_factory=Certificates)
    kubeadm: Kubeadm = Field(default_factory=Kubeadm)
    vagrant: Vagrant = Field(default_factory=Vagrant)
    podman: Podman = Field(default_factory=Podman)

    @property
    def encrypted(self) -> bool:
        """Tell whether secrets are encrypted in etcd."""
        given = self.features.encrypt_secrets
        return self.security.profile == "cis" if given is None else given

    @property
    def signed(self) -> bool:
        """Tell whether the cluster's CA signs what kubelets show."""
        given = self.features.signed_kubelet_certificates
        return self.security.profile == "cis" if given is None else given

    @property
    def dual_stack(self) -> bool:
        """Tell whether pods and services have IPv6 addresses too."""
        return "," in self.network.pods

    def machines(self) -> tuple[Node, ...]:
        """Return the nodes as listed or, if only counted, named cp1…, w1…; Vagrant's as the lecture names them."""
        if self.nodes:
            return self.nodes
        planes = 1 if self.control_planes is None else self.control_planes
        plane, worker = ("m{}-k8s", "w{}-k8s") if self.provider == "vagrant" else ("cp{}", "w{}")
        names = [plane.format("" if self.provider == "vagrant" and i == 0 else i + 1) for i in range(planes)]
        named = [Node(name=name, role="control-plane") for name in names]
        return (*named, *(Node(name=worker.format(i + 1)) for i in range(self.workers or 0)))


def _with_names(part: Any) -> Any:
    """Return a schema whose mappings refuse a name that does not match, which pydantic would leave unjudged."""
    if isinstance(part, list):
        return [_with_names(item) for item in part]
    if not isinstance(part, dict):
        return part
    part = {key: _with_names(value) for key, value in part.items()}
    if named := part.pop("patternProperties", None):
        ((pattern, value),) = named.items()
        part |= {"additionalProperties": value, "propertyNames": {"pattern": pattern}}
    return part


def schema() -> dict[str, Any]:
    """Return the cluster file's JSON Schema (draft 2020-12), for editors."""
    made = _with_names(Spec.model_json_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made, "title": "kubesmith cluster file"}


def read(file: File, own: Mapping[str, ipaddress.IPv4Network] | None = None) -> Spec:
    """Return the Spec in ``file``; raise SpecError with every problem, or OSError if it cannot be read."""
    with file.open("rb") as content:  # and no more than can be right: it may be endless
        return check(parse(content.read(MAX_BYTES + 1), str(file)), str(file), own)


def check(document: Document, file: str, own: Mapping[str, ipaddress.IPv4Network] | None = None) -> Spec:
    """Return the Spec that ``document`` describes; raise SpecError with every problem in it.

    ``own`` are this machine's networks by interface, where they are known.

    Values that are wrong by themselves are taken out, and what is left is checked against the rules between
    settings too, so that one run shows both kinds.
    """
    data = copy.deepcopy(document.data)
    if not isinstance(data, dict):
        raise SpecError(
            file, [*document.repeated, Problem(1, 1, (), f"is {shown(data)}, not a mapping", "begin with 'cluster:'")]
        )
    found = _Found(document, list(document.repeated))
    spec = _validated(data, found)
    if spec is not None:
        for path, message, hint in itertools.chain(rules.broken(spec), rules.own_apart(spec, own or {})):
            if not _explained(path, found.wrong):
                found.add(path, message, hint)
    if found.problems or spec is None:
        raise SpecError(file, found.problems)
    return spec


@dataclass
class _Found:
    """What is wrong so far. A setting whose misspelt name can only mean one is judged as that one.

    ``wrong`` are paths by the right names; ``written`` leads from those to what stands in the file.
    """

    document: Document
    problems: list[Problem]
    wrong: set[Path] = field(default_factory=set)
    written: dict[Path, Path] = field(default_factory=dict)

    @property
    def full(self) -> bool:
        """Tell whether there are more problems already than anybody reads."""
        return len(self.problems) >= MOST_PROBLEMS

    def as_written(self, path: Path) -> Path:
        """Return ``path`` as the file has it."""
        for length in range(len(path), 0, -1) if self.written else ():
            if path[:length] in self.written:
                return (*self.written[path[:length]], *path[length:])
        return path

    def add(self, path: Path, message: str, hint: str) -> None:
        """Note a problem of the setting that is rightly called ``path``."""
        if not self.full:
            there = self.as_written(path)
            self.problems.append(Problem(*self.document.position(there), there, message, hint))


ROUNDS = 8  # each may find the right name of settings one level deeper; there are five levels


def _validated(data: dict[str, Any], found: _Found) -> Spec | None:
    """Validate; note each problem and take its value out, until the rest is valid (or nothing more can go)."""
    for _round in range(ROUNDS):
        try:
            return Spec.model_validate(data)
        except pydantic.ValidationError as error:
            details = error.errors(include_url=False)
            for detail in sorted(details, key=lambda detail: detail["type"] != "extra_forbidden"):
                path = _path(detail["loc"])
                if detail["type"] == "missing" and path in found.written:
                    continue  # it has just got its right name
                # A value that does not even have the type of the setting shows that another one was meant.
                if path not in found.wrong and not (path in found.written and detail["type"] in KINDS):
                    found.add(path, *_sentence(detail, path))
                if detail["type"] == "extra_forbidden" and _renamed(data, path, found):
                    continue
                found.wrong.add(path)
                _take_out(data, path, missing=detail["type"] == "missing")
    return None


def _renamed(data: dict[str, Any], path: Path, found: _Found) -> bool:
    """Give a misspelt setting the name that it can only mean, so that what it holds is judged too."""
    *above, last = path
    if found.full or "auth" in above:  # a login's "password" is none of its settings, and must not be shown
        return False
    meant = _nearest(str(last), known_keys(tuple(above)))
    parent: Any = data
    for part in above:
        parent = parent[part]
    if not meant or meant in parent:
        return False
    found.written[(*above, meant)] = found.as_written(path)
    parent[meant] = parent.pop(last)
    return True


def _explained(path: Path, wrong: set[Path]) -> bool:
    """Tell whether a rule broken at ``path`` only follows from a value that was wrong by itself and taken out."""
    if any(path[:length] in wrong for length in range(1, len(path) + 1)):
        return True
    if path[-1:] == ("auth",) and any(bad[: len(path)] == path for bad in wrong):
        return True
    if path == ("nodes",) and ("provider",) in wrong:  # which nodes are lacking depends on it
        return True
    return path == ("nodes",) and any(bad[2:] == ("role",) for bad in wrong)


def _path(location: tuple[int | str, ...]) -> Path:
    """Return the path without pydantic's own parts, such as ``[key]`` of a mapping's key."""
    return tuple(part for part in location if part != "[key]")


def _take_out(data: Any, path: Path, *, missing: bool) -> None:
    """Replace what is wrong at ``path`` by the nearest thing that is right, so that the rest can be judged."""
    *above, last = path
    parent = data
    for part in above:
        try:
            parent = parent[part]
        except (KeyError, IndexError, TypeError):
            return  # taken out already, with what holds it
    if missing and path in (("cluster",), ("cluster", "name")):
        parent[last] = {"name": "unnamed"} if last == "cluster" else "unnamed"
    elif missing and above[:1] == ["nodes"]:
        parent[last] = f"unnamed-{above[1]}"
    elif isinstance(parent, list) and isinstance(last, int) and above == ["nodes"]:
        parent[last] = {"name": f"unnamed-{last}"}
    elif missing or isinstance(parent, list):
        _take_out(data, tuple(above), missing=False)  # other lists go whole: later indices must stay true
    elif isinstance(parent, dict):
        parent.pop(last, None)


KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


BOUNDS = {"less_than_equal": ("more", "le"), "greater_than_equal": ("less", "ge")}


def _sentence(detail: Any, path: Path) -> tuple[str, str]:
    """Return (what is wrong, what to do) of one of pydantic's findings."""
    kind, seen = detail["type"], detail["input"]
    context = detail.get("ctx", {})
    hint = ""
    if kind == "extra_forbidden":
        message, hint = "is not a known setting", _suggestion(path)
    elif kind == "missing":
        message, hint = "is missing", "it has no default"
    elif kind == "value_error":
        message = f"{shown(seen)} {context.get('error', detail['msg'])}"
    elif kind == "literal_error":
        message = f"{shown(seen)} is not one of {context.get('expected', '')}"
        known = re.findall(r"'([^']+)'", str(context.get("expected", "")))
        hint = _close(MEANT.get(str(seen).lower(), str(seen)).lower(), known)
    elif kind in BOUNDS:
        word, key = BOUNDS[kind]
        message = f"{shown(seen)} is {word} than {context.get(key)}"
    elif kind in KINDS:
        message = f"{shown(seen)} is not {KINDS[kind]}"
        hint = _rewritten(kind, seen, path)
    else:
        message = f"{shown(seen)}: {detail['msg'][:1].lower()}{detail['msg'][1:]}"
    return message, hint


MEANT = {"master": "control-plane", "controlplane": "control-plane", "node": "worker", "agent": "worker"}
TRUTH = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}  # of YAML 1.1
NEAR = 0.62  # how like a known setting a misspelt one must be, from 0 to 1


def _rewritten(kind: str, seen: Any, path: Path) -> str:
    """Return how a value of the wrong type is to be written, "" where only its author can tell."""
    if kind == "string_type" and isinstance(seen, (int, bool)):
        return f'write "{shown(seen)}" in quotes'
    if kind == "int_type" and isinstance(seen, str) and re.fullmatch(r"-?[0-9]{1,9}", seen):
        return f"write {seen} without quotes"
    if kind == "bool_type" and isinstance(seen, str) and seen.lower() in TRUTH:
        return f"write {TRUTH[seen.lower()]}"
    if kind in ("tuple_type", "list_type"):
        return "begin each item with '- ', or write [a, b]"
    known = known_keys(path) if kind.startswith("model") else []
    return f"settings here are {', '.join(sorted(known))}" if known else ""


# What a setting is called elsewhere: by kubeadm, by kubespray, by other installers. Compared in small letters.
ELSEWHERE = {
    "pods": "pod_cidr pod_subnet podsubnet podcidr pod_network_cidr cluster_cidr kube_pods_subnet",
    "services": "service_cidr service_subnet servicesubnet servicecidr service_cluster_ip_range kube_service_addresses",
    "dns_domain": "dnsdomain cluster_domain",
    "calico": "cni plugin kube_network_plugin",
    "kubernetes": "version kubernetes_version kube_version",
    "address": "ip ansible_host internal_ip",
    "user": "ssh_user username ansible_user",
    "key": "ssh_key private_key ansible_ssh_private_key_file",
    "port": "ssh_port ansible_port",
    "endpoint": "control_plane_endpoint controlplaneendpoint",
    "vip": "virtual_ip",
}
SYNONYMS = {other: name for name, others in ELSEWHERE.items() for other in others.split()}


def _nearest(word: str, known: list[str]) -> str:
    """Return which of ``known`` is meant by ``word``, misspelt or called as elsewhere; "" if none is."""
    meant = SYNONYMS.get(word.lower(), "")
    if meant in known:
        return meant
    return next(iter(difflib.get_close_matches(word[:80], known, n=1, cutoff=NEAR)), "")


def _close(word: str, known: list[str]) -> str:
    near = _nearest(word, known)
    return f"did you mean {near}?" if near else ""


def _suggestion(path: Path) -> str:
    """Return "did you mean", else the settings that exist at this place."""
    known = sorted(known_keys(path[:-1]))
    return _close(str(path[-1]), known) or (f"settings here are {', '.join(known)}" if known else "")


def known_keys(path: Path) -> list[str]:
    """Return the settings that the mapping at ``path`` may hold."""
    model: Any = Spec
    named = False  # of what is a mapping of names, such as groups, the next part is a name
    for part in path:
        if isinstance(part, int) or named:
            named = False
            continue
        fields = getattr(model, "model_fields", {})
        if part not in fields:
            return []
        annotation = fields[part].annotation
        named, model = typing.get_origin(annotation) is dict, _inner_model(annotation)
    return [] if named else list(getattr(model, "model_fields", {}))


def _inner_model(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = [_inner_model(argument) for argument in typing.get_args(annotation)]
    return next((model for model in inner if model is not None), None)
