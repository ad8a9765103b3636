"""Making one component: its commands compiled, its files placed, its images packed; or the base's layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from kubesmith.bundle import debian, gomod
from kubesmith.bundle.elf import missing_libraries
from kubesmith.bundle.layers import BLOBS, Blob, put_layer
from kubesmith.bundle.model import Component, Image, component_data
from kubesmith.bundle.oci import Layer, put_image
from kubesmith.bundle.process import Runner
from kubesmith.bundle.recipe import ImageRecipe, Recipe
from kubesmith.bundle.store import Entry
from kubesmith.bundle.take import Taker
from kubesmith.errors import InputError

MADE_FROM = {"gomod": "the published Go module", "debian": "Debian's packages"}
Tell = Callable[[str], None]
Chains = Mapping[str, tuple[Layer, ...]]


@dataclass(frozen=True)
class Workshop:
    """What every component is made with: Go, the C compiler's version, the architecture, a folder for waste."""

    go: gomod.Go
    compiler: str
    arch: str
    runner: Runner
    scratch: Path

    def make_gomod(self, recipe: Recipe, chains: Chains, objects: Path, new: Path, tell: Tell) -> dict[str, Any]:
        """Build a ``gomod`` component into the folder ``new`` and return its record.

        Commands are linked in the folder ``objects``; ``chains`` are the base layers that images may stand on.
        """
        tell("downloading modules")
        module = gomod.module_folder(self.go, recipe, self.runner)
        commands = gomod.Compiler(self.go, recipe, self.runner, tell).build(objects)
        take = Taker(recipe, module, commands)
        tell("packing")
        files = tuple(take.file(item, new) for item in recipe.files)
        images = tuple(self._image(recipe, image, chains, take, new) for image in recipe.images)
        component = Component(
            recipe.name, recipe.version, recipe.licence, self._source(recipe), files, images, recipe.features
        )
        linked = gomod.dependencies(self.go, [commands[name] for name in recipe.build.commands])
        return {"component": component_data(component), "dependencies": [asdict(one) for one in linked]}

    def _source(self, recipe: Recipe) -> dict[str, str]:
        tools = [self.go.version] if recipe.build.commands else []
        if recipe.build.compiles_c:
            tools.append(self.compiler)
        return {**recipe.source.model_dump(), "sum": gomod.module_sum(recipe), "toolchain": ", ".join(tools)}

    def _image(self, recipe: Recipe, image: ImageRecipe, chains: Chains, take: Taker, new: Path) -> Image:
        comment = f"{recipe.name} {recipe.version}"
        own = [Layer(put_layer(take.entries(items), new / BLOBS), comment) for items in image.layers]
        below = [layer for name in image.base for layer in chain_of(chains, name)]
        labels = {
            "org.opencontainers.image.title": image.name,
            "org.opencontainers.image.version": recipe.version,
            "org.opencontainers.image.source": purl(recipe),
            "org.opencontainers.image.licenses": recipe.licence,
            "org.opencontainers.image.description": f"Built by kubesmith from {MADE_FROM[recipe.source.type]}",
        }
        return put_image(image, [*below, *own], self.arch, labels, new / BLOBS)

    def make_images(self, recipe: Recipe, chains: Chains, new: Path, tell: Tell) -> dict[str, Any]:
        """Pack images of base layers and the recipe's own files into the folder ``new``; return the record."""
        tell("packing")
        take = Taker(recipe, Path(), {})
        images = tuple(self._image(recipe, image, chains, take, new) for image in recipe.images)
        component = Component(recipe.name, recipe.version, recipe.licence, recipe.source.model_dump(), (), images)
        return {"component": component_data(component)}

    def make_base(self, recipe: Recipe, new: Path, tell: Tell) -> dict[str, Any]:
        """Build base layers into the folder ``new`` and return the record; its ``layers`` are read by ``chains_of``."""
        assert recipe.source.type == "debian"
        tell("fetching Debian packages")
        archive = debian.Archive(self.scratch / "apt", recipe.source.suite, self.arch, self.runner)
        take = Taker(recipe, Path(), {})
        layers: dict[str, dict[str, Any]] = {}
        present: dict[str, set[str]] = {"": set()}
        packages: list[dict[str, Any]] = []
        for name, layer in recipe.layers.items():
            tell(f"packing layer {name}")
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


def chain_of(chains: Chains, name: str) -> tuple[Layer, ...]:
    """Return the layers from the bottom up to the base layer ``name``; InputError if there is none."""
    if name not in chains:
        known = ", ".join(sorted(chains)) or "none"
        raise InputError(f"an image recipe names the base layer '{name}'", fix=f"Base layers are: {known}.")
    return chains[name]


def chains_of(entries: Iterable[Entry]) -> Chains:
    """Return, for each base layer in the store, the layers from the bottom up to it."""
    found = {name: data for entry in entries for name, data in entry.record.get("layers", {}).items()}

    def chain(name: str) -> tuple[Layer, ...]:
        data = found[name]
        below = chain(data["over"]) if data["over"] else ()
        return (*below, Layer(Blob(data["digest"], data["size"]), data["comment"]))

    return {name: chain(name) for name in found}


def purl(recipe: Recipe) -> str:
    """Return the package URL of what the recipe is made from."""
    source = recipe.source
    if source.type == "gomod":
        return f"pkg:golang/{source.module}@{source.version}"
    return f"pkg:deb/debian@{source.suite}"


def _refuse_missing(recipe: Recipe, layer: str, missing: Sequence[str]) -> None:
    if missing:
        raise InputError(
            f"base layer {layer}: a library is missing: {'; '.join(missing)}",
            fix=f"Add the package that holds it to {recipe.folder / 'component.yml'}, or exclude the program.",
        )


def _package(package: debian.Package, licences: list[str]) -> dict[str, Any]:
    return {"name": package.name, "version": package.version, "sha256": package.sha256, "licences": licences}
