"""The cluster as kubectl sees it, from this machine."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from kubesmith import paths
from kubesmith.errors import KubesmithError

TIMEOUT = 20  # seconds; a server that does not answer must not hang a status line


def binary() -> str:
    """Return the bundle's kubectl, else the one on PATH."""
    own = paths.bundle() / "bin" / "kubectl"
    found = str(own) if own.exists() else shutil.which("kubectl")
    if not found:
        raise KubesmithError("there is no kubectl", fix="python3 runner.py bundle build")
    return found


def environment(kubeconfig: Path) -> dict[str, str]:
    """Return the environment for kubectl on the cluster of ``kubeconfig``."""
    if not kubeconfig.exists():
        raise KubesmithError(f"the cluster has no kubeconfig yet ({kubeconfig})", fix="python3 runner.py up")
    return os.environ | {"KUBECONFIG": str(kubeconfig)}


def get(kubeconfig: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """Return ``kubectl get ARGUMENTS -o json`` as a mapping; raise KubesmithError with kubectl's last words."""
    command = [binary(), "get", *arguments, "-o", "json", f"--request-timeout={TIMEOUT}s"]
    done = subprocess.run(command, env=environment(kubeconfig), capture_output=True, text=True, check=False)
    if done.returncode:
        raise KubesmithError(
            f"kubectl get {' '.join(arguments)}: {last_line(done.stderr)}", fix="python3 runner.py status"
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def last_line(text: str) -> str:
    """Return the last line that says something: kubectl logs its attempts before it tells the reason."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no answer")


def client_certificate(kubeconfig: Path) -> str:
    """Return the certificate by which a kubeconfig's first user is known, as PEM; empty where there is none."""
    try:
        text = yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["client-certificate-data"]
        return base64.b64decode(text).decode()
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
        return ""
