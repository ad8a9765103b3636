"""For the Vagrantfile: ``python -m kubesmith.providers.vagrant INVENTORY`` prints the design of the machines."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from kubesmith import job
from kubesmith.errors import KubesmithError
from kubesmith.providers.base import Wanted
from kubesmith.providers.vagrant import VagrantProvider
from kubesmith.ui import Ui


def main(inventory: str) -> int:
    """Print the design as JSON; one sentence and its exit code where there is none."""
    try:
        work = job.read(inventory, Ui(as_json=False, quiet=True, verbosity=0))
        wanted = [Wanted(node.name, node.role) for node in work.spec.machines()]
        print(json.dumps(asdict(VagrantProvider(work.spec, work.file, wanted, work.bundle).design)))
    except KubesmithError as error:
        print(f"{error}\n→ {error.fix}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
