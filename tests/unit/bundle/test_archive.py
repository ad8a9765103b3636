"""One file to carry across: what comes out is what went in, and anything else is refused by name."""

import hashlib
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from backports import zstd

from kubesmith.bundle import archive, builder, load, source, verify
from kubesmith.bundle.store import locked
from kubesmith.errors import InputError
from kubesmith.progress import Silent


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KUBESMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBESMITH_BUNDLE", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def exported(tiny: Path, tmp_path: Path) -> Path:
    target = tmp_path / "tiny.tar.zst"
    archive.write(tiny, target, Silent())
    return target


def take(file: Path, **options) -> Path:
    return archive.read(file, builder.folder(), Silent(), **options).bundle


def refused(file: Path, **options) -> str:
    with pytest.raises(InputError) as error:
        take(file, **options)
    assert not list(builder.folder().iterdir()), "something was left"
    return str(error.value)


def members(file: Path) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(zstd.decompress(file.read_bytes()))) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def repack(file: Path, content: dict[str, bytes], *, change=None) -> Path:
    """Write an export anew as someone else would, with a digest that fits; ``change`` may alter tar headers."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if change:
                change(info)
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)
    body = zstd.compress(raw.getvalue())
    file.write_bytes(body + archive.MAGIC + hashlib.sha256(body).digest())
    return file


def test_what_comes_out_is_what_went_in(tiny, exported, cache):
    made = take(exported)
    assert verify(made) == []
    assert load(made).digest == load(tiny).digest
    assert (cache / "bundle" / "current").resolve() == made.resolve()


def test_importing_twice_leaves_the_folder_that_nodes_have_mounted(exported):
    inode = take(exported).stat().st_ino
    assert take(exported).stat().st_ino == inode


def test_the_digest_is_of_all_bytes_before_it_and_is_what_the_other_side_can_ask_for(tiny, tmp_path):
    made = archive.write(tiny, tmp_path / "x.tar.zst", Silent())
    assert archive.digest_of_file(tmp_path / "x.tar.zst") == made.digest
    take(tmp_path / "x.tar.zst", digest=made.digest)


def test_another_file_than_the_one_that_was_meant(exported):
    assert "is not the file that was meant" in refused(exported, digest="sha256:" + "0" * 64)


def test_ordinary_tools_can_look_into_it(exported, tmp_path):
    plain = tmp_path / "plain.tar"
    plain.write_bytes(zstd.decompress(exported.read_bytes()))
    listed = subprocess.run(["tar", "-tf", plain], capture_output=True, text=True, check=True).stdout
    assert "bundle/bin/kubeadm" in listed


def test_any_changed_byte_is_found(exported):
    good = exported.read_bytes()
    for at in range(0, len(good), 37):
        exported.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert exported.name in refused(exported)


def test_any_length_but_the_whole_is_found(exported):
    good = exported.read_bytes()
    for length in range(0, len(good), 41):
        exported.write_bytes(good[:length])
        assert exported.name in refused(exported)
    exported.write_bytes(good + b"x")
    refused(exported)


def test_a_changed_file_is_named(exported):
    content = members(exported)
    content["bundle/bin/kubeadm"] = content["bundle/bin/kubeadm"].replace(b"pause", b"pausf")
    assert "bundle/bin/kubeadm was changed: sha256" in refused(repack(exported, content))


def test_a_missing_blob_is_named_with_its_image_even_if_the_list_was_made_to_fit(exported):
    content = members(exported)
    head = json.loads(content[archive.CONTENTS])
    layer = max(row["name"] for row in head["members"] if "blobs" in row["name"])
    head["members"] = [row for row in head["members"] if row["name"] != layer]
    del content[layer]
    content[archive.CONTENTS] = json.dumps(head).encode()
    found = refused(repack(exported, content))
    assert layer.removeprefix("bundle/") in found
    assert "missing (part of kubesmith.internal/pause:3.10)" in found


def test_a_missing_member_is_named(exported):
    content = members(exported)
    del content["bundle/bin/kubeadm"]
    assert "missing, first bundle/bin/kubeadm" in refused(repack(exported, content))


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "bundle/../../evil", "bundle/./x", "elsewhere/x", "bundle", "bundle//x"]
)
@pytest.mark.parametrize("listed", [True, False])
def test_no_member_gets_out(exported, tmp_path, name, listed):
    content = members(exported)
    if listed:
        head = json.loads(content[archive.CONTENTS])
        head["members"].append({"name": name, "size": 1, "mode": "0644", "sha256": "0" * 64})
        content[archive.CONTENTS] = json.dumps(head).encode()
    before = sorted(tmp_path.rglob("evil"))
    assert "outside of the bundle" in refused(repack(exported, {**content, name: b"x"}))
    assert sorted(tmp_path.rglob("evil")) == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(exported, kind):
    def change(info):
        if info.name == "bundle/bin/kubeadm":
            info.type, info.linkname, info.size = kind, "/etc/passwd", 0

    assert "bundle/bin/kubeadm is no plain file" in refused(repack(exported, members(exported), change=change))


def test_a_stranger_is_named(exported):
    content = members(exported) | {"bundle/extra": b"x"}
    assert "bundle/extra is not in its list" in refused(repack(exported, content))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x1f\x8b" + bytes(100), zstd.compress(b"no tar at all" * 100)])
def test_other_files_are_refused(tmp_path, content):
    file = tmp_path / "other"
    file.write_bytes(content)
    assert "other" in refused(file)


def test_a_tar_of_something_else(tmp_path):
    assert "it begins with 'a'" in refused(repack(tmp_path / "other", {"a": b"b"}))


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        take(tmp_path / "none")


def test_a_damaged_bundle_is_not_exported(tiny, tmp_path):
    (tiny / "bin" / "kubeadm").chmod(0o700)
    with pytest.raises(InputError, match=r"not whole.*bin/kubeadm: mode"):
        archive.write(tiny, tmp_path / "x", Silent())
    assert not list(tmp_path.glob("*x*"))


def test_the_node_image_travels_too(tiny, tmp_path, cache):
    image = tmp_path / "abc.tar"
    image.write_bytes(os.urandom(5000))
    archive.write(tiny, tmp_path / "x.tar.zst", Silent(), node_image=image)
    take(tmp_path / "x.tar.zst", node_images=cache / "node-image")
    assert (cache / "node-image" / "abc.tar").read_bytes() == image.read_bytes()


def test_a_wrong_file_does_not_wait_for_the_build_that_holds_the_lock(exported, tmp_path):
    other = tmp_path / "other.tar.zst"
    other.write_bytes(b"no bundle")
    with locked(builder.folder() / "lock", lambda _pid: None):
        with pytest.raises(InputError, match="is no exported bundle"):
            source.take(other, "", Silent())
        with pytest.raises(InputError, match="cannot be read"):
            source.take(tmp_path / "absent", "", Silent())
        with pytest.raises(InputError, match="the cluster wants 1"):
            source.take(exported, "1.2.3", Silent())


def wanted(**values) -> source.Wanted:
    return source.Wanted(**{"kubernetes": "1.37.2", **values})


def test_a_bundle_at_hand_is_used_without_compilers(exported):
    made = take(exported)
    choice = source.choose(wanted())
    assert choice.kind == "at hand"
    assert source.provide(choice, Silent()).resolve() == made.resolve()


def test_a_bundle_at_hand_that_was_damaged_is_refused_by_name(exported):
    (take(exported) / "bin" / "kubeadm").write_text("#!/bin/sh\necho kubesmith.internal/pausf:3.10\n")
    with pytest.raises(InputError, match="bin/kubeadm: changed"):
        source.provide(source.choose(wanted()), Silent())


def test_a_bundle_for_another_version_is_not_used(exported):
    take(exported)
    assert source.choose(wanted(kubernetes="1.36.3")).kind == "gomod"
    with pytest.raises(InputError, match=r"is for Kubernetes 1.37.2, the cluster wants 1.36.3"):
        source.choose(wanted(kubernetes="1.36.3", source="file"))


def test_a_bundle_built_from_recipes_that_changed_is_built_anew(exported):
    made = take(exported)
    builder.mark(made, [])
    assert source.choose(wanted()).kind == "gomod"


def test_only_from_a_file_means_that_nothing_is_built():
    with pytest.raises(InputError, match="there is no bundle at"):
        source.choose(wanted(source="file"))


def test_a_file_named_in_the_cluster_file_is_imported_once_and_checked_every_time(exported):
    choice = source.choose(wanted(source="file", file=exported))
    made = source.provide(choice, Silent())
    inode = made.stat().st_ino
    assert source.provide(choice, Silent()).stat().st_ino == inode
    content = bytearray(exported.read_bytes())
    content[-40] ^= 1
    exported.write_bytes(content)
    with pytest.raises(InputError):
        source.provide(choice, Silent())


def test_a_file_for_another_version_is_refused_before_it_is_unpacked(exported):
    with pytest.raises(InputError, match=r"holds a bundle for Kubernetes 1.37.2, the cluster wants 1.36.3"):
        source.provide(source.choose(wanted(kubernetes="1.36.3", source="file", file=exported)), Silent())
    assert not [path for path in builder.folder().glob("*") if path.is_dir()]


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        source.choose(wanted(source="file", file=tmp_path / "none"))


def test_a_bundle_given_by_the_environment_must_fit(tiny, monkeypatch):
    monkeypatch.setenv("KUBESMITH_BUNDLE", str(tiny))
    assert source.choose(wanted(source="gomod")).kind == "at hand"
    with pytest.raises(InputError, match="for Kubernetes"):
        source.choose(wanted(kubernetes="1.36.3"))
