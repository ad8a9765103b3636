"""What a bundle's description says, and the archive made of its images."""

import hashlib
import io
import json
import os
import tarfile
import threading

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import bundle, images

BUNDLE = {
    "name": "test-bundle",
    "arch": "amd64",
    "components": [
        {
            "name": "runtime",
            "files": [
                {"path": "bin/ctr", "sha256": "1", "mode": "0755", "set": "runtime", "install": "/usr/local/bin/ctr"},
                {"path": "manifests/x.yml", "sha256": "2", "mode": "0644", "set": "manifests"},
            ],
        },
        {
            "name": "images",
            "images": [
                {
                    "ref": "reg.internal/pause:3.10",
                    "digest": "sha256:p",
                    "set": "node",
                    "blobs": ["sha256:c", "sha256:l"],
                },
                {"ref": "reg.internal/dns:v1", "digest": "sha256:d", "set": "node", "blobs": ["sha256:e", "sha256:l"]},
                {"ref": "reg.internal/etcd:3.7", "digest": "sha256:t", "set": "control-plane", "blobs": ["sha256:f"]},
            ],
        },
    ],
}


def refs(rows):
    return [bundle.short_name(row["ref"]) for row in rows]


def test_only_installable_files_of_the_wanted_sets():
    assert [row["path"] for row in bundle.select_files(BUNDLE, ["runtime", "manifests"])] == ["bin/ctr"]


def test_images_by_set_and_by_name():
    assert refs(bundle.select_images(BUNDLE, ["node"])) == ["pause", "dns"]
    assert refs(bundle.select_images(BUNDLE, ["control-plane", "pause"])) == ["pause", "etcd"]


@pytest.mark.parametrize(("select", "wanted"), [(bundle.select_files, "runtimes"), (bundle.select_images, "nodes")])
def test_an_unknown_set_is_refused_with_those_that_there_are(select, wanted):
    with pytest.raises(bundle.BundleError, match=rf"test-bundle has no .* {wanted}; it has .*(runtime|node)"):
        select(BUNDLE, [wanted])


def test_one_image():
    assert bundle.image(BUNDLE, "pause")["ref"] == "reg.internal/pause:3.10"
    with pytest.raises(bundle.BundleError, match="no image nothing"):
        bundle.image(BUNDLE, "nothing")


@pytest.mark.parametrize(
    "ref", ["pause", "r.io:5000/a/pause", "r.io:5000/pause:3", "r.io/pause:3@sha256:0", "pause@sha256:0"]
)
def test_short_names(ref):
    assert bundle.short_name(ref) == "pause"


def test_programs_for_another_machine_are_refused():
    bundle.refuse_other_machine("x86_64", "amd64")
    bundle.refuse_other_machine("aarch64", "arm64")
    with pytest.raises(bundle.BundleError, match=r"aarch64.*amd64"):
        bundle.refuse_other_machine("aarch64", "amd64")


def test_parts_are_found_in_the_bundle_first_then_among_what_was_sent(tmp_path):
    root, incoming = tmp_path / "bundle", tmp_path / "incoming"
    (root / "bin").mkdir(parents=True)
    incoming.mkdir()
    assert bundle.find(str(root), str(incoming), "bin/ctr", "1f") is None
    (incoming / "1f").touch()
    assert bundle.find(str(root), str(incoming), "bin/ctr", "1f") == incoming / "1f"
    (root / "bin/ctr").touch()
    assert bundle.find(str(root), str(incoming), "bin/ctr", "1f") == root / "bin/ctr"


def test_what_was_sent_is_taken_only_with_the_right_content(tmp_path):
    good = hashlib.sha256(b"good").hexdigest()
    (tmp_path / "sent").write_bytes(b"good")
    bundle.accept({good: str(tmp_path / "sent")}, str(tmp_path / "in"))
    assert (tmp_path / "in" / good).read_bytes() == b"good"
    assert not (tmp_path / "sent").exists()
    (tmp_path / "sent").write_bytes(b"bad")
    with pytest.raises(bundle.BundleError, match="damaged"):
        bundle.accept({"0" * 64: str(tmp_path / "sent")}, str(tmp_path / "in"))
    assert not (tmp_path / "in" / ("0" * 64)).exists()


