"""Providers of machines: podman makes containers with systemd, vagrant virtual machines, ssh takes what is there."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path

from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import Spec

from kubesmith.providers.base import Provider, Wanted
from kubesmith.providers.existing import ExistingProvider


def make(
    spec: Spec, wanted: Sequence[Wanted], *, inventory: Path, avoid: Sequence[IPv4Network], bundle: Path
) -> Provider:
    """Return the provider that ``spec`` names; ``avoid`` are ranges that no machine may get an address from.

    ``inventory`` is the cluster file that ``spec`` was read from.
    """
    # Here and not above: a cluster file with mistakes is told before anything that takes time is loaded.
    if spec.provider == "podman":
        from kubesmith.providers.podman import PodmanProvider  # noqa: PLC0415

        cidr = spec.network.nodes
        return PodmanProvider(
            spec.cluster.name,
            wanted,
            node_cidr=cidr,
            avoid=avoid,
            bundle=bundle,
            dual_stack=spec.dual_stack,
            debian=spec.podman.debian,
            vip=spec.cluster.vip,
        )
    if spec.provider == "ssh":
        return ExistingProvider(spec)
    from kubesmith.providers.vagrant import VagrantProvider  # noqa: PLC0415

    return VagrantProvider(spec, inventory, wanted, bundle)


def packages(spec: Spec) -> tuple[str, ...]:
    """Return the purposes, as kubesmith.packages knows them, that making the machines of ``spec`` needs."""
    if spec.provider == "vagrant":
        from kubesmith.providers.vagrant.design import hypervisors  # noqa: PLC0415

        if "virtualbox" in (spec.vagrant.hypervisor, *hypervisors()[:1]):
            return ("vagrant",)
    return {"podman": ("podman",), "vagrant": ("libvirt",), "ssh": ("ssh",)}[spec.provider]
