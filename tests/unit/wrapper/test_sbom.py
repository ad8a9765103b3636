"""`sbom`: what was read becomes components with package URLs and digests."""

from ansible_collections.kubesmith.cluster.plugins.module_utils import software

from kubesmith.commands import sbom

NODE = {
    "os": {"id": "debian", "version": "12", "name": "Debian GNU/Linux"},
    "kernel": "6.1",
    "machine": "x86_64",
    "packages": [{"kind": "deb", "name": "libc6", "version": "1:2.36-9+deb12u1", "arch": "amd64"}],
    "programs": {"/usr/local/bin/kubelet": "aa", "/usr/local/bin/mine": "bb"},
    "images": {"registry/pause:3": "sha256:cc"},
}
BUNDLE = {
    "components": [{"name": "kubernetes", "version": "1.37.2", "components": [{"hashes": [{"content": "aa"}]}]}],
    "dependencies": [{"ref": "a"}],
}


def test_a_document():
    made = sbom.document("lab", {"w1": NODE}, BUNDLE)
    device, kubernetes = made["components"]
    assert (device["type"], device["name"], kubernetes["name"]) == ("device", "w1", "kubernetes")
    rows = {row["name"]: row for row in device["components"]}
    assert rows["libc6"]["purl"] == "pkg:deb/debian/libc6@1%3A2.36-9%2Bdeb12u1?arch=amd64"
    assert (rows["/usr/local/bin/kubelet"]["group"], rows["/usr/local/bin/kubelet"]["version"]) == (
        "kubernetes",
        "1.37.2",
    )
    assert "group" not in rows["/usr/local/bin/mine"]
    assert rows["registry/pause:3"]["hashes"] == [{"alg": "SHA-256", "content": "cc"}]
    references = [row["bom-ref"] for row in device["components"]]
    assert len(references) == len(set(references))


def test_packages_of_both_kinds():
    text = "ii \ta\t1\tamd64\nrc \tgone\t2\tamd64\n"
    assert software.debian(text) == [{"kind": "deb", "name": "a", "version": "1", "arch": "amd64"}]
    text = "bash\t0:5.1-1\tx86_64\nopenssl\t1:3.0-2\tx86_64\ngpg-pubkey\t0:1-2\t(none)\n"
    assert [(row["name"], row["version"]) for row in software.rpm(text)] == [("bash", "5.1-1"), ("openssl", "1:3.0-2")]
