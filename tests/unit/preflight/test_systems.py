"""Systems as data, against the os-release that each is known to ship (written down, not taken from machines)."""

import importlib.util
from pathlib import Path

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils.node import os_release

from kubesmith.preflight import machine, systems
from kubesmith.preflight.model import Whole
from kubesmith.preflight.systems import data

# The folder is no package (importlib mode), so that its helper is loaded by its path.
LOADER = importlib.util.spec_from_file_location("preflight_facts", Path(__file__).with_name("facts.py"))
facts = importlib.util.module_from_spec(LOADER)
LOADER.loader.exec_module(facts)
HERE = Path(__file__).parent / "systems"
RELEASES = {f"{row.id}-{row.version}": row for row in data().releases}
MANAGERS = {"debian": "apt-get", "rhel": "dnf", "suse": "zypper"}
GONE = [(("machine", "programs", name), False) for name in ("conntrack", "losetup", "ip")]
INSTALL = {
    "debian": "apt-get install conntrack mount iproute2",
    "rhel": "dnf install conntrack-tools util-linux iproute",
    "suse": "zypper install conntrack-tools util-linux iproute2",
}


def recorded(name, *changes):
    """Return a node with the facts of a release: its own os-release, kernel and package manager."""
    release = os_release((HERE / name).read_text())
    family = data().systems[release["ID"]].family
    row = RELEASES[name]
    known = {
        "os": {"id": release["ID"], "version": release["VERSION_ID"]},
        "like": release.get("ID_LIKE", "").split(),
        "kernel": f"{row.kernel}.0-1",
        "packages": MANAGERS[family],
    }
    return family, facts.node("w1", *((("machine", key), value) for key, value in known.items()), *changes)


def judged(rule, one):
    return [(f.severity, f.what, f.seen, f.fix) for f in rule(one, Whole(facts.CLUSTER, [one], {one.name: "none"}))]


def test_every_release_has_its_os_release_recorded():
    assert {file.name for file in HERE.iterdir()} == set(RELEASES)


@pytest.mark.parametrize("name", RELEASES)
def test_a_known_release_has_no_finding_but_for_its_kernel(name):
    _family, one = recorded(name)
    expected = ["kernel"] if RELEASES[name].kernel == "5.14" else []
    assert [what for _severity, what, _seen, _fix in judged(machine.system, one)] == expected


@pytest.mark.parametrize("name", RELEASES)
def test_what_is_missing_is_called_as_the_system_calls_it(name):
    family, one = recorded(name, *GONE)
    assert judged(machine.programs, one) == [("error", "programs", "no conntrack, losetup, ip", INSTALL[family])]


@pytest.mark.parametrize(
    ("machine_facts", "manager"),
    [
        ({"os": {"id": "eurolinux"}, "like": ["rhel", "fedora"], "packages": ""}, "dnf"),
        ({"os": {"id": "gecko"}, "like": ["suse"], "packages": ""}, "zypper"),
        ({"os": {"id": "void"}, "like": [], "packages": "zypper"}, "zypper"),
        ({"os": {"id": "void"}, "like": [], "packages": "yum"}, "dnf"),
        ({"os": {"id": "void"}, "like": [], "packages": ""}, "apt-get"),
    ],
)
def test_an_unknown_system_is_taken_for_what_it_is_like(machine_facts, manager):
    assert data().family(machine_facts).manager == manager


@pytest.mark.parametrize("name", data().families)
def test_each_family_names_the_package_of_every_program(name):
    assert set(data().families[name].packages) == {*machine.PROGRAMS, *machine.USEFUL}


def test_elder_releases_are_not_known():
    assert not data().known("debian", "10")
    assert not data().known("ubuntu", "20.04")
    assert not data().known("rhel", "8.9")
    assert not data().known("void", "1")
    assert data().known("ubuntu", "22.04")
    assert systems.numbers("22.04.5 LTS") == (22, 4)


def test_the_page_is_the_one_that_the_data_makes():
    docs = Path(__file__).resolve().parents[3] / "docs"
    loader = importlib.util.spec_from_file_location("os_table", docs / "os_table.py")
    made = importlib.util.module_from_spec(loader)
    loader.loader.exec_module(made)
    assert (docs / "os.md").read_text() == made.page((docs / "os.md").read_text())
