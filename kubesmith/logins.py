"""Passwords that the cluster file refers to: whether they are where it says, before anything is touched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.plugin_utils import registries
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import Spec

from kubesmith.errors import InputError


def check(spec: Spec) -> None:
    """Raise InputError naming every login whose password is not to be had on this machine."""
    runtime = spec.runtime.model_dump(exclude_none=True)
    found = registries.logins(runtime["registries"], runtime["proxy"])
    missing = [f"{whose}: {why}" for whose, auth in found if (why := _missing(auth))]
    if missing:
        raise InputError(
            f"no password for {'; '.join(missing)}", fix="set the variable, or write the file, and run it again"
        )


def _missing(auth: dict[str, Any]) -> str:
    """Say why a password cannot be had, "" if it can."""
    if name := auth.get("password_env"):
        return "" if os.environ.get(name) else f"the environment variable {name} is not set"
    file = Path(str(auth["password_file"])).expanduser()
    try:
        return "" if file.read_bytes().strip() else f"{file} is empty"
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"
