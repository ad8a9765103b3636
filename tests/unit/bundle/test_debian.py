"""Base layers out of real packages, made here with dpkg-deb."""

import shutil
import subprocess
from pathlib import Path

import pytest

from kubesmith.bundle.debian import Package, licences, tree
from kubesmith.bundle.elf import missing_libraries, needed
from kubesmith.bundle.layers import Entry
from kubesmith.bundle.recipe import LayerRecipe

pytestmark = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs dpkg-deb")
COPYRIGHT = "Format: https://x/\n\nFiles: *\nLicense: GPL-2+\n\nFiles: a\nLicense: MIT\n text\n"
FILES = {
    "bin/tool": "program",
    "lib/libtool.so.1": "library",
    "usr/share/doc/tool/copyright": COPYRIGHT,
    "usr/share/doc/tool/changelog.gz": "long",
    "usr/share/man/man1/tool.1.gz": "long",
    "usr/share/ca-certificates/mozilla/b.crt": "B\n",
    "usr/share/ca-certificates/mozilla/a.crt": "A\n",
}


@pytest.fixture
def package(tmp_path: Path) -> Package:
    root = tmp_path / "root"
    for name, content in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (root / "bin" / "tool").chmod(0o4755)
    (root / "DEBIAN").mkdir()
    control = "Package: tool\nVersion: 1:2.3-4\nArchitecture: all\nMaintainer: x <x@y.z>\nDescription: x\n"
    (root / "DEBIAN" / "control").write_text(control)
    file = tmp_path / "tool.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", root, file], check=True, capture_output=True)
    return Package("tool", "1:2.3-4", file, "0" * 64)


def test_old_top_folders_move_below_usr(package):
    entries = tree([package], LayerRecipe(), [])
    assert entries["usr/bin/tool"].content == b"program"
    assert entries["usr/lib/libtool.so.1"].content == b"library"
    assert entries["bin"].symlink == "usr/bin"
    assert not any(path.startswith(("bin/", "lib/")) for path in entries)


def test_nothing_is_set_user_id(package):
    assert tree([package], LayerRecipe(), [])["usr/bin/tool"].mode == 0o755


def test_what_is_excluded_is_left_out_with_its_empty_folders(package):
    layer = LayerRecipe(over="below", exclude=("usr/share/man/*",))
    entries = tree([package], layer, ["usr/share/doc/*[!t]"])
    assert "usr/share/doc/tool/copyright" in entries
    assert "usr/share/doc/tool/changelog.gz" not in entries
    assert not any("man" in path for path in entries)


def test_only_the_bottom_layer_makes_the_links_of_the_root(package):
    assert "bin" not in tree([package], LayerRecipe(over="below"), [])


def test_links_stand_beside_their_target_or_where_they_say(package):
    layer = LayerRecipe(links={"usr/bin/tool": ("sh", "usr/sbin/other")})
    entries = tree([package], layer, [])
    assert entries["usr/bin/sh"].symlink == "tool"
    assert entries["usr/sbin/other"].symlink == "/usr/bin/tool"


def test_certificates_become_one_file(package):
    entries = tree([package], LayerRecipe(certificates=True), ["usr/share/ca-certificates/*"])
    assert entries["etc/ssl/certs/ca-certificates.crt"].content == b"A\nB\n"
    assert not any(path.endswith("a.crt") for path in entries)


def test_licences_come_from_the_copyright_file(package):
    entries = tree([package], LayerRecipe(), [])
    assert licences(package, entries) == ["GPL-2+", "MIT"]
    assert licences(package, {}) == []


def test_a_program_names_its_libraries():
    assert "libc.so.6" in needed(Path("/bin/ls").read_bytes())
    assert needed(b"#!/bin/sh\n") == []
    assert needed(b"") == []


def test_a_library_that_no_layer_holds_is_found():
    program = Entry("usr/bin/ls", content=Path("/bin/ls").read_bytes())
    missing = missing_libraries([program], ["usr/lib/x86_64-linux-gnu/libselinux.so.1"])
    assert "usr/bin/ls needs libc.so.6" in missing
    assert missing_libraries([program], [f"usr/lib/{name}" for name in needed(program.content)]) == []
