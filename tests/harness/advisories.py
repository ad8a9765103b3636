"""Known holes in the locked Python packages, by an offline copy of osv.dev: python advisories.py ALL.ZIP."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

LOCKED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
Advisory = Mapping[str, Any]


def locked(text: str) -> dict[str, str]:
    """Return {normalised name: version} of a lock file."""
    return {normal(name): version for name, version in LOCKED.findall(text)}


def normal(name: str) -> str:
    """Return a package's name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def advisories(archive: Path) -> Iterator[Advisory]:
    """Yield the advisories of an archive that are not withdrawn."""
    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            if name.endswith(".json"):
                row = json.loads(packed.read(name))
                if "withdrawn" not in row:
                    yield row


def concerns(advisory: Advisory, packages: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield (name, version) of the packages that have the hole."""
    for row in advisory.get("affected", ()):
        package = row.get("package", {})
        name = normal(package.get("name", ""))
        if package.get("ecosystem") == "PyPI" and name in packages and _has(row, packages[name]):
            yield name, packages[name]


def _has(row: Mapping[str, Any], version: str) -> bool:
    if version in row.get("versions", ()):
        return True
    ranges = [part for part in row.get("ranges", ()) if part.get("type") == "ECOSYSTEM"]
    return any(_within(part.get("events", ()), version) for part in ranges)


def _within(events: Any, version: str) -> bool:
    """Tell whether a version lies in a range: introduced, and neither fixed nor beyond the last affected."""
    try:
        seen = Version(version)
        inside = False
        for event in events:
            if "introduced" in event and (event["introduced"] == "0" or seen >= Version(event["introduced"])):
                inside = True
            if "fixed" in event and seen >= Version(event["fixed"]):
                inside = False
            if "last_affected" in event and seen > Version(event["last_affected"]):
                inside = False
    except InvalidVersion:
        return False
    return inside


def main(archive: Path, locks: list[Path]) -> int:
    """Print each hole in a locked package; return 1 if there is one."""
    packages = {name: version for lock in locks for name, version in locked(lock.read_text()).items()}
    found, read = set(), 0
    for advisory in advisories(archive):
        read += 1
        for name, version in concerns(advisory, packages):
            found.add(f"{name} {version}: {advisory['id']} {advisory.get('summary', '')}".strip())
    print("\n".join(sorted(found)) or f"none of {len(packages)} packages is in {read} advisories")
    return int(bool(found) or not read)


if __name__ == "__main__":
    ROOT = Path(__file__).resolve().parents[2]
    sys.exit(main(Path(sys.argv[1]), sorted((ROOT / "requirements").glob("*-py*.txt"))))
