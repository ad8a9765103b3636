"""What is missing on the machine is said before anything is built."""

from pathlib import Path

import pytest

from kubesmith.bundle import toolchain
from kubesmith.bundle.recipe import load_release
from kubesmith.errors import InputError

RECIPES = load_release("1.37.2")


def go_mod(tmp_path: Path, version: str):
    (tmp_path / "go.mod").write_text(f"module x\n\ngo {version}\n")
    recipe = next(recipe for recipe in RECIPES if recipe.source.type == "gomod")
    return recipe.model_copy(update={"folder": tmp_path})


def test_the_newest_go_that_any_recipe_asks_for_is_needed(tmp_path):
    assert toolchain.go_needed([go_mod(tmp_path, "1.26.6")]) == (1, 26, 6)
    assert toolchain.go_needed([]) == (1, 0)
    assert toolchain.go_needed(RECIPES) >= (1, 26)


def test_every_missing_debian_package_is_named_at_once(monkeypatch):
    monkeypatch.setattr(toolchain.shutil, "which", lambda tool: None)
    with pytest.raises(InputError) as caught:
        toolchain.check_tools(RECIPES)
    assert "apt, dpkg, gcc, libc6-dev, libseccomp-dev, pkg-config" in str(caught.value)
    assert caught.value.fix.startswith("Install them: sudo apt-get install -y apt dpkg gcc")


def test_only_what_is_to_be_built_needs_tools(monkeypatch):
    monkeypatch.setattr(toolchain.shutil, "which", lambda tool: None)
    toolchain.check_tools([recipe for recipe in RECIPES if recipe.name == "coredns"])


def test_a_missing_static_library_is_named_by_its_package(monkeypatch):
    monkeypatch.setattr(toolchain.shutil, "which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr(toolchain, "output", lambda command: command[1].removeprefix("-print-file-name="))
    assert toolchain.missing_packages([r for r in RECIPES if r.name == "runc"]) == ["libc6-dev", "libseccomp-dev"]
    assert toolchain.missing_packages([r for r in RECIPES if r.name == "pause"]) == ["libc6-dev"]


def test_too_little_disk_is_said_in_figures(tmp_path):
    toolchain.check_disk(tmp_path, 1)
    with pytest.raises(InputError, match=r"\d+ MiB free, building the bundle needs 999999999 MiB"):
        toolchain.check_disk(tmp_path, 999999999)


def test_the_environment_keeps_the_users_proxy_and_drops_what_changes_the_result(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBESMITH_CACHE", str(tmp_path))
    monkeypatch.setenv("GOPROXY", "https://proxy.example")
    monkeypatch.setenv("GONOSUMDB", "example.org")
    monkeypatch.setenv("GOFLAGS", "-mod=mod -insecure")
    monkeypatch.setenv("CGO_CFLAGS", "-O0")
    env = toolchain.environment(Path("/opt/go/bin/go"), "amd64", tmp_path / "scratch")
    assert (env["GOPROXY"], env["GONOSUMDB"]) == ("https://proxy.example", "example.org")
    assert (env["GOFLAGS"], env["GOTOOLCHAIN"]) == ("-mod=readonly", "local")
    assert "CGO_CFLAGS" not in env
    assert env["PATH"].startswith("/opt/go/bin:")


def test_memory_is_read_in_mib():
    assert 64 < toolchain.available_memory() < 1 << 24
