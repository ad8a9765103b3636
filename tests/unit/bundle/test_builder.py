"""Building from start to end with a stand-in for ``go``: what is made, what is made anew, what is not."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kubesmith.bundle import builder, load, verify
from kubesmith.bundle.assemble import use
from kubesmith.errors import InputError, KubesmithError

# Builds a shell script that says which package it came from; notes each build; fails or is killed on demand.
GO = """#!/bin/sh
case "$1 $2" in
  "env GOVERSION") echo go1.99.1 ;;
  "mod download") ;;
  "list -m") echo "v1.2.3 $MODULE" ;;
  "version -m") printf '%s: go1.99.1\\n\\tpath\\tx\\n\\tdep\\texample.org/lib\\tv0.1.0\\th1:abc=\\n' "$3" ;;
  "build -v")
    for last; do :; done
    echo "$last" >> "$BUILT"
    if [ -e "$BUILT.fail" ]; then echo "$last: undefined: x"; exit 1; fi
    if [ -e "$BUILT.kill" ]; then kill -KILL $(cat "$BUILT.kill"); sleep 5; fi
    while [ "$1" != -o ]; do shift; done
    printf '#!/bin/sh\\necho kubesmith.internal/one:v1.2.3\\n# %s\\n' "$last" > "$2" ;;
