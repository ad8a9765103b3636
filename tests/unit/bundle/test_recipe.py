"""Recipes: the committed ones hold together, and a mistake is named with its place."""

from pathlib import Path

import pytest
import yaml

from kubesmith.bundle.recipe import load_recipe, load_release, releases
from kubesmith.errors import InputError

GOOD = {
    "name": "tool",
    "version": "1.2.3",
    "licence": "Apache-2.0",
    "source": {"type": "gomod", "module": "example.org/tool", "version": "v1.2.3"},
    "build": {"commands": {"tool": "example.org/tool/cmd/tool"}},
    "files": [{"command": "tool", "path": "bin/tool", "install": "/usr/local/bin/tool", "set": "runtime"}],
}


def write(folder: Path, **changes: object) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "component.yml").write_text(yaml.safe_dump({**GOOD, **changes}))
    (folder / "go.mod").write_text("module x\n\ngo 1.26.0\n")
    (folder / "go.sum").touch()
    return folder


def message(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_recipe(folder)
    return str(caught.value)


def item(**keys: object) -> dict[str, object]:
    return {"files": [{"command": "tool", "path": "bin/tool", "set": "runtime"} | keys]}


@pytest.mark.parametrize("version", releases())
def test_the_committed_recipes_load(version):
    recipes = load_release(version)
    names = [recipe.name for recipe in recipes]
    assert len(names) == len(set(names))
    assert {"kubernetes", "etcd", "coredns", "containerd", "runc", "cni-plugins", "pause", "calico"} <= set(names)


@pytest.mark.parametrize("version", releases())
def test_every_base_layer_that_an_image_names_exists(version):
    recipes = load_release(version)
    layers = {name for recipe in recipes for name in recipe.layers}
    assert {name for recipe in recipes for image in recipe.images for name in image.base} <= layers


@pytest.mark.parametrize("version", releases())
def test_no_path_and_no_image_is_made_twice(version):
    recipes = load_release(version)
    for made in (
        [file.path for recipe in recipes for file in recipe.files],
        [file.install for recipe in recipes for file in recipe.files if file.install],
        [image.name for recipe in recipes for image in recipe.images],
    ):
        assert sorted(set(made)) == sorted(made)


@pytest.mark.parametrize("version", releases())
def test_the_files_for_nodes_say_where_they_go(version):
    for recipe in load_release(version):
        for file in recipe.files:
            assert bool(file.install) == (file.set != "manifests"), file.path


def test_a_good_recipe_loads(tmp_path):
    assert load_recipe(write(tmp_path / "tool")).files[0].install == "/usr/local/bin/tool"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"licens": "x"}, "licens: Extra inputs are not permitted"),
        ({"name": "Tool"}, "name: String should match pattern"),
        ({"source": {"type": "tarball"}}, "source: Input tag 'tarball'"),
        (item(command="toll"), "command 'toll' is not among build.commands: ['tool']"),
        (item(module="LICENSE"), "files.0: Value error, needs exactly one of"),
        (item(command="", recipe="unit.service"), "unit.service does not exist"),
        (item(path="/bin/tool"), "files.0.path: Value error, must be relative, without '..'"),
        (item(path="bin/../../tool"), "files.0.path: Value error, must be relative, without '..'"),
        (item(install="usr/bin/tool"), "files.0.install: String should match pattern"),
        (item(mode="755"), "files.0.mode: String should match pattern"),
        (item(set=""), "bin/tool: a file of the bundle needs a set"),
        ({"build": {"cgo": "maybe"}}, "build.cgo: Input should be a valid boolean"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(tmp_path, changes, expected):
    text = message(write(tmp_path / "tool", **changes))
    assert text.startswith(str(tmp_path / "tool" / "component.yml"))
    assert expected in text


def test_all_mistakes_come_together(tmp_path):
    text = message(write(tmp_path / "tool", name="Tool", version="", extra=1))
    assert all(key in text for key in ("name:", "version:", "extra:"))


@pytest.mark.parametrize("content", ["[1, 2]", "a: b: c", ""])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, content):
    write(tmp_path / "tool")
    (tmp_path / "tool" / "component.yml").write_text(content)
    assert "component.yml" in message(tmp_path / "tool")


def test_a_gomod_source_needs_its_pins(tmp_path):
    (write(tmp_path / "tool") / "go.sum").unlink()
    assert "go.sum is missing" in message(tmp_path / "tool")


def test_an_unknown_version_lists_those_that_can_be_had():
    with pytest.raises(InputError, match=r"no bundle recipe for Kubernetes 1\.2\.3") as caught:
        load_release("1.2.3")
    assert "1.37.2" in caught.value.fix


def test_any_change_in_the_folder_is_another_fingerprint(tmp_path):
    folder = write(tmp_path / "tool")
    seen = {load_recipe(folder).fingerprint()}
    (folder / "go.sum").write_text("x h1:y\n")
    seen.add(load_recipe(folder).fingerprint())
    (folder / "a.service").touch()
    seen.add(load_recipe(folder).fingerprint())
    (folder / "a.service").rename(folder / "b.service")
    seen.add(load_recipe(folder).fingerprint())
    assert len(seen) == 4
