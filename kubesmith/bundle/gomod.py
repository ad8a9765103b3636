"""The ``gomod`` source: commands compiled from published modules, pinned by ``go.mod`` and ``go.sum``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kubesmith.bundle.process import Runner, output
from kubesmith.bundle.recipe import Gomod, Recipe
from kubesmith.errors import KubesmithError


@dataclass(frozen=True)
class Go:
    """The ``go`` command, its environment, and its version."""

    path: Path
    env: dict[str, str]
    version: str


@dataclass(frozen=True)
class Dependency:
    """One module linked into a command; ``sum`` is its ``h1:`` hash as the checksum database vouches for it."""

    module: str
    version: str
    sum: str


def module_folder(go: Go, recipe: Recipe) -> Path:
    """Return where the recipe's module is unpacked, downloading and checking it first if need be."""
    source = _source(recipe)
    text = output([str(go.path), "mod", "download", "-json", source.module], env=go.env, cwd=recipe.folder)
    found = json.loads(text)
    if found["Version"] != source.version:
        raise KubesmithError(
            f"{recipe.folder / 'go.mod'} pins {source.module} {found['Version']}, component.yml says {source.version}",
            fix="Make the two agree.",
        )
    return Path(found["Dir"])


def module_sum(recipe: Recipe) -> str:
    """Return the ``h1:`` hash of the recipe's module from ``go.sum``."""
    source = _source(recipe)
    prefix = f"{source.module} {source.version} "
    for line in (recipe.folder / "go.sum").read_text().splitlines():
        if line.startswith(prefix):
            return line.removeprefix(prefix)
    raise KubesmithError(
        f"{recipe.folder / 'go.sum'} has no hash of {source.module} {source.version}", fix="Restore it: git checkout bundle/"
    )


def _source(recipe: Recipe) -> Gomod:
    assert isinstance(recipe.source, Gomod)
    return recipe.source


def download(go: Go, recipe: Recipe, runner: Runner) -> None:
    """Download every module that the recipe pins; each is checked against ``go.sum``."""
    runner.run(recipe.name, [str(go.path), "mod", "download", "-x"], env=go.env, cwd=recipe.folder)


def compile_commands(go: Go, recipe: Recipe, target: Path, runner: Runner, tell: Callable[[str], None]) -> dict[str, Path]:
    """Build the recipe's commands and C programs into the folder ``target``; return name → file.

    What is there already and up to date stays: Go compares the build ID.
    """
    target.mkdir(parents=True, exist_ok=True)
    for name, package in recipe.build.commands.items():
        tell(f"compiling {name}")
        _build_go(go, recipe, package, target / name, runner, tell)
    for name in recipe.build.programs:
        tell(f"compiling {name}")
        _build_c(go, recipe, name, target / name, runner)
    return {name: target / name for name in [*recipe.build.commands, *recipe.build.programs]}


def _build_go(
    go: Go, recipe: Recipe, package: str, file: Path, runner: Runner, tell: Callable[[str], None]
) -> None:
    build = recipe.build
    flags = ["-s", "-w", *(f"-X {name}={value}" for name, value in build.variables.items())]
    if build.cgo:
        flags.append("-linkmode external -extldflags -static")
    tags = ["-tags", ",".join(build.tags)] if build.tags else []
    command = [str(go.path), "build", "-v", "-trimpath", "-buildvcs=false", *tags, "-ldflags", " ".join(flags)]
    counted = _Counter(file.name, tell)
    env = {**go.env, "CGO_ENABLED": "1" if build.cgo else "0"}
    runner.run(recipe.name, [*command, "-o", str(file), package], env=env, cwd=recipe.folder, line=counted)


class _Counter:
    """Turns the package names that ``go build -v`` prints into a short progress text."""

    def __init__(self, command: str, tell: Callable[[str], None]) -> None:
        self._command = command
        self._tell = tell
        self._packages = 0

    def __call__(self, line: str) -> None:
        if re.fullmatch(r"[\w.~/@-]+", line):
            self._packages += 1
            self._tell(f"compiling {self._command}: {self._packages} packages, {line}")


def _build_c(go: Go, recipe: Recipe, name: str, file: Path, runner: Runner) -> None:
    program = recipe.build.programs[name]
    source = module_folder(go, recipe) / program.source
    command = ["gcc", "-static", *program.flags, "-s", "-Wl,--build-id=none", "-o", str(file), source.name]
    runner.run(recipe.name, command, cwd=source.parent)


def dependencies(go: Go, files: list[Path]) -> list[Dependency]:
    """Return the modules linked into ``files``, as the commands themselves tell (``go version -m``), sorted."""
    if not files:
        return []
    found = set()
    for line in output([str(go.path), "version", "-m", *map(str, files)], env=go.env).splitlines():
        parts = line.split("\t")
        if len(parts) >= 4 and parts[1] in ("dep", "=>"):
            found.add(Dependency(parts[2], parts[3], parts[4] if len(parts) > 4 else ""))
    return sorted((d for d in found if d.sum), key=lambda d: (d.module, d.version))
