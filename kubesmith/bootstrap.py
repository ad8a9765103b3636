"""From any Python on the machine to our own: ``.venv`` on the newest that fits, locked requirements, system packages.

Only the standard library, and only what Python 3.9 understands: this has to run before anything is installed.
``python3 -m kubesmith.bootstrap [--dev] [--needs PURPOSE] [--yes] COMMAND…`` runs a command in the environment.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import locale
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kubesmith.errors import InputError, KubesmithError
from kubesmith.packages import SBIN, install_packages, require_packages

__all__ = ["enter", "require_packages"]

CHECKOUT = Path(__file__).resolve().parent.parent
VENV = CHECKOUT / ".venv"
REQUIREMENTS = CHECKOUT / "requirements"
#: Written last of all: an environment without it was interrupted, and is made again.
MARK = VENV / "complete.json"
MINORS = (13, 12, 11)
#: The lock files, each with all that the one before it has: controllers are for who runs them, dev for who tests.
EXTRAS = ("runtime", "controllers", "dev")
#: Where else a Python may be, besides PATH and pyenv's folders.
SEARCHED = ("/usr/local/bin", "/usr/bin")
PROBE = "import ensurepip, ssl, sys, venv; print(sys.version_info[0], sys.version_info[1])"


def enter(script: str) -> None:
    """Return inside the environment; outside of it, make it and start ``script`` again in it. Exits on errors."""
    words = sys.argv[1:]
    with boundary():
        environment = prepare(extra_for(words), assume_yes=bool({"--yes", "-y"} & set(words)))
        if inside():
            os.environ.update(environment)
            return
        python = str(VENV / "bin" / "python")
        os.execve(python, [python, script, *words], environment)  # noqa: S606 - our own interpreter, no shell


def extra_for(words: Sequence[str]) -> str:
    """Return which of EXTRAS a command line needs: a run over several controllers more than all others."""
    many = any(word == "controllers" or word.startswith("--controllers") for word in words)
    return "controllers" if many else "runtime"


def inside() -> bool:
    """Tell whether this process already runs in the environment."""
    return Path(sys.prefix).resolve() == VENV.resolve()


@contextmanager
def boundary() -> Iterator[None]:
    """Turn an expected error into its words and exit code, as kubesmith.cli does once there is an environment."""
    try:
        yield
    except KubesmithError as error:
        print(f"{error}\n→ {error.fix}" if error.fix else error, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)


def prepare(extra: str, *, assume_yes: bool) -> dict[str, str]:
    """Make ``.venv`` fit for ``extra`` (one of EXTRAS) where it is not; return the environment to run in."""
    if not fit(extra):
        with _alone():
            if not fit(extra):  # another process may have made it while we waited
                _make(extra, assume_yes=assume_yes)
    return variables(os.environ)


def fit(extra: str) -> bool:
    """Tell whether ``.venv`` is complete and holds what the lock files of today ask for."""
    mark = _read_mark()
    if not mark or not (VENV / "bin" / "python").exists():
        return False
    if EXTRAS.index(extra) > EXTRAS.index(mark["extra"]):
        return False
    return bool(mark["locks"].get(extra) == digest(lock_file(extra, mark["minor"])))


def lock_file(extra: str, minor: int) -> Path:
    """Return the lock file of ``extra`` for Python 3.``minor``: ansible-core's newest needs 3.12."""
    return REQUIREMENTS / f"{extra}-py{'311' if minor < 12 else '312'}.txt"


def variables(base: Mapping[str, str]) -> dict[str, str]:
    """Return ``base`` with the environment first on PATH, the system's own tools on it too, and a locale that works."""
    own = str(VENV / "bin")
    path = [part for part in base.get("PATH", os.defpath).split(os.pathsep) if part and part != own]
    path = [own, *path, *(folder for folder in SBIN if folder not in path)]
    made = {**base, "PATH": os.pathsep.join(path), "VIRTUAL_ENV": str(VENV), **_locale(base)}
    made.pop("PYTHONHOME", None)
    return made


def _locale(base: Mapping[str, str]) -> dict[str, str]:
    """Ansible refuses to start in a locale that is not UTF-8, or not installed."""
    chosen = base.get("LC_ALL") or base.get("LC_CTYPE") or base.get("LANG") or "C"
    try:
        locale.setlocale(locale.LC_ALL, "")
    except locale.Error:
        return {"LC_ALL": "C.UTF-8"}
    return {} if "utf8" in chosen.lower().replace("-", "") else {"LC_ALL": "C.UTF-8"}


def _read_mark() -> dict[str, Any]:
    try:
        mark = json.loads(MARK.read_text())
    except (OSError, ValueError):
        return {}
    return mark if {"extra", "minor", "locks"} <= set(mark) and mark["extra"] in EXTRAS else {}


