"""Making a bundle: every component from its recipe into the store, then the store's parts into one folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from operator import itemgetter
from pathlib import Path
from typing import Any

from kubesmith import paths
from kubesmith.bundle import debian, gomod, toolchain
from kubesmith.bundle.elf import missing_libraries
from kubesmith.bundle.layers import Blob, put_layer
from kubesmith.bundle.layers import Entry as LayerEntry
from kubesmith.bundle.model import (
    FILE,
    IMAGES,
    SBOM,
    SCHEMA,
    Component,
    File,
    Image,
    canonical,
    component_data,
    component_from,
    digest_of,
)
from kubesmith.bundle.oci import Layer, put_image, write_layout
from kubesmith.bundle.process import Runner
from kubesmith.bundle.recipe import ImageRecipe, Item, Recipe, load_release
from kubesmith.bundle.sbom import sbom
from kubesmith.bundle.store import Entry, Store, file_sha256, link, locked, sync_file, sync_folder
from kubesmith.errors import InputError
from kubesmith.progress import Progress

DEFAULT_KUBERNETES = "1.37.2"
BLOBS = Path("blobs") / "sha256"
# Raised whenever this code would make another layer, image or record from the same recipe: the store starts anew.
FORMAT = 2
# What a bundle and its parts take on disk, in MiB, without Go's caches.
RESULT_MIB = 3000


def folder() -> Path:
    """Return the folder that holds all bundles, the link ``current``, and the lock."""
    return paths.cache() / "bundle"


def current() -> Path:
    """Return the link to the bundle that was built last."""
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
        self.chains: dict[str, tuple[Layer, ...]] = {}
        self._clean()
        path = toolchain.find_go(toolchain.go_needed(recipes), self.runner)
        self.go = gomod.Go(path, toolchain.environment(path, arch, self.scratch), toolchain.version(path))
        self.compiler = toolchain.compiler_version()

    def _clean(self) -> None:
        """Remove what an interrupted run left; logs are of the last run only."""
        for left in (self.scratch, folder() / "logs", *folder().glob(".new-*")):
            shutil.rmtree(left, ignore_errors=True)
        self.store.sweep()

    def run(self) -> Path:
        """Build what the store lacks and return the bundle's folder."""
        base = [recipe for recipe in self.recipes if recipe.layers]
        rest = [recipe for recipe in self.recipes if not recipe.layers]
        entries = self._found(base)
        if len(entries) < len(base):
            self._check(self.recipes)  # what stands on the base may have to be made anew with it
            entries.update(self._make_all([recipe for recipe in base if recipe.name not in entries]))
        self.chains = _chains(entries.values())
        entries.update(self._found(rest))
        missing = [recipe for recipe in rest if recipe.name not in entries]
        if missing:
            self._check(missing)
            entries.update(self._make_all(missing))
        shutil.rmtree(self.scratch, ignore_errors=True)
        return self._assemble([entries[recipe.name] for recipe in self.recipes])

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
        compiled = recipe.build.cgo or recipe.build.programs
        used = sorted({name for image in recipe.images for name in image.base})
        parts = [
            recipe.fingerprint(),
            self.arch,
            FORMAT,
            self.go.version if recipe.source.type == "gomod" else "",
            self.compiler if compiled else "",
            [[layer.blob.digest for layer in self._chain(name)] for name in used],
        ]
        return hashlib.sha256(canonical(parts)).hexdigest()[:20]

    def _chain(self, name: str) -> tuple[Layer, ...]:
        if name not in self.chains:
            known = ", ".join(sorted(self.chains)) or "none"
            raise InputError(f"an image recipe names the base layer '{name}'", fix=f"Base layers are: {known}.")
        return self.chains[name]

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
        make = self._make_base if recipe.source.type == "debian" else self._make_gomod
        entry = self.store.put(recipe.name, self._key(recipe), lambda new: make(recipe, new))
        shutil.rmtree(self._objects(recipe), ignore_errors=True)
        self.progress.done(recipe.name, recipe.version, changed=True)
        return entry

    def _objects(self, recipe: Recipe) -> Path:
        """Return where commands are linked: kept if the build is interrupted, so that none is linked twice."""
        return folder() / "objects" / f"{recipe.name}-{recipe.version}-{self.arch}"

    def _make_gomod(self, recipe: Recipe, new: Path) -> dict[str, Any]:
        def tell(text: str) -> None:
            self.progress.update(recipe.name, text)

        tell("downloading modules")
        module = gomod.module_folder(self.go, recipe, self.runner)
        commands = gomod.Compiler(self.go, recipe, self.runner, tell).build(self._objects(recipe))
        take = _Taker(recipe, module, commands)
        tell("packing")
        files = tuple(take.file(item, new) for item in recipe.files)
        images = tuple(self._image(recipe, image, take, new) for image in recipe.images)
        component = Component(
            recipe.name, recipe.version, recipe.licence, self._source(recipe), files, images, recipe.features
        )
        linked = gomod.dependencies(self.go, [commands[name] for name in recipe.build.commands])
        return {"component": component_data(component), "dependencies": [asdict(one) for one in linked]}

    def _source(self, recipe: Recipe) -> dict[str, str]:
        source = recipe.source.model_dump()
        tools = {"go": self.go.version} if recipe.build.commands else {}
        if recipe.build.cgo or recipe.build.programs:
            tools["c"] = self.compiler
        return {**source, "sum": gomod.module_sum(recipe), "toolchain": " ".join([*tools.values()])}

    def _image(self, recipe: Recipe, image: ImageRecipe, take: _Taker, new: Path) -> Image:
        comment = f"{recipe.name} {recipe.version}"
        own = [Layer(put_layer(take.entries(items), new / BLOBS), comment) for items in image.layers]
        below = [layer for name in image.base for layer in self._chain(name)]
        labels = {
            "org.opencontainers.image.title": image.name,
            "org.opencontainers.image.version": recipe.version,
            "org.opencontainers.image.source": purl(recipe),
            "org.opencontainers.image.licenses": recipe.licence,
            "org.opencontainers.image.description": "Built by kubesmith from the published Go module",
        }
        return put_image(image, [*below, *own], self.arch, labels, new / BLOBS)

    def _make_base(self, recipe: Recipe, new: Path) -> dict[str, Any]:
        assert recipe.source.type == "debian"
        self.progress.update(recipe.name, "fetching Debian packages")
        archive = debian.Archive(self.scratch / "apt", recipe.source.suite, self.arch, self.runner)
        take = _Taker(recipe, Path(), {})
        layers: dict[str, dict[str, Any]] = {}
        present: dict[str, set[str]] = {"": set()}
        packages: list[dict[str, Any]] = []
        for name, layer in recipe.layers.items():
            self.progress.update(recipe.name, f"packing layer {name}")
            fetched = archive.fetch(layer.packages)
            entries = debian.tree(fetched, layer, recipe.exclude)
            packages += [_package(package, debian.licences(package, entries)) for package in fetched]
            entries.update({item.path: take.entry(item) for item in layer.items})
            present[name] = present[layer.over] | set(entries)
            _refuse_missing(recipe, name, missing_libraries(entries.values(), present[name]))
            blob = put_layer(entries.values(), new / BLOBS)
            layers[name] = {**asdict(blob), "over": layer.over, "comment": f"{recipe.name} {recipe.version}: {name}"}
        source = {**recipe.source.model_dump(), "packages": sorted(packages, key=itemgetter("name"))}
        component = Component(recipe.name, recipe.version, recipe.licence, source)
        return {"component": component_data(component), "layers": layers}

    def _assemble(self, entries: Sequence[Entry]) -> Path:
        """Link the parts into one folder, publish it whole, and point ``current`` at it."""
        components = [entry.record["component"] for entry in entries]
        digest = digest_of(components)
        name = f"kubesmith-{self.kubernetes}-{self.arch}"
        final = folder() / f"{name}-{digest.removeprefix('sha256:')[:12]}"
        if not _same(final, entries):
            new = folder() / f".new-{final.name}"
            _fill(new, entries, self.arch)
            head = {"schema": SCHEMA, "name": name, "digest": digest, "arch": self.arch, "kubernetes": self.kubernetes}
            (new / SBOM).write_text(json.dumps(sbom(head, [entry.record for entry in entries]), indent=1) + "\n")
            (new / FILE).write_text(json.dumps({**head, "components": components}, indent=1) + "\n")
            for written in (SBOM, FILE, f"{IMAGES}/index.json", f"{IMAGES}/oci-layout"):
                sync_file(new / written)
            shutil.rmtree(final, ignore_errors=True)
            new.rename(final)
        _point(current(), final)
        return final


