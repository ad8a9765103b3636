"""The power switch of one machine, where its provider has one."""

from __future__ import annotations

from dataclasses import dataclass

from kubesmith.job import Job
from kubesmith.progress import Silent
from kubesmith.providers import ssh
from kubesmith.providers.podman.engine import podman
from kubesmith.providers.podman.lab import Lab
from kubesmith.providers.podman.provider import PodmanProvider
from kubesmith.providers.vagrant.provider import VagrantProvider


@dataclass(frozen=True)
class Switch:
    """Turns machines of a lab off, without a shutdown, and on again."""

    job: Job

    @property
    def there(self) -> bool:
        """Tell whether the provider has such a switch: machines that exist already have none that we could reach."""
        return self.job.spec.provider in ("podman", "vagrant")

    def off(self, name: str) -> None:
        """Cut the machine off."""
        provider = self.job.provider()
        ssh.hang_up(self.job.state, [name])
        if isinstance(provider, PodmanProvider):
            podman("kill", Lab(provider.name).container(name))
        elif isinstance(provider, VagrantProvider):
            provider.vagrant.run("halt", "--force", name)

    def on(self, name: str) -> None:
        """Start the machine, and every other of the cluster that does not run."""
        ssh.hang_up(self.job.state, [name])
        self.job.provider().create(Silent())
