"""``controllers``: the scheduler, the controllers that work for it, their certificates, and a shard by itself."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from kubesmith import paths
from kubesmith.controllers import certificates
from kubesmith.controllers.engines import DASK, tls_folder
from kubesmith.errors import InputError
from kubesmith.ui import Ui

LISTEN, DASHBOARD = "0.0.0.0:8786", "127.0.0.1:8787"
OPTIONS = {"scheduler": ("listen", "dashboard"), "worker": ("address", "at_once")}
TTL = "60s"  # after which a worker that is silent counts as lost
#: How Dask is to behave: what is not TLS is refused, and who is silent is soon given up.
SETTINGS = {
    "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": TTL,
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "2",
}


def run(given: argparse.Namespace, ui: Ui) -> int:
    """Carry out ``controllers ACTION``; scheduler and worker become Dask's own programs and do not return."""
    for action, names in OPTIONS.items():
        for name in names:
            if action != given.action and getattr(given, name) is not None:
                word = name if name == "address" else f"--{name.replace('_', '-')}"
                raise InputError(f"{word} says nothing to controllers {given.action}", fix="leave it out")
    folder: Path = given.tls or tls_folder()
    if given.action == "certificates":
        certificates.make(folder)
        ui.line(
            f"made {', '.join(certificates.FILES)} in {folder}: copy the folder to every controller, and keep it secret"
        )
        ui.event("certificates", folder=str(folder))
        return 0
    if given.action == "shard":
        return _shard()
    certificates.require(folder)
    if given.action == "scheduler":
        _become("dask_scheduler", folder, _scheduler(given.listen or LISTEN, given.dashboard or DASHBOARD))
    if not given.address or not DASK.fullmatch(given.address):
        raise InputError(
            f"{given.address or 'nothing'!r} is not the address of a scheduler", fix="give it as tls://HOST:PORT"
        )
    at_once = given.at_once or os.cpu_count() or 1
    _become("dask_worker", folder, [given.address, f"--nworkers={at_once}", "--nthreads=1", "--no-dashboard"])


def _scheduler(listen: str, dashboard: str) -> Sequence[str]:
    host, _colon, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"{listen!r} is not HOST:PORT", fix=f"for example {LISTEN}")
    return [f"--host=tls://{host}", f"--port={port}", f"--dashboard-address={dashboard}"]


def _become(module: str, folder: Path, words: Sequence[str]) -> NoReturn:
    """Become one of Dask's programs, with TLS and with our code."""
    files = zip(("--tls-ca-file", "--tls-cert", "--tls-key"), certificates.FILES, strict=True)
    options = [f"{option}={folder / file}" for option, file in files]
    above = str(paths.PACKAGE.parent)
    environment = os.environ | SETTINGS | {"PYTHONPATH": os.pathsep.join([above, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", f"distributed.cli.{module}", *words, *options]
    sys.stdout.flush()
    os.execve(command[0], command, environment)  # noqa: S606 - a program of our own environment, no shell


def _shard() -> int:
    """Carry out the shard on standard input and write its stream to standard output: a Receptor node's work command."""
    from kubesmith.controllers import worker  # noqa: PLC0415 - loads ansible-runner

    ended = False

    def tell(line: bytes) -> None:
        nonlocal ended
        ended = ended or b'"eof"' in line
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()

    worker.carry_out(sys.stdin.buffer.read(), tell)
    return 0 if ended else 1
