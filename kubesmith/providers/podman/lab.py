"""What podman has of one cluster. The label ``kubesmith.cluster`` alone decides what belongs to it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from kubesmith.errors import KubesmithError
from kubesmith.providers.podman import network
from kubesmith.providers.podman.engine import exists, listed, podman, podman_json

CLUSTER = "kubesmith.cluster"
NODE = "kubesmith.node"
ROLE = "kubesmith.role"
ADDRESS = "kubesmith.address"
BUNDLES = "kubesmith.bundles"
SNAPSHOT = "kubesmith.snapshot"
#: Where CNI, podman's network on Debian 12, notes who has which address: a file for each.
LEASES = Path("/var/lib/cni/networks")
#: The folders of a node that live in volumes, and the endings of the volumes' names.
VOLUMES = {"containerd": "/var/lib/containerd", "kubelet": "/var/lib/kubelet", "etcd": "/var/lib/etcd"}


@dataclass(frozen=True)
class Container:
    """One node's container as podman tells of it; ``state`` is podman's own word."""

    name: str
    node: str
    role: str
    address: str
    bundles: str
    state: str

    @property
    def running(self) -> bool:
        """Tell whether its processes run."""
        return self.state == "running"


@dataclass(frozen=True)
class Lab:
    """The containers, volumes and network that carry the label of ``cluster``."""

    cluster: str

    @property
    def network(self) -> str:
        """The network's name."""
        return f"kubesmith-{self.cluster}"

    def container(self, node: str) -> str:
        """Return the container's name for ``node``."""
        return f"kubesmith-{self.cluster}-{node}"

    def volumes(self, node: str) -> dict[str, str]:
        """Return the volumes of ``node``: name to the folder where it is mounted."""
        return {f"{self.container(node)}-{ending}": folder for ending, folder in VOLUMES.items()}

    def containers(self) -> list[Container]:
        """Return the cluster's containers, running or not, by node name."""
        return self.containers_among(podman_json("ps", "--all", *self._filter()))

    def containers_among(self, entries: Sequence[Mapping[str, Any]]) -> list[Container]:
        """Return those of podman's containers that are the cluster's, by node name."""
        found = (_container(entry) for entry in entries if owner(entry["Labels"]) == self.cluster)
        return sorted(found, key=lambda container: container.node)

    def remove_remains(self, nodes: Sequence[str]) -> None:
        """Remove what a killed podman left of the containers of ``nodes``: storage without a container or a label."""
        names = {self.container(node) for node in nodes}
        entries = podman_json("ps", "--all", "--external")
        remains = [e["Names"][0] for e in entries if e["State"] == "storage" and e["Names"][0] in names]
        if remains:
            podman("rm", "--force", *remains)

    def remove_volumes(self) -> None:
        """Remove the cluster's volumes."""
        names = listed("volume", "ls", "--quiet", *self._filter()).split()
        if names:
            podman("volume", "rm", "--force", *names)

    def remove_volumes_of(self, node: str) -> None:
        """Remove the volumes of a node whose container is gone; copies in snapshots stay."""
        names = podman("volume", "ls", "--quiet", *self._filter()).split()
        if own := [name for name in self.volumes(node) if name in names]:
            podman("volume", "rm", "--force", *own)

    def remove_images(self) -> None:
        """Remove the images of the cluster's snapshots; its containers, which may be made of them, are gone by now."""
        images = listed("images", "--quiet", "--no-trunc", *self._filter()).split()
        if images:
            podman("rmi", "--force", *dict.fromkeys(images))

    def remove_nameless_images(self) -> None:
        """Remove images of deleted snapshots that no container is made of any more."""
        podman("image", "prune", "--force", *self._filter())

    def remove_networks(self) -> None:
        """Remove the cluster's network, and leases of it that a killed podman never gave back."""
        names = listed("network", "ls", "--quiet", *self._filter()).split()
        if names:
            podman("network", "rm", "--force", *names)
        if not exists("network", self.network):
            shutil.rmtree(LEASES / self.network, ignore_errors=True)

    def free(self, address: str) -> None:
        """Give back the lease of ``address``, whose node does not run: a podman that was killed left it behind."""
        (LEASES / self.network / address).unlink(missing_ok=True)

    def subnet(self) -> IPv4Network | None:
        """Return the network's subnet, None where there is no network yet."""
        return self.subnet_among(podman_json("network", "ls", *self._filter()))

    def subnet_among(self, networks: Sequence[Mapping[str, Any]]) -> IPv4Network | None:
        """Return the subnet of the cluster's network among podman's, None where it is not."""
        found = [network for network in networks if owner(network.get("labels")) == self.cluster]
        return IPv4Network(found[0]["subnets"][0]["subnet"]) if found else None

    def ensure_network(
        self, wanted: IPv4Network | None, avoid: Sequence[IPv4Network], six: IPv6Network | None = None
    ) -> IPv4Network:
        """Return the subnet of the cluster's network, making it (in ``wanted``, if given) where there is none."""
        refused = None
        also = ["--ipv6", f"--subnet={six}"] if six else []
        for _ in range(3):
            subnet = self.subnet()
            if subnet:
                return subnet
            subnet = network.choose(network.in_use(self.cluster, avoid), wanted)
            label = f"--label={CLUSTER}={self.cluster}"
            try:
                podman("network", "create", label, "--disable-dns", f"--subnet={subnet}", *also, self.network)
            except KubesmithError as error:  # another lab was quicker to take the subnet: look again
                refused = error
        raise refused or KubesmithError(f"podman made no network {self.network}")

    def _filter(self) -> tuple[str, str]:
        return "--filter", f"label={CLUSTER}={self.cluster}"


def owner(labels: Mapping[str, str] | None) -> str:
    """Return the cluster that an object's labels name, "" for one that is not ours."""
    return (labels or {}).get(CLUSTER, "")


def _container(entry: Mapping[str, Any]) -> Container:
    labels = entry["Labels"]
    return Container(
        name=entry["Names"][0],
        node=labels[NODE],
        role=labels[ROLE],
        address=labels[ADDRESS],
        bundles=labels[BUNDLES],
        state=entry["State"],
    )
