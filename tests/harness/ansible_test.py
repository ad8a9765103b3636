"""A place where ansible-test works without reaching into the user's own Pythons, home folder or the network.

It finds Pythons by name on PATH, where pyenv's shims name some that do not start; it wants get-pip.py from a host of
its own although every Python has pip inside; and it keeps virtual environments under HOME.
"""

from __future__ import annotations

import importlib.util
import os
import re
from importlib.metadata import version
from pathlib import Path

from harness.step import CHECKOUT
from kubesmith import bootstrap, paths

MINORS = range(9, 15)  # modules run on nodes from Python 3.9 on
GET_PIP = '''\
"""Stands in for get-pip.py: installs with the pip that this Python brings along."""
import ensurepip
import pathlib
import sys
import sysconfig

folders = [pathlib.Path(ensurepip.__file__).parent / "_bundled"]
folders += [pathlib.Path(folder) for folder in [sysconfig.get_config_var("WHEEL_PKG_DIR")] if folder]
wheel = next(wheel for folder in folders for wheel in sorted(folder.glob("pip-*.whl")))
sys.path.insert(0, str(wheel))

from pip._internal.cli.main import main

sys.exit(main(["install", *[word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]]))
'''


def environment() -> dict[str, str]:
    """Make the place, where it is not there yet, and return the variables that lead ansible-test to it."""
    home = paths.cache() / "ansible-test"
    pythons = home / "bin"
    pythons.mkdir(parents=True, exist_ok=True)
    _link_pythons(pythons)
    _write(home / ".ansible" / "test" / "cache" / f"get_pip_{_pip_version().replace('.', '_')}.py", GET_PIP)
    _write(home / ".config" / "pip" / "pip.conf", _pip_settings())
    return {
        "HOME": str(home),
        "PATH": os.pathsep.join([str(bootstrap.VENV / "bin"), str(pythons), "/usr/local/bin", "/usr/bin", "/bin"]),
        "LC_ALL": "C.UTF-8",
    }


def write_ignores(collection: Path) -> None:
    """Write the list of what ansible-test shall pass over into an installed collection.

    Ours is tests/sanity/ignore.txt, with a reason for each line. To it comes one line for each documented plugin: the
    tests want the GPL on it, which a collection need not have, and a list kept by hand would break with every new one.
    """
    own = (CHECKOUT / "tests" / "sanity" / "ignore.txt").read_text().splitlines()
    rows = [row for row in own if row and not row.startswith("#")]
    files = [file for kind in ("inventory", "lookup", "modules") for file in collection.glob(f"plugins/{kind}/*.py")]
    rows += [f"{file.relative_to(collection)} validate-modules:missing-gplv3-license" for file in sorted(files)]
    core = ".".join(version("ansible-core").split(".")[:2])
    _write(collection / "tests" / "sanity" / f"ignore-{core}.txt", "\n".join(rows) + "\n")


def _link_pythons(folder: Path) -> None:
    for minor in MINORS:
        link = folder / f"python3.{minor}"
        link.unlink(missing_ok=True)
        found = [python for python in bootstrap.candidates(minor, os.environ) if bootstrap.probe(python) == minor]
        if found:
            link.symlink_to(found[0])


def _pip_version() -> str:
    """Return the version of pip that this ansible-test asks for; it is part of the file's name."""
    package = importlib.util.find_spec("ansible_test")
    folders = package.submodule_search_locations if package else None
    file = Path(next(iter(folders or []))) / "_internal" / "python_requirements.py"
    found = re.search(r"^\s*pip='([\d.]+)'", file.read_text(), re.MULTILINE)
    if not found:
        raise LookupError(f"no version of pip in {file}")
    return found[1]


def _pip_settings() -> str:
    """Return the user's settings of pip, which ansible-test would not see: it passes no variable on."""
    own = Path.home() / ".config" / "pip" / "pip.conf"
    rows = [
        f"{name[4:].lower().replace('_', '-')} = {value}" for name, value in os.environ.items() if name[:4] == "PIP_"
    ]
    return (own.read_text() if own.is_file() else "[global]\n") + "\n".join(rows) + "\n"


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
