"""The recipes under ``bundle/``: what is built, from which module, into which files and images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from kubesmith import paths
from kubesmith.bundle.model import canonical
from kubesmith.errors import InputError

NAME = r"^[a-z][a-z0-9-]*$"
VERSION = r"^[0-9a-z][0-9a-z.+-]*$"
FILE = "component.yml"


def _relative(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/") or not path:
        raise ValueError("must be relative, without '..'")
    return path


RelativePath = Annotated[str, AfterValidator(_relative)]


class Model(BaseModel):
    """Base of all recipes: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Gomod(Model):
    """A published Go module, pinned by the ``go.mod`` and ``go.sum`` beside the recipe."""

    type: Literal["gomod"]
    module: str
    version: str


class Debian(Model):
    """Packages of one release of Debian, from the archive that this machine's apt is set to."""

    type: Literal["debian"]
    suite: str


class Program(Model):
    """A C program of one file, compiled statically."""

    source: RelativePath
    flags: tuple[str, ...] = ()


class Build(Model):
    """How commands are compiled. ``variables`` become the linker's ``-X``; ``memory`` is the peak in MiB."""

    cgo: bool = False
    tags: tuple[str, ...] = ()
    variables: dict[str, str] = {}
    commands: dict[str, str] = {}
    programs: dict[str, Program] = {}
    memory: int = 2000

    @property
    def compiles_c(self) -> bool:
        """Tell whether a C compiler is needed."""
        return self.cgo or bool(self.programs)


class Item(Model):
    """One file, taken from exactly one place: a command built, the module, the recipe's folder, or a link.

    ``path`` is where it goes: in the bundle for ``files``, below ``/`` for a layer. ``replace`` changes text. With
    ``tree`` the module's path is a folder, and all files in it are taken. Of two items with one path the later counts.
    """

    command: str = ""
    module: str = ""
    recipe: str = ""
    hardlink: str = ""
    symlink: str = ""
    directory: bool = False
    tree: bool = False
    path: RelativePath
    mode: Annotated[str, Field(pattern=r"^[01][0-7]{3}$")] = "0755"
    owner: int = 0
    capability: Literal["", "net_bind_service"] = ""
    replace: dict[str, str] = {}
    install: Annotated[str, Field(pattern=r"^(/.+)?$")] = ""
    set: str = ""

    @model_validator(mode="after")
    def _one_origin(self) -> Item:
        origins = [self.command, self.module, self.recipe, self.hardlink, self.symlink, self.directory]
        if sum(map(bool, origins)) != 1:
            raise ValueError("needs exactly one of command, module, recipe, hardlink, symlink, directory")
        return self


class ImageRecipe(Model):
    """One image: layers of the base component below, own layers on top."""

    name: Annotated[str, Field(pattern=NAME)]
    tag: str
    set: Literal["balancer", "control-plane", "node", "verify"]
    base: tuple[str, ...] = ()
    layers: tuple[tuple[Item, ...], ...]
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: dict[str, str] = {}
    user: str = ""
    workdir: str = "/"


class LayerRecipe(Model):
    """One base layer: these Debian packages and no others, on top of the layer ``over``.

    Paths that match a shell pattern of ``exclude`` are left out. ``links`` gives a file more names: a name without a
    slash goes into the file's own folder.
    """

    over: str = ""
    packages: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    links: dict[str, tuple[str, ...]] = {}
    items: tuple[Item, ...] = ()
    certificates: bool = False


