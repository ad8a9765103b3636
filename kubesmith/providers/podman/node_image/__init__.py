"""The lab node's root file system: a plain Debian with systemd and SSH, made from Debian's archive."""

from kubesmith.providers.podman.node_image.image import NodeImage

__all__ = ["NodeImage"]
