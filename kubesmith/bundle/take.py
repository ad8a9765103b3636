"""Finding what an item of a recipe names, and turning it into a file of the bundle or a member of a layer."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from kubesmith.bundle.layers import Entry
from kubesmith.bundle.model import File
from kubesmith.bundle.recipe import Item, Recipe
from kubesmith.bundle.store import file_sha256
from kubesmith.errors import InputError


class Taker:
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

    def entries(self, items: Iterable[Item]) -> list[Entry]:
        """Return the members of a layer; of two with the same path the later stays."""
        found: dict[str, Entry] = {}
        for item in items:
            taken = self._tree(item) if item.tree else [self.entry(item)]
            found.update({entry.path: entry for entry in taken})
        return list(found.values())

    def _tree(self, item: Item) -> list[Entry]:
        root = self._module / item.module
        files = sorted(path for path in root.rglob("*") if path.is_file())
        if not files:
            raise InputError(
                f"{self._recipe.name}: {root} holds no file, wanted for {item.path}", fix="Correct the recipe."
            )
        mode = int(item.mode, 8)
        return [Entry(f"{item.path}/{path.relative_to(root)}", mode=mode, source=path) for path in files]

    def entry(self, item: Item) -> Entry:
        """Return ``item`` as a member of a layer."""
        made = item.directory or item.symlink or item.hardlink
        return Entry(
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