def purl(recipe: Recipe) -> str:
    """Return the package URL of what the recipe is made from."""
    source = recipe.source
    if source.type == "gomod":
        return f"pkg:golang/{source.module}@{source.version}"
    return f"pkg:deb/debian@{source.suite}"


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


def _refuse_missing(recipe: Recipe, layer: str, missing: Sequence[str]) -> None:
    if missing:
        raise InputError(
            f"base layer {layer}: a library is missing: {'; '.join(missing)}",
            fix=f"Add the package that holds it to {recipe.folder / 'component.yml'}, or exclude the program.",
        )


def _package(package: debian.Package, licences: list[str]) -> dict[str, Any]:
    return {"name": package.name, "version": package.version, "sha256": package.sha256, "licences": licences}


def _chains(entries: Iterable[Entry]) -> dict[str, tuple[Layer, ...]]:
    """Return, for each base layer in the store, the layers from the bottom up to it."""
    found = {name: data for entry in entries for name, data in entry.record.get("layers", {}).items()}

    def chain(name: str) -> tuple[Layer, ...]:
        data = found[name]
        below = chain(data["over"]) if data["over"] else ()
        return (*below, Layer(Blob(data["digest"], data["size"]), data["comment"]))

    return {name: chain(name) for name in found}


class _Taker:
    """Finds what an item of a recipe names."""

    def __init__(self, recipe: Recipe, module: Path, commands: dict[str, Path]) -> None:
        self._recipe = recipe
        self._module = module
        self._commands = commands

    def origin(self, item: Item) -> Path:
        """Return the file that ``item`` is taken from."""
        if item.command:
            return self._commands[item.command]
        path = self._module / item.module if item.module else self._recipe.folder / item.recipe
        if not path.is_file():
            raise InputError(
                f"{self._recipe.name}: {path} does not exist, wanted for {item.path}", fix="Correct the recipe."
            )
        return path

    def text(self, item: Item) -> bytes:
        """Return the content of ``item`` with its replacements made; each must hit."""
        content = self.origin(item).read_text()
        for old, new in item.replace.items():
            if old not in content:
                raise InputError(
                    f"{self._recipe.name}: '{old}' does not occur in {item.path}", fix="Correct the recipe."
                )
            content = content.replace(old, new)
        return content.encode()

    def file(self, item: Item, new: Path) -> File:
        """Put ``item`` into the folder ``new`` and return its entry for ``bundle.json``."""
        target = new / item.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if item.replace:
            target.write_bytes(self.text(item))
        else:
            shutil.copyfile(self.origin(item), target)
        target.chmod(int(item.mode, 8))
        size = target.stat().st_size
        return File(item.path, file_sha256(target), size, item.mode, item.set, item.install)

    def entries(self, items: Iterable[Item]) -> list[LayerEntry]:
        """Return the members of a layer; of two with the same path the later stays."""
        found: dict[str, LayerEntry] = {}
        for item in items:
            taken = self._tree(item) if item.tree else [self.entry(item)]
            found.update({entry.path: entry for entry in taken})
        return list(found.values())

    def _tree(self, item: Item) -> list[LayerEntry]:
        root = self._module / item.module
        files = sorted(path for path in root.rglob("*") if path.is_file())
        if not files:
            raise InputError(
                f"{self._recipe.name}: {root} holds no file, wanted for {item.path}", fix="Correct the recipe."
            )
        mode = int(item.mode, 8)
        return [LayerEntry(f"{item.path}/{path.relative_to(root)}", mode=mode, source=path) for path in files]

    def entry(self, item: Item) -> LayerEntry:
        """Return ``item`` as a member of a layer."""
        made = item.directory or item.symlink or item.hardlink
        return LayerEntry(
            path=item.path,
            mode=int(item.mode, 8),
            owner=item.owner,
            source=None if made or item.replace else self.origin(item),
            content=self.text(item) if item.replace else b"",
            symlink=item.symlink,
            hardlink=item.hardlink,
            directory=item.directory,
            capability=item.capability,
        )


