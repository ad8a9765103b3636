"""The groups of tests, each a list of steps in the order in which they are run."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from harness import ansible_test
from harness.step import CHECKOUT, Step, pytest_counts, sanity_counts

COLLECTION = Path("ansible_collections") / "kubesmith" / "cluster"
COLD = 5400.0  # seconds in which a bundle is built from nothing on two cores


def lint(folder: Path) -> Iterator[Step]:
    """Yield what reads the code without running it."""
    modules = [f"-m{name}" for name in _plugin_modules()]
    yield Step("ruff check", ("ruff", "check"))
    yield Step("ruff format", ("ruff", "format", "--check"))
    yield Step("mypy: wrapper and plugins", ("mypy", "-p", "kubesmith", *modules))
    yield Step(
        "mypy: runner.py and the harness", ("mypy", "runner.py", "tests/run.py", *_harness()), {"MYPYPATH": "tests"}
    )
    yield Step("yamllint", ("yamllint", "--strict", "."))
    yield Step("ansible-lint", ("ansible-lint", "--offline", "--profile", "production"))
    docs = ("antsibull-docs", "lint-collection-docs", "--plugin-docs", "--skip-rstcheck", ".")
    yield Step("antsibull-docs", docs, {"ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / "collections")})
    yield Step("antsibull-changelog", ("antsibull-changelog", "lint"))
    yield Step("docs: command line", ("python", "docs/cli_reference.py", "--check"))
    yield Step("docs: manual pages", ("python", "docs/man_page.py", "--check"))
    yield Step("docs: links", ("mkdocs", "build", "--strict", "--site-dir", str(folder / "site")))
    copy = os.environ.get("KUBESMITH_ADVISORIES", "")
    reason = "" if copy else "no offline copy of advisories: KUBESMITH_ADVISORIES names none"
    yield Step("known holes in packages", ("python", "tests/harness/advisories.py", copy), skip=reason)
    missing = "" if shutil.which("shellcheck") else "shellcheck is not installed"
    yield Step("shellcheck", ("shellcheck", ".ci/run"), skip=missing)


def _plugin_modules() -> list[str]:
    files = sorted((CHECKOUT / "plugins").rglob("*.py"))
    names = [".".join(file.relative_to(CHECKOUT).with_suffix("").parts) for file in files]
    return [f"ansible_collections.kubesmith.cluster.{name}" for name in names]


def _harness() -> list[str]:
    return [str(file.relative_to(CHECKOUT)) for file in sorted(Path(__file__).parent.glob("*.py"))]


def unit(_folder: Path) -> Iterator[Step]:
    """Yield the tests that need no machine."""
    for name in ("unit", "style"):
        yield Step(f"tests/{name}", (*_python("pytest"), "-rs", f"tests/{name}"), count=pytest_counts)
    yield _fuzz(20)


def fuzz(_folder: Path) -> Iterator[Step]:
    """Yield the fuzzing of the cluster file for longer than a test can take."""
    yield _fuzz(600)


def _fuzz(seconds: int) -> Step:
    missing = "" if importlib.util.find_spec("atheris") else "atheris is published for x86-64 Linux only"
    return Step("fuzz: cluster file", (sys.executable, "tests/fuzz/cluster_file.py", str(seconds)), skip=missing)


def collection(folder: Path) -> Iterator[Step]:
    """Yield the way of a user without a checkout: build, install, and name the playbook from an empty folder."""
    yield from _installed(folder)
    away = folder / "away"
    away.mkdir(exist_ok=True)
    inventory = folder / COLLECTION / "inventories" / "metal" / "cluster.yml"
    environment = {"ANSIBLE_COLLECTIONS_PATH": str(folder), "ANSIBLE_INVENTORY_ENABLED": "kubesmith.cluster.spec"}
    playbook = ("ansible-playbook", "--syntax-check", "-i", str(inventory), "kubesmith.cluster.site")
    yield Step("playbook from an empty folder", playbook, environment, away)
    yield Step(
        "inventory from an empty folder", ("ansible-inventory", "-i", str(inventory), "--list"), environment, away
    )


def sanity(folder: Path) -> Iterator[Step]:
    """Yield Ansible's own sanity tests, on the collection as it is published."""
    yield from _installed(folder)
    ansible_test.write_ignores(folder / COLLECTION)
    yield Step(
        "ansible-test sanity",
        ("ansible-test", "sanity", "--color", "no"),
        ansible_test.environment(),
        folder / COLLECTION,
        count=sanity_counts,
    )


