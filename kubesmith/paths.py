"""Where things are kept: the collection, the caches, the state of a cluster."""

from __future__ import annotations

import sys
from pathlib import Path

from kubesmith.errors import InputError

PACKAGE = Path(__file__).resolve().parent
CHECKOUT = PACKAGE.parent
INSTALLED = (PACKAGE / "_collections").is_dir()  # from a wheel rather than from a checkout
COLLECTIONS = PACKAGE / "_collections" if INSTALLED else CHECKOUT / "collections"

if str(COLLECTIONS) not in sys.path:
    sys.path.insert(0, str(COLLECTIONS))  # makes ansible_collections.kubesmith.cluster importable

from ansible_collections.kubesmith.cluster.plugins.plugin_utils.places import (  # noqa: E402
    bundle,
    bundle_given,
    cache,
    data,
    state,
)

__all__ = [
    "bundle",
    "bundle_given",
    "bundle_recipes",
    "cache",
    "collection",
    "data",
    "inventories",
    "make_private",
    "state",
]


def collection() -> Path:
    """Return the root folder of the collection ``kubesmith.cluster``."""
    return COLLECTIONS / "ansible_collections" / "kubesmith" / "cluster"


def inventories() -> Path:
    """Return the folder that holds the named inventories."""
    return PACKAGE / "_inventories" if INSTALLED else CHECKOUT / "inventories"


def bundle_recipes() -> Path:
    """Return the folder with the pinned ``go.mod``/``go.sum`` and image recipes of the bundle."""
    return PACKAGE / "_bundle" if INSTALLED else CHECKOUT / "bundle"


def make_private(folder: Path) -> Path:
    """Create ``folder`` with mode 0700, parents included, and return it; raise InputError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
    except OSError as error:
        raise InputError(
            f"cannot make the folder {folder}: {error.strerror}",
            fix="mend its permissions, or set KUBESMITH_STATE and KUBESMITH_CACHE to folders of yours",
        ) from error
    return folder