esac
"""


def recipe(name: str) -> dict:
    command = "kubeadm" if name == "one" else name
    return {
        "name": name,
        "version": "1.2.3",
        "licence": "MIT",
        "source": {"type": "gomod", "module": f"example.org/{name}", "version": "v1.2.3"},
        "disk": 1,
        "build": {"commands": {command: f"example.org/{name}"}},
        "files": [{"command": command, "path": f"bin/{command}", "install": f"/bin/{command}", "set": "kubernetes"}],
        "images": [
            {"name": name, "tag": "v1.2.3", "set": "node", "layers": [[{"command": command, "path": command}]]},
        ],
    }


class Told:
    """A Progress that notes what finished, and whether it was made."""

    def __init__(self) -> None:
        self.finished: dict[str, bool] = {}

    def total(self, items: int) -> None:
        self.items = items

    def start(self, item: str, text: str) -> None:
        pass

    def update(self, item: str, text: str) -> None:
        pass

    def done(self, item: str, text: str, *, changed: bool) -> None:
        self.finished[item] = changed


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Path:
    """Return a folder with recipes, a cache and a ``go`` of our own on PATH."""
    for name in ("one", "two"):
        folder = tmp_path / "recipes" / "components" / name
        folder.mkdir(parents=True)
        (folder / "component.yml").write_text(yaml.safe_dump(recipe(name)))
        (folder / "go.mod").write_text("module x\n\ngo 1.26.0\n")
        (folder / "go.sum").write_text(f"example.org/{name} v1.2.3 h1:{name}=\n")
    (tmp_path / "recipes" / "releases").mkdir()
    (tmp_path / "recipes" / "releases" / "1.37.2.yml").write_text("kubernetes: 1.37.2\ncomponents: [one, two]\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "go").write_text(GO)
    (tmp_path / "bin" / "go").chmod(0o755)
    (tmp_path / "module").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("KUBESMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MODULE", str(tmp_path / "module"))
    monkeypatch.setenv("BUILT", str(tmp_path / "built"))
    monkeypatch.setattr(builder.paths, "bundle_recipes", lambda: tmp_path / "recipes")
    return tmp_path


def built(place: Path) -> list[str]:
    file = place / "built"
    return sorted(file.read_text().split()) if file.exists() else []


def test_a_bundle_is_made_whole_and_current_points_at_it(place):
    told = Told()
    path = builder.build(told)
    assert verify(path) == []
    assert builder.current().resolve() == path
    assert (told.items, told.finished) == (2, {"one": True, "two": True})
    one = load(path).component("one")
    assert one.source["sum"] == "h1:one="
    assert [image.ref for image in load(path).images()] == [f"kubesmith.internal/{n}:v1.2.3" for n in ("one", "two")]


def test_an_older_kubernetes_beside_a_newer_one_leaves_current_alone(place):
    newer = builder.build(Told())
    older = newer.with_name("kubesmith-1.36.3-amd64-other")
    shutil.copytree(newer, older)
    text = (older / "bundle.json").read_text().replace(builder.DEFAULT_KUBERNETES, "1.36.3")
    (older / "bundle.json").write_text(text)
    use(older, "1.36.3")
    assert (builder.folder() / "1.36.3").resolve() == older
    assert (builder.folder() / builder.DEFAULT_KUBERNETES).resolve() == newer
    assert builder.current().resolve() == newer


def test_the_sbom_names_components_libraries_and_hashes(place):
    document = json.loads((builder.build(Told()) / "sbom.cdx.json").read_text())
    purls = {component.get("purl") for component in document["components"]}
    assert {"pkg:golang/example.org/one@v1.2.3", "pkg:golang/example.org/lib@v0.1.0"} <= purls
    (first, *_rest) = document["components"]
    assert first["licenses"] == [{"expression": "MIT"}]
    assert all(part["hashes"][0]["alg"] == "SHA-256" for part in first["components"])


def test_a_second_build_makes_nothing(place):
    first = builder.build(Told())
    told = Told()
    assert builder.build(told) == first
    assert told.finished == {"one": False, "two": False}
    assert built(place) == ["example.org/one", "example.org/two"]


def test_the_same_sources_give_the_same_digest_in_another_cache(place, monkeypatch):
    first = load(builder.build(Told())).digest
    monkeypatch.setenv("KUBESMITH_CACHE", str(place / "other"))
    assert load(builder.build(Told())).digest == first


def test_a_changed_recipe_makes_only_its_own_component(place):
    first = builder.build(Told())
    (place / "recipes" / "components" / "two" / "go.sum").write_text("example.org/two v1.2.3 h1:new=\n")
    told = Told()
    second = builder.build(told)
    assert told.finished == {"one": False, "two": True}
    assert second != first
    assert verify(first) == verify(second) == []


def test_a_changed_byte_is_mended_by_the_next_build(place):
    path = builder.build(Told())
    (path / "bin" / "two").chmod(0o755)
    (path / "bin" / "two").write_text((path / "bin" / "two").read_text().replace("echo", "ECHO"))
    assert verify(path)[0].startswith("bin/two: changed")
    assert builder.build(Told()) == path
    assert verify(path) == []


def test_a_removed_blob_is_mended_by_the_next_build(place):
    path = builder.build(Told())
    bundle = load(path)
    bundle.blob(next(bundle.images()).blobs[-1]).unlink()
    builder.build(Told())
    assert verify(path) == []


def test_a_failed_build_shows_the_compilers_words_and_keeps_what_was_finished(place):
    (place / "recipes" / "releases" / "1.37.2.yml").write_text("kubernetes: 1.37.2\ncomponents: [one]\n")
    builder.build(Told())
    (place / "recipes" / "releases" / "1.37.2.yml").write_text("kubernetes: 1.37.2\ncomponents: [one, two]\n")
    (place / "built.fail").touch()
    with pytest.raises(KubesmithError, match="undefined: x") as caught:
        builder.build(Told())
    assert "two.log" in caught.value.fix
    (place / "built.fail").unlink()
    told = Told()
    assert verify(builder.build(told)) == []
    assert told.finished == {"one": False, "two": True}


def test_after_kill_9_the_next_build_finishes_and_leaves_nothing_over(place):
    code = "from pathlib import Path; from kubesmith.bundle import builder; from kubesmith.progress import Silent;"
    code += f"builder.paths.bundle_recipes = lambda: Path({str(place / 'recipes')!r}); builder.build(Silent())"
    killed = subprocess.Popen([sys.executable, "-c", f"import sys; sys.stdin.read(); {code}"], stdin=subprocess.PIPE)
    (place / "built.kill").write_text(str(killed.pid))
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not builder.current().exists()
    (place / "built.kill").unlink()
    assert verify(builder.build(Told())) == []
    left = [path for path in (place / "cache").rglob("*") if path.name.startswith(".new") or path.name == "scratch"]
    assert left == []


def test_another_architecture_is_refused_before_anything_is_made(place):
    with pytest.raises(InputError, match="cannot be built on"):
        builder.build(Told(), arch="riscv64")
    assert not (place / "cache").exists()


def test_too_little_disk_is_said_before_anything_is_built(place):
    data = recipe("two") | {"disk": 999_999_999}
    (place / "recipes" / "components" / "two" / "component.yml").write_text(yaml.safe_dump(data))
    with pytest.raises(InputError, match="needs 1000003000 MiB"):
        builder.build(Told())
    assert built(place) == []


def test_a_missing_tool_is_said_before_the_base_is_fetched(place, monkeypatch):
    folder = place / "recipes" / "components" / "base"
    folder.mkdir()
    base = {"name": "base", "version": "bookworm", "licence": "x", "source": {"type": "debian", "suite": "bookworm"}}
    (folder / "component.yml").write_text(yaml.safe_dump(base | {"layers": {"static": {"packages": ["tzdata"]}}}))
    (place / "recipes" / "releases" / "1.37.2.yml").write_text("kubernetes: 1.37.2\ncomponents: [base, one]\n")
    monkeypatch.setattr(builder.toolchain, "missing_packages", lambda recipes: [recipe.name for recipe in recipes])
    with pytest.raises(InputError, match="not installed: base, one"):
        builder.build(Told())
    assert not (place / "cache" / "store").exists()


def test_a_text_to_replace_that_is_not_there_is_refused(place):
    (place / "module" / "m.yml").write_text("image: other\n")
    data = recipe("two")
    data["files"].append(
        {"module": "m.yml", "path": "manifests/m.yml", "set": "manifests", "replace": {"image: docker": "image: ours"}}
    )
    (place / "recipes" / "components" / "two" / "component.yml").write_text(yaml.safe_dump(data))
    with pytest.raises(InputError, match=r"'image: docker' does not occur in manifests/m\.yml"):
        builder.build(Told())


def test_an_image_on_a_base_that_does_not_exist_is_refused(place):
    data = recipe("two")
    data["images"][0]["base"] = ["netwrok"]
    (place / "recipes" / "components" / "two" / "component.yml").write_text(yaml.safe_dump(data))
    with pytest.raises(InputError, match="base layer 'netwrok'"):
        builder.build(Told())


def test_as_many_start_as_memory_and_processors_allow_and_always_one(monkeypatch):
    recipes = builder.load_release("1.37.2")
    monkeypatch.setattr(builder.os, "cpu_count", lambda: 2)
    assert len(builder._fitting(recipes, [], 0)) == 1
    assert len(builder._fitting(recipes, [], 1 << 20)) == 2
    assert builder._fitting(recipes[1:], recipes[:1], 0) == []
