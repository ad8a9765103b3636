# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Where caches and the state of a cluster are kept; shared by the inventory plugin and the wrapper."""

from __future__ import annotations

import os
from pathlib import Path


def _from_environment(variable: str, default: Path) -> Path:
    value = os.environ.get(variable)
    return Path(value).expanduser().absolute() if value else default


def cache() -> Path:
    """Return the folder of everything that can be made again: ``$KUBESMITH_CACHE``, else ``~/.cache/kubesmith``."""
    return _from_environment("KUBESMITH_CACHE", Path.home() / ".cache" / "kubesmith")


def state(name: str) -> Path:
    """Return the folder of one cluster's keys, kubeconfig and reports: ``$KUBESMITH_STATE``/NAME."""
    return _from_environment("KUBESMITH_STATE", Path.home() / ".local" / "state" / "kubesmith") / name


def data(name: str) -> Path:
    """Return the folder of one cluster's backups and their private key, which outlive it: ``$KUBESMITH_DATA``/NAME."""
    return _from_environment("KUBESMITH_DATA", Path.home() / ".local" / "share" / "kubesmith") / name


def bundle(kubernetes: str = "") -> Path:
    """Return the bundle in use: ``$KUBESMITH_BUNDLE``, else the link in the cache for a Kubernetes version (1.37.2).

    Without a version it is the link to the newest Kubernetes there. Neither link needs to exist yet.
    """
    return _from_environment("KUBESMITH_BUNDLE", cache() / "bundle" / (kubernetes or "current"))


def bundle_given() -> bool:
    """Tell whether ``$KUBESMITH_BUNDLE`` names the bundle."""
    return bool(os.environ.get("KUBESMITH_BUNDLE"))
