"""What a provider answers: the machines it made and how to reach each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from kubesmith.errors import InputError

FILE = "machines.json"


@dataclass(frozen=True)
class Machine:
    """One machine, as its provider describes it.

    ``address`` is the address that kubelet, API server and Calico use; ``ssh_host`` is where SSH reaches the machine
    (the same unless a NAT or bastion lies between). ``ssh_config`` is a file for ``ssh -F`` with a Host entry ``name``.
    ``container`` marks a node that shares this host's kernel: it loads no modules and may not set every limit, so the
    inventory gives it other role variables than a machine of its own (plugins/plugin_utils/inventory.py). ``emulated``
    marks a machine whose processor is emulated: everything there gets more time. ``vip`` is an address of the machines'
    network that no machine gets: several control planes share it.
    """

    name: str
    address: str
    ssh_host: str
    ssh_port: int
    ssh_user: str
    ssh_config: str
    container: bool = False
    address6: str = ""
    emulated: bool = False
    vip: str = ""


def save(folder: Path, provider: str, machines: Sequence[Machine]) -> None:
    """Write ``machines.json`` into the cluster's state folder, mode 0600, whole or not at all."""
    text = json.dumps({"schema": 1, "provider": provider, "machines": [asdict(m) for m in machines]}, indent=2)
    target = folder / FILE
    temporary = target.with_suffix(".new")
    temporary.unlink(missing_ok=True)  # of an interrupted run, with whatever mode
    temporary.touch(mode=0o600)
    temporary.write_text(text + "\n")
    temporary.replace(target)


def load(folder: Path) -> list[Machine]:
    """Read ``machines.json``; an absent file means that no machine was made: an empty list.

    Raises InputError for a file that is not what a provider wrote.
    """
    target = folder / FILE
    if not target.exists():
        return []
    try:
        return [Machine(**machine) for machine in json.loads(target.read_text())["machines"]]
    except OSError as error:
        raise InputError(f"cannot read {target}: {error.strerror}", fix="mend its permissions") from error
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{target} is damaged: {error}", fix="python3 runner.py up --only nodes (writes it anew)"
        ) from error
