"""Lab nodes on this machine: systemd containers made with podman, reached by SSH like any other machine."""

from kubesmith.providers.podman.provider import PodmanProvider

__all__ = ["PodmanProvider"]
