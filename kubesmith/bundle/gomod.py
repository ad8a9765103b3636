"""The ``gomod`` source: commands compiled from published modules, pinned by ``go.mod`` and ``go.sum``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kubesmith.bundle.process import Runner, output
from kubesmith.bundle.recipe import Gomod, Recipe
from kubesmith.errors import InputError, KubesmithError


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


def module_folder(go: Go, recipe: Recipe, runner: Runner) -> Path:
    """Return where the recipe's module is unpacked, downloading it and checking it against ``go.sum`` if need be."""
    source = _source(recipe)
    runner.run(recipe.name, [str(go.path), "mod", "download", source.module], env=go.env, cwd=recipe.folder)
    listing = [str(go.path), "list", "-m", "-f", "{{.Version}} {{.Dir}}", source.module]
    version, _, folder = output(listing, env=go.env, cwd=recipe.folder).strip().partition(" ")
    if version != source.version:
        raise InputError(
            f"{recipe.folder / 'go.mod'} pins {source.module} {version}, component.yml says {source.version}",
            fix="Make the two agree.",
        )
    return Path(folder)


def module_sum(recipe: Recipe) -> str:
    """Return the ``h1:`` hash of the recipe's module from ``go.sum``."""
    source = _source(recipe)
    prefix = f"{source.module} {source.version} "
    for line in (recipe.folder / "go.sum").read_text().splitlines():
        if line.startswith(prefix):
            return line.removeprefix(prefix)
    raise KubesmithError(
        f"{recipe.folder / 'go.sum'} has no hash of {source.module} {source.version}",
        fix="Restore it: git checkout bundle/",
    )


def _source(recipe: Recipe) -> Gomod:
    assert isinstance(recipe.source, Gomod)
    return recipe.source


class Compiler:
    """Builds the commands and C programs of one recipe; ``tell`` is given short texts on what is being done."""

    def __init__(self, go: Go, recipe: Recipe, runner: Runner, tell: Callable[[str], None]) -> None:
        self._go = go
        self._recipe = recipe
        self._runner = runner
        self._tell = tell

    def build(self, target: Path) -> dict[str, Path]:
        """Build everything into the folder ``target`` and return name → file.

        What is there already and up to date stays: Go compares the build ID.
        """
        target.mkdir(parents=True, exist_ok=True)
        for name, package in self._recipe.build.commands.items():
            self._tell(f"compiling {name}")
            self._command(package, target / name)
        for name in self._recipe.build.programs:
            self._tell(f"compiling {name}")
            self._program(name, target / name)
        return {name: target / name for name in [*self._recipe.build.commands, *self._recipe.build.programs]}

    def _command(self, package: str, file: Path) -> None:
        build = self._recipe.build
        link = ["-s", "-w", *(f"-X {name}={value}" for name, value in build.variables.items())]
        if build.cgo:
            link.append("-linkmode external -extldflags -static")
        tags = ["-tags", ",".join(build.tags)] if build.tags else []
        flags = ["-v", "-trimpath", "-buildvcs=false", *tags, "-ldflags", " ".join(link)]
        env = {**self._go.env, "CGO_ENABLED": "1" if build.cgo else "0"}
        command = [str(self._go.path), "build", *flags, "-o", str(file), package]
        count = _Counter(file.name, self._tell)
        self._runner.run(self._recipe.name, command, env=env, cwd=self._recipe.folder, line=count)

    def _program(self, name: str, file: Path) -> None:
        program = self._recipe.build.programs[name]
        source = module_folder(self._go, self._recipe, self._runner) / program.source
        command = ["gcc", "-static", *program.flags, "-s", "-Wl,--build-id=none", "-o", str(file), source.name]
        self._runner.run(self._recipe.name, command, cwd=source.parent)


class _Counter:
    """Turns the package names that ``go build -v`` prints into a short progress text."""

    def __init__(self, command: str, tell: Callable[[str], None]) -> None:
        self._command = command
        self._tell = tell
        self._packages = 0

    def __call__(self, line: str) -> None:
        if line.startswith("go: downloading "):
            self._tell(line.removeprefix("go: "))
        elif re.fullmatch(r"[\w.~/@-]+", line):
            self._packages += 1
            self._tell(f"compiling {self._command}: {self._packages} packages, {line}")


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
