"""Passwords that the cluster file refers to: whether they are where it says, before anything is touched."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.plugin_utils import registries
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import Spec

from kubesmith.errors import InputError


def check(spec: Spec) -> None:
    """Raise InputError naming every login whose password is not to be had on this machine."""
    runtime = spec.runtime.model_dump(exclude_none=True)
    found = registries.logins(runtime["registries"], runtime["proxy"])
    if spec.bundle.upstream.auth:
        found.append(("bundle.upstream", spec.bundle.upstream.auth.model_dump(exclude_none=True)))
    missing = [f"{whose}: {why}" for whose, auth in found if (why := _missing(auth))]
    if missing:
        raise InputError(
            f"no password for {'; '.join(missing)}", fix="set the variable, or write the file, and run it again"
        )


def _missing(auth: Mapping[str, Any]) -> str:
    """Say why a password cannot be had, "" if it can."""
    if name := auth.get("password_env"):
        return "" if os.environ.get(name) else f"the environment variable {name} is not set"
    file = Path(str(auth["password_file"])).expanduser()
    try:
        return "" if file.read_bytes().strip() else f"{file} is empty"
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"


def password(whose: str, auth: Mapping[str, Any]) -> str:
    """Return a login's password; InputError if it cannot be had, or needs ansible-vault."""
    if why := _missing(auth):
        raise InputError(f"no password for {whose}: {why}", fix="set the variable, or write the file")
    if name := auth.get("password_env"):
        return os.environ[name]
    file = Path(str(auth["password_file"])).expanduser()
    text = file.read_text().rstrip("\r\n")
    return _unlocked(whose, file, text) if text.startswith("$ANSIBLE_VAULT") else text


def _unlocked(whose: str, file: Path, text: str) -> str:
    """Decrypt what ansible-vault encrypted, by the password file that ANSIBLE_VAULT_PASSWORD_FILE names."""
    from ansible.parsing.vault import AnsibleVaultError, VaultLib, VaultSecret  # noqa: PLC0415 - takes a second

    key = os.environ.get("ANSIBLE_VAULT_PASSWORD_FILE")
    if not key:
        raise InputError(
            f"no password for {whose}: {file} is encrypted",
            fix="set ANSIBLE_VAULT_PASSWORD_FILE to the vault's password",
        )
    try:
        secret = VaultSecret(Path(key).expanduser().read_bytes().strip())
        return str(VaultLib([("default", secret)]).decrypt(text).decode()).rstrip("\r\n")
    except (AnsibleVaultError, OSError, ValueError) as error:
        raise InputError(f"no password for {whose}: {file} cannot be decrypted by {key}", fix="check both") from error
