"""For work on the roles: ``python -m kubesmith.providers.podman create|status|stop|destroy NAME``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import astuple
from ipaddress import IPv4Network
from pathlib import Path

from kubesmith import paths
from kubesmith.errors import KubesmithError
from kubesmith.progress import Silent
from kubesmith.providers.base import Wanted
from kubesmith.providers.podman import PodmanProvider


class Lines(Silent):
    """Prints what is done, a line each."""

    def start(self, item: str, text: str) -> None:
        """Print it."""
        print(f"{item}: {text}", flush=True)

    def done(self, item: str, text: str, *, changed: bool) -> None:
        """Print it."""
        print(f"{item}: {text}{' (changed)' if changed else ''}", flush=True)


def main() -> int:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(prog="kubesmith.providers.podman")
    parser.add_argument("verb", choices=["create", "status", "stop", "destroy"])
    parser.add_argument("name")
    parser.add_argument("--control-planes", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--node-cidr")
    parser.add_argument("--bundle", default=str(paths.cache() / "bundle" / "current"))
    parser.add_argument("--debian", type=int, choices=[12, 13], default=12)
    options = parser.parse_args()
    wanted = [Wanted(f"cp{i + 1}", "control-plane") for i in range(options.control_planes)]
    wanted += [Wanted(f"w{i + 1}", "worker") for i in range(options.workers)]
    avoid = [IPv4Network("10.244.0.0/16"), IPv4Network("10.96.0.0/12")]
    provider = PodmanProvider(
        options.name, wanted, options.node_cidr, avoid, Path(options.bundle), debian=options.debian
    )
    try:
        if options.verb == "status":
            for status in provider.status():
                print(*astuple(status))
        else:
            getattr(provider, options.verb)(Lines())
    except KubesmithError as error:
        print(f"{error}\n  {error.fix}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
