"""Brings one lab node up, from whatever state it is in."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from kubesmith.errors import KubesmithError
from kubesmith.progress import Progress
from kubesmith.providers import ssh
from kubesmith.providers.podman.engine import exists, host, node_flags, podman, runtime_flags
from kubesmith.providers.podman.lab import ADDRESS, BUNDLES, CLUSTER, NODE, ROLE, Container, Lab
from kubesmith.providers.podman.network import hardware_address

BOOT_SECONDS = 120
SSH_SECONDS = 60
BUNDLES_IN_NODE = "/var/lib/kubesmith/bundles"
BUNDLE_IN_NODE = "/var/lib/kubesmith/bundle"

# One call does and tells all: it waits for the boot, lets our key in, points at the bundle, and shows the host key.
# $1 is the public key, $2 the bundle's folder. A mounted folder that was since removed has no links any more.
SETTLE = f"""
set -eu
until [ -S /run/systemd/private ]; do sleep 0.1; done
mkdir -p -m 0700 /root/.ssh
[ "$(cat /root/.ssh/authorized_keys 2>/dev/null)" = "$1" ] || echo "$1" >/root/.ssh/authorized_keys
[ "$(readlink {BUNDLE_IN_NODE})" = "$2" ] || ln -sfn "$2" {BUNDLE_IN_NODE}
[ "$(stat -c %h {BUNDLES_IN_NODE})" = 0 ] && bundles=stale || bundles=good
echo "$(systemctl is-system-running --wait) $bundles $(ssh-keygen -y -f /etc/ssh/ssh_host_ed25519_key)"
"""


@dataclass(frozen=True)
class Common:
    """What all nodes of a lab share: the image, the bundle's folder, the public key that is let in, and limits."""

    cluster: str
    image: str
    bundle: Path
    public_key: str
    memory_mb: int | None
    cpus: float | None
    debian: int = 12


@dataclass(frozen=True)
class Node:
    """One wanted node, and its container where there is one."""

    common: Common
    name: str
    role: str
    address: str
    found: Container | None
    address6: str = ""

    @property
    def running(self) -> bool:
        """Tell whether its container ran when we looked."""
        return self.found is not None and self.found.running

    @property
    def lab(self) -> Lab:
        """The lab that it belongs to."""
        return Lab(self.common.cluster)

    @property
    def container(self) -> str:
        """The name of its container."""
        return self.lab.container(self.name)

    def up(self, progress: Progress) -> str:
        """Make, start or repair the container; return the node's public host key once systemd has settled."""
        progress.start(self.name, "looking" if self.running else "booting")
        if not self.running:
            self._start()
        return self._settle()

    def reach(self, config: Path, progress: Progress) -> None:
        """Wait until the node lets us in by SSH."""
        progress.update(self.name, "waiting for SSH")
        deadline = time.monotonic() + SSH_SECONDS
        while problem := ssh.answers(config, self.name):
            if time.monotonic() > deadline:
                raise KubesmithError(
                    f"{self.name} runs at {self.address} but does not answer by SSH: {problem}",
                    fix=f"podman exec {self.container} journalctl -u ssh",
                )
            time.sleep(0.2)
        progress.done(self.name, f"running at {self.address}", changed=not self.running)

    def _start(self) -> None:
        self.lab.free(self.address)
        if self.found is None:
            self._run()
        elif self.found.state == "paused":
            podman("unpause", self.container)
        elif self.found.state in ("created", "configured"):  # interrupted before its first start: nothing to lose
            podman("rm", "--force", "--time=0", self.container)
            self._run()
        else:
            if self.found.state == "stopping":  # a killed podman did not see it end
                podman("stop", "--time=10", self.container)
            podman("start", self.container)

    def _run(self) -> None:
        for volume in self.lab.volumes(self.name):
            if not exists("volume", volume):
                podman("volume", "create", f"--label={CLUSTER}={self.common.cluster}", volume)
        machine = host()
        flags = [*node_flags(machine, self.common.debian), *self._flags()]
        command = [*runtime_flags(machine), "run", "--detach", *flags, self.common.image]
        try:
            podman(*command)
        except KubesmithError:  # remains of a killed podman may be in the way: once more, without them
            podman("rm", "--force", "--ignore", "--time=0", self.container, check=False)
            self.lab.free(self.address)
            podman(*command)

    def _flags(self) -> list[str]:
        bundles = self.common.bundle.absolute().parent
        labels = {
            CLUSTER: self.common.cluster,
            NODE: self.name,
            ROLE: self.role,
            ADDRESS: self.address,
            BUNDLES: str(bundles),
        }
        return [
            f"--name={self.container}",
            f"--hostname={self.name}",
            f"--network={self.lab.network}",
            f"--ip={self.address}",
            *([f"--ip6={self.address6}"] if self.address6 else []),
            f"--mac-address={hardware_address(self.container)}",
            *(f"--label={key}={value}" for key, value in labels.items()),
            *(f"--volume={volume}:{folder}" for volume, folder in self.lab.volumes(self.name).items()),
            f"--volume={bundles}:{BUNDLES_IN_NODE}:ro",
            *([f"--memory={self.common.memory_mb}m"] if self.common.memory_mb else []),
            *([f"--cpus={self.common.cpus}"] if self.common.cpus else []),
        ]

    def _settle(self) -> str:
        bundle = self.common.bundle
        name = bundle.resolve().name if bundle.resolve().parent == bundle.parent.resolve() else bundle.name
        settle = ["timeout", str(BOOT_SECONDS), "sh", "-c", SETTLE, "settle"]
        try:
            answer = podman("exec", self.container, *settle, self.common.public_key, f"bundles/{name}")
        except KubesmithError as error:
            raise KubesmithError(f"{self.name} did not boot: {error}; {self._last_words()}", fix=error.fix) from error
        state, bundles, host_key = answer.strip().split(" ", 2)
        if bundles == "stale":
            raise KubesmithError(
                f"{self.name} still sees a bundle folder that was removed since: {self.common.bundle.parent}",
                fix="stop the lab (`runner.py down`) and run the same command again; its data stays",
            )
        if state not in ("running", "degraded"):
            raise KubesmithError(
                f"systemd on {self.name} is {state}, which should be running",
                fix=f"podman exec {self.container} systemctl list-jobs",
            )
        return host_key

    def _last_words(self) -> str:
        words = podman("logs", "--tail=3", self.container, check=False).strip()
        return f"its last words: {words}" if words else "it said nothing"
