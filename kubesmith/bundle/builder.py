"""Making a bundle: every component from its recipe into the store, then the store's parts into one folder."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from kubesmith import paths
from kubesmith.bundle import toolchain
from kubesmith.bundle.assemble import assemble
from kubesmith.bundle.component import Chains, Workshop, chain_of, chains_of
from kubesmith.bundle.gomod import Go
from kubesmith.bundle.model import canonical
from kubesmith.bundle.process import Runner
from kubesmith.bundle.recipe import Recipe, load_recipe, load_release, releases
from kubesmith.bundle.store import Entry, Store, locked
from kubesmith.errors import InputError
from kubesmith.progress import Progress

DEFAULT_KUBERNETES = "1.37.2"
# Raised whenever this code would make another layer, image or record from the same recipe: the store starts anew.
FORMAT = 2
# What a bundle and its parts take on disk, in MiB, without Go's caches.
RESULT_MIB = 3000


def folder() -> Path:
    """Return the folder that holds all bundles, the link ``current``, and the lock."""
    return paths.cache() / "bundle"


def current() -> Path:
    """Return the link to the bundle of the newest Kubernetes that there is."""
    return folder() / "current"


def build(progress: Progress, kubernetes: str = DEFAULT_KUBERNETES, arch: str = "") -> Path:
    """Make the bundle for ``kubernetes`` and return its folder; what is in the store already is not made again.

    Args:
        progress: told of each component, by name.
        kubernetes: a version that has a release file under ``bundle/releases``.
        arch: ``amd64`` or ``arm64``; empty means this machine's, and no other can be built here.

    Raises:
        InputError: unknown version or architecture, a missing tool, too little disk. Nothing was made.
        KubesmithError: a build failed; what was finished before is kept.
    """
    host = toolchain.host_arch()
    if arch not in ("", host):
        raise InputError(f"a bundle for {arch} cannot be built on {host}", fix=f"Build it on a machine with {arch}.")
    recipes = load_release(kubernetes)
    progress.total(len(recipes))
    with locked(
        folder() / "lock", lambda pid: progress.start("lock", f"waiting for the build of process {pid}")
    ) as waited:
        if waited:
            progress.done("lock", "the other build has ended", changed=False)
        return _Build(recipes, kubernetes, host, progress).run()


def _recipes_key(recipes: Sequence[Recipe]) -> str:
    return hashlib.sha256(canonical([FORMAT, *(recipe.fingerprint() for recipe in recipes)])).hexdigest()


def mark(made: Path, recipes: Sequence[Recipe]) -> None:
    """Note beside the bundle ``made`` from which recipes it was built."""
    made.with_name(f"{made.name}.recipes").write_text(_recipes_key(recipes) + "\n")


def outdated(made: Path, kubernetes: str) -> bool:
    """Tell whether the bundle in the folder ``made`` was built here, from recipes that were changed since."""
    note = made.with_name(f"{made.name}.recipes")
    if not note.is_file() or kubernetes not in releases():
        return False  # carried here, or from upstream
    return note.read_text().strip() != _recipes_key(load_release(kubernetes))


def from_packages(names: Sequence[str], kubernetes: str, progress: Progress) -> list[Entry]:
    """Return what the recipes ``names`` make of Debian's packages, for a bundle of another source.

    The caller holds the lock. InputError where this machine's apt knows no Debian, KubesmithError if making one fails.
    """
    recipes = [load_recipe(paths.bundle_recipes() / "components" / name) for name in names]
    entries = _Build(recipes, kubernetes, toolchain.host_arch(), progress).entries()
    return [entries[recipe.name] for recipe in recipes]


class _Build:
    """One run of ``build``, with the lock held."""

    def __init__(self, recipes: Sequence[Recipe], kubernetes: str, arch: str, progress: Progress) -> None:
        self.recipes = recipes
        self.kubernetes = kubernetes
        self.arch = arch
        self.progress = progress
        self.scratch = folder() / "scratch"
        self.runner = Runner(folder() / "logs")
        self.store = Store(paths.cache() / "store")
        self.chains: Chains = {}
        self._clean()
        self.workshop = Workshop(self._go(), toolchain.compiler_version(), arch, self.runner, self.scratch)

    def _go(self) -> Go:
        if all(recipe.source.type == "debian" for recipe in self.recipes):
            return Go(Path(), {}, "")  # packages are compiled
        path = toolchain.find_go(toolchain.go_needed(self.recipes), self.runner)
        return Go(path, toolchain.environment(path, self.arch, self.scratch), toolchain.version(path))

    def _clean(self) -> None:
        """Remove what an interrupted run left; logs are of the last run only."""
        for left in (self.scratch, folder() / "logs", *folder().glob(".new-*")):
            shutil.rmtree(left, ignore_errors=True)
        self.store.sweep()

    def run(self) -> Path:
        """Build what the store lacks and return the bundle's folder."""
        entries = self.entries()
        made = assemble(folder(), self.kubernetes, self.arch, [entries[recipe.name] for recipe in self.recipes])
        mark(made, self.recipes)
        return made

    def entries(self) -> dict[str, Entry]:
        """Build what the store lacks and return each component, by its recipe's name."""
        base = [recipe for recipe in self.recipes if recipe.layers]
        rest = [recipe for recipe in self.recipes if not recipe.layers]
        entries = self._found(base)
        if len(entries) < len(base):
            self._check(self.recipes)  # what stands on the base may have to be made anew with it
            entries.update(self._make_all([recipe for recipe in base if recipe.name not in entries]))
        self.chains = chains_of(entries.values())
        entries.update(self._found(rest))
        missing = [recipe for recipe in rest if recipe.name not in entries]
        if missing:
            self._check(missing)
            entries.update(self._make_all(missing))
        shutil.rmtree(self.scratch, ignore_errors=True)
        return entries

    def _found(self, recipes: Sequence[Recipe]) -> dict[str, Entry]:
        """Return what the store has of ``recipes``."""
        found = {}
        for recipe in recipes:
            entry = self.store.get(recipe.name, self._key(recipe))
            if entry:
                found[recipe.name] = entry
                self.progress.done(recipe.name, recipe.version, changed=False)
        return found

    def _check(self, recipes: Sequence[Recipe]) -> None:
        """Raise InputError if a tool or disk space for making ``recipes`` is missing."""
        toolchain.check_tools(recipes)
        first = [recipe for recipe in recipes if not self.store.knows(recipe.name)]
        toolchain.check_disk(folder(), RESULT_MIB + sum(recipe.disk for recipe in first))

    def _key(self, recipe: Recipe) -> str:
        """Return 20 hex digits of all that the result depends on."""
        used = sorted({name for image in recipe.images for name in image.base})
        parts = [
            recipe.fingerprint(),
            self.arch,
            FORMAT,
            self.workshop.go.version if recipe.source.type == "gomod" else "",
            self.workshop.compiler if recipe.build.compiles_c else "",
            [[layer.blob.digest for layer in chain_of(self.chains, name)] for name in used],
        ]
        return hashlib.sha256(canonical(parts)).hexdigest()[:20]

    def _make_all(self, recipes: Sequence[Recipe]) -> dict[str, Entry]:
        """Build side by side as many as memory and processors allow; the first failure stops all."""
        entries: dict[str, Entry] = {}
        waiting = list(recipes)
        running: dict[Future[Entry], Recipe] = {}
        budget = toolchain.available_memory()
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            try:
                while waiting or running:
                    for recipe in _fitting(waiting, list(running.values()), budget):
                        waiting.remove(recipe)
                        running[pool.submit(self._make, recipe)] = recipe
                    finished, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        entries[running.pop(future).name] = future.result()
            except BaseException:
                self.runner.stop()
                raise
        return entries

    def _make(self, recipe: Recipe) -> Entry:
        self.progress.start(recipe.name, recipe.version)
        # Kept if the build is interrupted, so that no command is linked twice.
        objects = folder() / "objects" / f"{recipe.name}-{recipe.version}-{self.arch}"

        def tell(text: str) -> None:
            self.progress.update(recipe.name, text)

        def make(new: Path) -> dict[str, Any]:
            if recipe.layers:
                return self.workshop.make_base(recipe, new, tell)
            if recipe.source.type == "debian":
                return self.workshop.make_images(recipe, self.chains, new, tell)
            return self.workshop.make_gomod(recipe, self.chains, objects, new, tell)

        entry = self.store.put(recipe.name, self._key(recipe), make)
        shutil.rmtree(objects, ignore_errors=True)
        self.progress.done(recipe.name, recipe.version, changed=True)
        return entry


def _fitting(waiting: Sequence[Recipe], running: Sequence[Recipe], budget: int) -> list[Recipe]:
    """Return which of ``waiting`` may start now: while memory (MiB) lasts, and always one."""
    left = budget - sum(recipe.build.memory for recipe in running)
    free = (os.cpu_count() or 1) - len(running)
    chosen: list[Recipe] = []
    for recipe in waiting:
        if free > 0 and (recipe.build.memory <= left or not (running or chosen)):
            chosen.append(recipe)
            left -= recipe.build.memory
            free -= 1
    return chosen
