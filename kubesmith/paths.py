"""Where things are kept: the collection, the caches, the state of a cluster."""

from __future__ import annotations

import os
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent


def installed() -> bool:
    """Tell whether the package runs from a wheel rather than from a checkout."""
    return (PACKAGE / "_collections").is_dir()


def collections_path() -> Path:
    """Return the folder that holds ``ansible_collections/kubesmith/cluster``."""
    return PACKAGE / "_collections" if installed() else CHECKOUT / "collections"


def collection() -> Path:
    """Return the root folder of the collection ``kubesmith.cluster``."""
    return collections_path() / "ansible_collections" / "kubesmith" / "cluster"


def inventories() -> Path:
    """Return the folder that holds the named inventories."""
    return PACKAGE / "_inventories" if installed() else CHECKOUT / "inventories"


def bundle_recipes() -> Path:
    """Return the folder with the pinned ``go.mod``/``go.sum`` and image recipes of the bundle."""
    return PACKAGE / "_bundle" if installed() else CHECKOUT / "bundle"


def _from_environment(variable: str, default: Path) -> Path:
    value = os.environ.get(variable)
    return Path(value).expanduser().absolute() if value else default


def cache() -> Path:
    """Return the folder of everything that can be made again (``$KUBESMITH_CACHE``)."""
    return _from_environment("KUBESMITH_CACHE", Path.home() / ".cache" / "kubesmith")


def state(name: str) -> Path:
    """Return the folder of one cluster's keys, kubeconfig and reports (``$KUBESMITH_STATE``/NAME)."""
    return _from_environment("KUBESMITH_STATE", Path.home() / ".local" / "state" / "kubesmith") / name


def make_private(folder: Path) -> Path:
    """Create ``folder`` with mode 0700, parents included, and return it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    return folder


def expose_collection() -> None:
    """Make ``ansible_collections.kubesmith.cluster`` importable in this process."""
    path = str(collections_path())
    if path not in sys.path:
        sys.path.insert(0, path)