def digest(file: Path) -> str:
    """Return the sha256 of ``file`` in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


@contextmanager
def _alone() -> Iterator[None]:
    """Let one process at a time make the environment; the lock goes with the process, whatever ends it."""
    descriptor = os.open(REQUIREMENTS, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make(extra: str, *, assume_yes: bool) -> None:
    """Make the environment, or bring a complete one up to today's lock files."""
    mark = _read_mark()
    keep = bool(mark) and (VENV / "bin" / "python").exists()
    if keep:
        extra = max(extra, mark["extra"], key=EXTRAS.index)
    MARK.unlink(missing_ok=True)
    minor = mark["minor"] if keep else _create(assume_yes)
    lock = lock_file(extra, minor)
    _say(f"installing {len(_pins(lock))} Python packages ({lock.name}) into {VENV}; once, about a minute")
    flags = ["--quiet", "--no-input", "--disable-pip-version-check", "--require-hashes", "--only-binary=:all:"]
    _run([str(VENV / "bin" / "python"), "-m", "pip", "install", *flags, "-r", str(lock)], "Python's packages")
    _lead_path()
    locks = {name: digest(lock_file(name, minor)) for name in EXTRAS[: EXTRAS.index(extra) + 1]}
    MARK.write_text(json.dumps({"extra": extra, "minor": minor, "locks": locks}) + "\n")


def _lead_path() -> None:
    """Have every program of the environment find the others first, even if only its own path was typed.

    Molecule and ansible-lint start ansible by name; an older one of the system would answer.
    """
    line = "import os, sys; b = os.path.join(sys.prefix, 'bin'); p = os.environ.get('PATH', os.defpath); "
    line += "p.startswith(b + ':') or os.environ.update(PATH=b + ':' + p)\n"
    for folder in VENV.glob("lib/python3.*/site-packages"):
        (folder / "kubesmith_path.pth").write_text(line)


def _create(assume_yes: bool) -> int:
    """Make an empty environment on the newest Python that fits; return its minor version."""
    found = newest()
    if found is None:
        if not sys.platform.startswith("linux"):
            raise InputError(f"kubesmith runs on Linux, and this is {sys.platform}", fix="use a Linux machine")
        install_packages(["python3-venv"], "a Python of 3.11 to 3.13 with venv", assume_yes=assume_yes)
        found = newest()
    if found is None:
        raise InputError(
            f"no Python 3.11, 3.12 or 3.13 that can make environments was found; this is {sys.version.split()[0]}",
            fix="install one, with its venv module, and have it on PATH",
        )
    python, minor = found
    _say(f"making {VENV} with Python 3.{minor} ({python})")
    _run([python, "-m", "venv", "--clear", str(VENV)], "the Python environment")
    return minor


def newest() -> tuple[str, int] | None:
    """Return the newest fitting Python that really starts, and its minor version."""
    for minor in MINORS:
        for candidate in candidates(minor, os.environ):
            if probe(candidate) == minor:
                return candidate, minor
    return None


def candidates(minor: int, environment: Mapping[str, str]) -> list[str]:
    """List where a Python 3.``minor`` may be, without asking it: pyenv's own, PATH, ourselves."""
    root = Path(environment.get("PYENV_ROOT") or Path(environment.get("HOME", "/root")) / ".pyenv")
    # After sudo the variables may still be those of a user whose folders are closed to us: ask before opening one.
    readable = os.access(root / "versions", os.R_OK | os.X_OK)
    versions = sorted(root.glob(f"versions/3.{minor}.*"), key=_patch, reverse=True) if readable else []
    folders = [*environment.get("PATH", "").split(os.pathsep), *SEARCHED]
    files = [version / "bin" / f"python3.{minor}" for version in versions]
    files += [Path(folder) / f"python3.{minor}" for folder in folders if folder]
    found = [str(file) for file in files if os.access(file, os.X_OK)]
    own = [sys.executable] if sys.version_info[1] == minor and not inside() else []
    return list(dict.fromkeys([*found, *own]))


def _patch(version: Path) -> int:
    last = re.search(r"\d+$", version.name)
    return int(last.group()) if last else -1


def probe(python: str) -> int:
    """Return the minor version of ``python``, or -1 where it does not start or lacks venv: pyenv leaves such shims."""
    try:
        done = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return -1
    words = done.stdout.split()
    return int(words[1]) if done.returncode == 0 and words[:1] == ["3"] else -1


def _pins(lock: Path) -> list[str]:
    return [line.split()[0] for line in lock.read_text().splitlines() if re.match(r"[a-z0-9].*==", line)]


def _run(command: Sequence[str], what: str) -> None:
    """Run a step of the set-up, its words kept for when it fails."""
    guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []  # no pip survives us
    done = subprocess.run([*guard, *command], env=variables(os.environ), capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
        errors = [line for line in words if line.startswith("ERROR")] or words
        raise KubesmithError(f"{what} could not be installed: {errors[0]}", fix=f"by hand: {' '.join(command)}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(words: Sequence[str]) -> None:
    """Run a command in the environment; see the module's first lines."""
    words, purposes, extra, assume_yes = list(words), [], "runtime", False
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option == "--dev":
            extra = "dev"
        elif option == "--yes":
            assume_yes = True
        elif option == "--needs" and words:
            purposes.append(words.pop(0))
        else:
            raise InputError(f"unknown option {option}", fix=str(__doc__).splitlines()[-1])
    environment = prepare(extra, assume_yes=assume_yes)
    os.environ.update(environment)
    require_packages(*purposes, assume_yes=assume_yes)
    if words:
        os.execvpe(words[0], words, environment)  # noqa: S606 - the command that was asked for, no shell


if __name__ == "__main__":
    with boundary():
        main(sys.argv[1:])
