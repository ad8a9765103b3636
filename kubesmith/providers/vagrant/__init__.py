"""Virtual machines made by Vagrant, with libvirt or VirtualBox, from the Vagrantfile of this checkout."""

from kubesmith.providers.vagrant.provider import VagrantProvider

__all__ = ["VagrantProvider"]