def _installed(folder: Path) -> Iterator[Step]:
    """Yield the steps that put the collection under ``folder``, unless it is there."""
    if (folder / COLLECTION).exists():
        return
    # Away from our ansible.cfg: with its collections_path there would be nothing to install.
    environment = {"ANSIBLE_COLLECTIONS_PATH": str(folder)}
    build = ("ansible-galaxy", "collection", "build", "--output-path", str(folder), str(CHECKOUT))
    yield Step("build the collection", build, environment, folder, vital=True)
    archive = folder / f"kubesmith-cluster-{_version()}.tar.gz"
    install = ("ansible-galaxy", "collection", "install", "--offline", "-p", str(folder), str(archive))
    yield Step("install the collection", install, environment, folder, vital=True)


def _version() -> str:
    rows = (CHECKOUT / "galaxy.yml").read_text().splitlines()
    return next(row.split()[1] for row in rows if row.startswith("version:"))


def controllers(_folder: Path) -> Iterator[Step]:
    """Yield the test of a real scheduler and real workers, one of which is killed; the hosts are this machine."""
    yield Step("tests/controllers", (*_python("pytest"), "-rs", "tests/controllers"), count=pytest_counts)


def molecule(folder: Path) -> Iterator[Step]:
    """Yield the scenarios: real nodes on this machine, built, tested and removed by each.

    What the converge and the idempotence of ``default`` were made of is then held against the budgets.
    """
    missing = _no_nodes()
    build = (sys.executable, "runner.py", "bundle", "build", "--yes")
    yield Step("bundle", build, skip=missing, limit=COLD, vital=True)
    rows = folder / "rows"
    environment = {"MOLECULE_GLOB": "molecule/*/molecule.yml", "ANSIBLE_FORCE_COLOR": "0", "NO_COLOR": "1"}
    environment["KUBESMITH_TASK_ROWS"] = str(rows)
    config = ("--base-config", ".config/molecule/config.yml")
    for scenario in sorted((CHECKOUT / "molecule").glob("*/molecule.yml"), key=_small_first):
        name = scenario.parent.name
        test = (*_python("molecule"), *config, "test", "-s", name)
        destroy = (sys.executable, "runner.py", "destroy", "--yes", f"--inventory=molecule/{name}/cluster.yml")
        yield Step(name, test, environment, skip=missing, tidy=destroy)
    yield Step("budgets of default", (sys.executable, "tests/harness/budgets.py", str(rows)), skip=missing)


def faults(_folder: Path) -> Iterator[Step]:
    """Yield the tests that break a lab of their own in every known way; long, so only run when named."""
    tests = (*_python("pytest"), "-rs", "-v", "tests/faults")
    yield Step("faults", tests, skip=_no_nodes(), limit=7200, count=pytest_counts)


def vagrant(_folder: Path) -> Iterator[Step]:
    """Yield the way of a cluster of two virtual machines, from the box to the end; emulated where there is no KVM.

    KUBESMITH_FROM names the step to go on from, with the machines that an earlier run left.
    """
    missing = "" if shutil.which("vagrant") and shutil.which("virsh") else "vagrant or libvirt is not installed"
    runner = (sys.executable, "runner.py")
    inventory = ("--inventory", "tests/vagrant/cluster.yml")
    own = (sys.executable, "tests/vagrant/steps.py")
    destroy = (*runner, "destroy", "--yes", *inventory)

    first = os.environ.get("KUBESMITH_FROM", "")
    earlier = bool(first)

    def step(name: str, *command: str, vital: bool = True) -> Step:
        nonlocal earlier
        earlier = earlier and name != first
        why = missing or (f"KUBESMITH_FROM={first}" if earlier else "")
        return Step(name, command, skip=why, limit=COLD, vital=vital)

    yield Step("libvirt answers", (*own, "libvirt-start"), skip=missing, vital=True)
    yield step("box", *runner, "box", "build", "--yes")
    yield step("bundle", *runner, "bundle", "build", "--yes")
    yield step("machines", *runner, "up", "--to", "nodes", *inventory)
    yield step("up", *runner, "up", *inventory)
    yield step("verify", *runner, "verify", "--wait", "1200", *inventory)
    yield step("a second run changes nothing", *own, "again")
    yield step("the same machines by provider ssh", *own, "hosts", vital=False)
    yield step("each node reboots", *own, "reboot", vital=False)
    yield step("snapshot save", *runner, "snapshot", "save", "clean", *inventory)
    yield step("the cluster is broken", *own, "damage", vital=False)
    yield step("snapshot restore", *runner, "snapshot", "restore", "clean", *inventory, vital=False)
    yield step("destroy", *destroy, vital=False)
    yield step("libvirt stops", *own, "libvirt-stop", vital=False)