LISTING = """REF TYPE DIGEST SIZE PLATFORMS LABELS
reg.internal/pause:3.10 application/vnd.oci.manifest sha256:p 300.0 KiB amd64 a=b,io.cri-containerd.pinned=pinned
reg.internal/dns:v1 application/vnd.oci.image.manifest.v1+json sha256:old 70.0 MiB linux/amd64 -
"""


def test_missing_images_are_those_absent_or_of_another_digest():
    wanted = bundle.select_images(BUNDLE, ["node", "control-plane"])
    assert refs(images.missing(wanted, images.parse_images(LISTING)[0])) == ["dns", "etcd"]
    assert images.missing(wanted[:1], images.parse_images(LISTING)[0]) == []


def test_pinned_images_are_known():
    assert images.parse_images(LISTING)[1] == {"reg.internal/pause:3.10"}
    assert images.parse_images("REF TYPE DIGEST\n") == ({}, set())


def test_shared_blobs_are_sent_once_and_present_ones_not_at_all():
    rows = bundle.select_images(BUNDLE, ["node"])
    assert images.needed_blobs(rows, set()) == ["sha256:p", "sha256:c", "sha256:l", "sha256:d", "sha256:e"]
    assert images.needed_blobs(rows, {"sha256:l", "sha256:p"}) == ["sha256:c", "sha256:d", "sha256:e"]


def archive(index, blobs):
    """Return what write_archive writes, read through a pipe as ctr does."""
    reader, writer = os.pipe()
    received = []

    def receive():
        with os.fdopen(reader, "rb") as source:
            received.append(source.read())

    thread = threading.Thread(target=receive)
    thread.start()
    images.write_archive(writer, index, blobs)
    os.close(writer)
    thread.join()
    return received[0]


def test_the_archive_is_a_whole_oci_layout(tmp_path):
    contents = {"sha256:aa": b"x" * 100_000, "sha256:bb": b"", "sha256:cc": b"y" * 512}
    paths = {}
    for digest, content in contents.items():
        paths[digest] = tmp_path / digest[7:]
        paths[digest].write_bytes(content)
    descriptor = {"mediaType": "m", "digest": "sha256:aa", "size": 100_000, "annotations": {"old": "gone"}}
    index = images.index_json([{"ref": "reg.internal/a:1", "digest": "sha256:aa"}], {"sha256:aa": descriptor})
    with tarfile.open(fileobj=io.BytesIO(archive(index, paths))) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    assert json.loads(members["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (manifest,) = json.loads(members["index.json"])["manifests"]
    assert manifest["annotations"]["io.containerd.image.name"] == "reg.internal/a:1"
    assert manifest["size"] == 100_000
    assert {f"blobs/sha256/{digest[7:]}": content for digest, content in contents.items()}.items() <= members.items()


def test_a_node_takes_parts_from_the_very_bundle_that_is_meant(tmp_path):
    for name, digest in (("old", "sha256:1"), ("new", "sha256:2")):
        (tmp_path / "bundles" / name).mkdir(parents=True)
        (tmp_path / "bundles" / name / "bundle.json").write_text(json.dumps({"digest": digest}))
    root, bundles = str(tmp_path / "bundles/old"), str(tmp_path / "bundles")
    assert bundle.seen(root, "new", "sha256:2", bundles) == f"{bundles}/new"
    assert bundle.seen(root, "elsewhere", "sha256:1", bundles) == root
    assert bundle.seen(root, "new", "sha256:3", bundles) == "/nonexistent"
    assert bundle.seen(root, "", "", bundles) == root
