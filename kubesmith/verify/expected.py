"""Small helpers with which checks say what they expect."""

from __future__ import annotations


def shortened(version: str, like: str) -> str:
    """Return as many parts of ``version`` as ``like`` has: ("v1.37.2", "1.37") → "1.37"."""
    return ".".join(version.removeprefix("v").split(".")[: len(like.split("."))])