def airgap(_folder: Path) -> Iterator[Step]:
    """Yield the test of the one file that is carried across, and of a private registry; it needs a bundle at hand."""
    tests = (*_python("pytest"), "-rs", "-v", "tests/airgap")
    yield Step("airgap", tests, skip=_no_nodes(), limit=3600, count=pytest_counts)


def machines(_folder: Path) -> Iterator[Step]:
    """Yield the tests that reboot, cut off, break and bring back machines, and those of hosts taken as they are."""
    tests = (*_python("pytest"), "-rs", "-v", "tests/machines")
    yield Step("machines", tests, skip=_no_nodes(), limit=3600, count=pytest_counts)


def lifecycle(_folder: Path) -> Iterator[Step]:
    """Yield the tests of a cluster's whole life, each on labs of its own; long, so only run when named."""
    tests = (*_python("pytest"), "-rs", "-v", "tests/lifecycle")
    yield Step("lifecycle", tests, skip=_no_nodes(), limit=14400, count=pytest_counts)


def security(_folder: Path) -> Iterator[Step]:
    """Yield the tests of the strict profile, and of our own handling of secrets; long, so only run when named."""
    tests = (*_python("pytest"), "-rs", "-v", "tests/security")
    yield Step("security", tests, skip=_no_nodes(), limit=7200, count=pytest_counts)


def interruptions(_folder: Path) -> Iterator[Step]:
    """Yield the interruptions chosen by a seed: a minute or more for each, so that a part of them can be asked for."""
    tests = (*_python("pytest"), "-rs", "-v", "tests/interruptions")
    yield Step("interruptions", tests, skip=_no_nodes(), limit=6 * 3600, count=pytest_counts)


def soak(_folder: Path) -> Iterator[Step]:
    """Yield the soak: an hour of writing while nodes restart."""
    tests = (*_python("pytest"), "-rs", "-v", "tests/soak")
    yield Step("soak", tests, skip=_no_nodes(), limit=3 * 3600, count=pytest_counts)


def tour(_folder: Path) -> Iterator[Step]:
    """Yield the tests that take every tour on a lab, kill some, and solve every exercise; only run when named."""
    tests = (*_python("pytest"), "-rs", "-v", "tests/tour")
    yield Step("tour", tests, skip=_no_nodes(), limit=7200, count=pytest_counts)


def restore(_folder: Path) -> Iterator[Step]:
    """Yield the drills: clusters brought back from backups, in place and on new machines; long, so only when named."""
    tests = (*_python("pytest"), "-rs", "-v", "-s", "tests/restore")
    yield Step("restore", tests, skip=_no_nodes(), limit=7200, count=pytest_counts)


def _small_first(scenario: Path) -> tuple[bool, str]:
    return scenario.parent.name == "default", scenario.parent.name


def _no_nodes() -> str:
    """Return why this machine can run no nodes, or nothing."""
    if not sys.platform.startswith("linux"):
        return f"nodes are Linux containers, and this is {sys.platform}"
    if os.geteuid() != 0:
        return "nodes run systemd in privileged containers, which needs root"
    return "" if shutil.which("podman") else "podman is not installed"


def _python(module: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module)


LONG = {
    "fuzz",
    "faults",
    "vagrant",
    "airgap",
    "machines",
    "lifecycle",
    "tour",
    "security",
    "interruptions",
    "soak",
    "restore",
}  # not part of `make test`
GROUPS: dict[str, Callable[[Path], Iterator[Step]]] = {
    "lint": lint,
    "unit": unit,
    "sanity": sanity,
    "collection": collection,
    "controllers": controllers,
    "molecule": molecule,
    "fuzz": fuzz,
    "faults": faults,
    "vagrant": vagrant,
    "airgap": airgap,
    "machines": machines,
    "lifecycle": lifecycle,
    "security": security,
    "interruptions": interruptions,
    "soak": soak,
    "tour": tour,
    "restore": restore,
}