class Recipe(Model):
    """``component.yml``. ``folder`` is where it was read from."""

    folder: Path = Path()
    name: Annotated[str, Field(pattern=NAME)]
    version: Annotated[str, Field(pattern=VERSION)]
    licence: str
    source: Annotated[Gomod | Debian, Field(discriminator="type")]
    build: Build = Build()
    files: tuple[Item, ...] = ()
    images: tuple[ImageRecipe, ...] = ()
    layers: dict[str, LayerRecipe] = {}
    exclude: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    disk: int = 1000

    @model_validator(mode="after")
    def _items_exist(self) -> Recipe:
        known = set(self.build.commands) | set(self.build.programs)
        for item in self.items():
            if item.command and item.command not in known:
                raise ValueError(f"{item.path}: command '{item.command}' is not among build.commands: {sorted(known)}")
            if item.recipe and not (self.folder / item.recipe).is_file():
                raise ValueError(f"{item.path}: {self.folder / item.recipe} does not exist")
        for item in self.files:
            if not item.set:
                raise ValueError(f"{item.path}: a file of the bundle needs a set")
        return self

    def items(self) -> Iterator[Item]:
        """Yield every item of files, images and base layers."""
        yield from self.files
        for image in self.images:
            for layer in image.layers:
                yield from layer
        for base in self.layers.values():
            yield from base.items

    def fingerprint(self) -> str:
        """Return the sha256 of everything in the recipe's folder, names included: any change builds anew."""
        found = [(str(p.relative_to(self.folder)), p) for p in sorted(self.folder.rglob("*")) if p.is_file()]
        content = [[name, hashlib.sha256(path.read_bytes()).hexdigest()] for name, path in found]
        return hashlib.sha256(canonical(content)).hexdigest()


class Release(Model):
    """``releases/VERSION.yml``: the components of the bundle for one Kubernetes version."""

    kubernetes: Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$")]
    components: Annotated[tuple[str, ...], Field(min_length=1)]


def read(file: Path) -> dict[str, object]:
    """Return a recipe's mapping; InputError if the file holds none."""
    try:
        data = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{file}: {error}", fix="Restore it from the repository: git checkout bundle/") from error
    if not isinstance(data, dict):
        raise InputError(
            f"{file}: holds {type(data).__name__}, must be a mapping", fix="Restore it: git checkout bundle/"
        )
    return data


def refuse(file: Path, error: ValidationError) -> InputError:
    """Return the error that names every problem of a recipe."""
    problems = [
        f"{'.'.join(map(str, e['loc'])) or 'recipe'}: {e['msg']} (seen: {e['input']!r:.80})" for e in error.errors()
    ]
    return InputError(f"{file}: " + "; ".join(problems), fix="Correct the recipe; docs/bundle.md lists its keys.")


def load_recipe(folder: Path) -> Recipe:
    """Read and check ``component.yml`` in ``folder``; InputError names the file and every problem in it."""
    file = folder / FILE
    data = read(file)
    try:
        recipe = Recipe.model_validate({**data, "folder": folder})
    except ValidationError as error:
        raise refuse(file, error) from error
    if recipe.source.type == "gomod":
        for needed in ("go.mod", "go.sum"):
            if not (folder / needed).is_file():
                raise InputError(
                    f"{folder / needed} is missing: a gomod source is pinned by it", fix="git checkout bundle/"
                )
    return recipe


def releases(recipes: Path | None = None) -> list[str]:
    """Return the Kubernetes versions for which there is a release file, newest first."""
    found = ((recipes or paths.bundle_recipes()) / "releases").glob("*.yml")
    return sorted((file.stem for file in found), key=lambda v: [int(n) for n in v.split(".")], reverse=True)


def load_release(kubernetes: str, recipes: Path | None = None) -> list[Recipe]:
    """Return the recipes of the bundle for ``kubernetes`` (such as ``1.37.2``), in the order of the release file."""
    root = recipes or paths.bundle_recipes()
    file = root / "releases" / f"{kubernetes}.yml"
    if not file.is_file():
        known = ", ".join(releases(root)) or "none"
        raise InputError(f"no bundle recipe for Kubernetes {kubernetes}", fix=f"Choose one of: {known}.")
    try:
        release = Release.model_validate(read(file))
    except ValidationError as error:
        raise refuse(file, error) from error
    return [load_recipe(root / "components" / name) for name in release.components]
