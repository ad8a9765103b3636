"""Providers of machines: podman makes containers with systemd, vagrant virtual machines, ssh takes what is there."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path

from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import Spec

from kubesmith.errors import InputError
from kubesmith.providers.base import Provider, Wanted
from kubesmith.providers.existing import ExistingProvider
from kubesmith.providers.podman import PodmanProvider


def make(spec: Spec, wanted: Sequence[Wanted], *, avoid: Sequence[IPv4Network], bundle: Path) -> Provider:
    """Return the provider that ``spec`` names. ``avoid`` are ranges that no machine may get an address from."""
    if spec.provider == "podman":
        cidr = spec.network.nodes
        return PodmanProvider(
            spec.cluster.name, wanted, node_cidr=cidr, avoid=avoid, bundle=bundle, dual_stack=spec.dual_stack
        )
    if spec.provider == "ssh":
        return ExistingProvider(spec)
    raise InputError(
        f"provider {spec.provider!r} is not driven by runner.py yet",
        fix="run 'vagrant up', then list the machines with provider: ssh",
    )
