"""Layers come out the same from the same files, and hold what runtimes expect."""

import io
import os
import struct
import tarfile

from kubesmith.bundle.layers import Entry, put_layer, write_layer


def members(entries) -> dict[str, tarfile.TarInfo]:
    target = io.BytesIO()
    write_layer(entries, target)
    target.seek(0)
    with tarfile.open(fileobj=target) as archive:
        return {member.name: member for member in archive.getmembers()}


def sample(folder) -> list[Entry]:
    (folder / "source").write_bytes(b"program")
    return [
        Entry("usr/bin/tool", source=folder / "source"),
        Entry("usr/bin/other", hardlink="usr/bin/tool"),
        Entry("bin", symlink="usr/bin"),
        Entry("etc/passwd", mode=0o644, content=b"root:x:0:0\n"),
        Entry("status", directory=True, owner=999),
        Entry("usr/bin/dns", content=b"d", capability="net_bind_service"),
    ]


def test_the_bytes_are_these_whoever_makes_them_and_when(tmp_path):
    first = write_layer(sample(tmp_path), io.BytesIO())
    os.utime(tmp_path / "source", (0, 0))
    (tmp_path / "source").chmod(0o600)
    second = write_layer(reversed(sample(tmp_path)), io.BytesIO())
    assert first == second
    # If this digest changes, raise FORMAT in builder.py: layers in the stores were made by the old code.
    assert first.digest == "sha256:e5dc7ba9feec07299425bebb19ac422cb8ac2bb811c82e32742eb7a7d7a2bf6d"


def test_members_belong_to_root_and_have_no_time(tmp_path):
    found = members(sample(tmp_path))
    assert {(member.uid, member.gid) for name, member in found.items() if name != "status"} == {(0, 0)}
    assert {member.mtime for member in found.values()} == {0}
    assert found["status"].uid == 999


def test_each_parent_folder_is_there_once(tmp_path):
    target = io.BytesIO()
    write_layer(sample(tmp_path), target)
    target.seek(0)
    with tarfile.open(fileobj=target) as archive:
        names = archive.getnames()
    assert sorted(set(names)) == sorted(names)
    assert {"usr", "usr/bin", "etc"} <= set(names)


def test_a_hard_link_comes_after_its_target(tmp_path):
    names = list(members(sample(tmp_path)))
    assert names.index("usr/bin/other") > names.index("usr/bin/tool")


def test_the_capability_is_the_kernels_extended_attribute(tmp_path):
    text = members(sample(tmp_path))["usr/bin/dns"].pax_headers["SCHILY.xattr.security.capability"]
    revision, permitted, inheritable, *_rest = struct.unpack("<IIIII", text.encode())
    assert (revision, permitted, inheritable) == (0x02000001, 1 << 10, 0)


def test_a_layer_is_stored_under_its_own_digest(tmp_path):
    blob = put_layer([Entry("a", content=b"x")], tmp_path / "blobs")
    (file,) = (tmp_path / "blobs").iterdir()
    assert blob.digest == f"sha256:{file.name}"
    assert blob.size == file.stat().st_size