def _parts(entry: Entry) -> list[tuple[Path, Path]]:
    """Return where each file of a store entry is, and its place in a bundle."""
    blobs = f"{BLOBS}/"
    return [
        (entry.path / path, Path(IMAGES) / path if path.startswith(blobs) else Path(path))
        for path in entry.record["content"]
    ]


def _same(final: Path, entries: Sequence[Entry]) -> bool:
    """Tell whether ``final`` is complete and made of these very files, untouched since (by size and time)."""
    if not (final / FILE).is_file():
        return False
    return all(_seen(final / place) == _seen(source) for entry in entries for source, place in _parts(entry))


def _seen(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _fill(new: Path, entries: Sequence[Entry], arch: str) -> None:
    shutil.rmtree(new, ignore_errors=True)
    (new / IMAGES / BLOBS).mkdir(parents=True)
    for entry in entries:
        for source, place in _parts(entry):
            if not (new / place).exists():
                link(source, new / place)
    images = [image for entry in entries for image in component_from(entry.record["component"]).images]
    write_layout(new / IMAGES, images, arch)


def _point(name: Path, target: Path) -> None:
    """Make ``name`` a link to ``target``, in one step."""
    new = name.with_name(f".{name.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target.name)
    new.replace(name)
    sync_folder(name.parent)
