"""Operating systems as data: which are known, what their packages are called, how each was tried."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("systems.yml")


@dataclass(frozen=True)
class Family:
    """Systems with one package manager; ``packages`` is program → package."""

    manager: str
    packages: Mapping[str, str]


@dataclass(frozen=True)
class System:
    """One distribution, by os-release's ID; elder releases than ``oldest`` have no fit Python or kernel."""

    id: str
    name: str
    family: str
    oldest: str


@dataclass(frozen=True)
class Release:
    """One release, with the kernel and Python that it came with, and how it was tried: ci, hand or no."""

    id: str
    version: str
    kernel: str
    python: str
    tried: str
    note: str = ""


@dataclass(frozen=True)
class Data:
    """All of ``systems.yml``."""

    families: Mapping[str, Family]
    systems: Mapping[str, System]
    releases: Sequence[Release]

    def family(self, machine: Mapping[str, Any]) -> Family:
        """Return the family of a machine's facts: by its package manager, else by its ID and what it is like."""
        managers = {family.manager: family for family in self.families.values()}
        manager = {"yum": "dnf"}.get(machine["packages"], machine["packages"])
        if manager in managers:
            return managers[manager]
        for name in (machine["os"]["id"], *machine.get("like", ())):
            known = self.systems.get(name)
            if known or name in self.families:
                return self.families[known.family if known else name]
        return self.families["debian"]

    def known(self, name: str, version: str) -> bool:
        """Tell whether a system is one of ours, and not too old."""
        system = self.systems.get(name)
        return system is not None and numbers(version) >= numbers(system.oldest)


@cache
def data() -> Data:
    """Return what ``systems.yml`` says."""
    read = yaml.safe_load(FILE.read_text())
    return Data(
        {name: Family(**family) for name, family in read["families"].items()},
        {row["id"]: System(**row) for row in read["systems"]},
        [Release(**row) for row in read["releases"]],
    )


def numbers(version: str) -> tuple[int, ...]:
    """Return the leading two numbers of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def packages(family: Family, programs: Iterable[str]) -> list[str]:
    """Return the packages that bring ``programs``, each once."""
    return list(dict.fromkeys(family.packages[program] for program in programs))
