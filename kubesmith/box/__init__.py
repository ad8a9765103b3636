"""A Vagrant box made from Debian's archive, for machines that reach no box registry."""

from kubesmith.box.build import Box

__all__ = ["Box"]
