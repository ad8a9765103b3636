"""A small bundle made by the code that makes the real one: one file, one image, a kubeadm that lists it."""

import json
from pathlib import Path

import pytest

from kubesmith.bundle.layers import Entry, put_layer
from kubesmith.bundle.model import FILE, SBOM, SCHEMA, Component, File, component_data, digest_of
from kubesmith.bundle.oci import Layer, put_image, write_layout
from kubesmith.bundle.recipe import ImageRecipe
from kubesmith.bundle.sbom import sbom
from kubesmith.bundle.store import file_sha256

KUBEADM = "#!/bin/sh\necho kubesmith.internal/pause:3.10\n"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Return the folder of a whole bundle."""
    root = tmp_path / "bundle"
    program = root / "bin" / "kubeadm"
    program.parent.mkdir(parents=True)
    program.write_text(KUBEADM)
    program.chmod(0o755)
    file = File("bin/kubeadm", file_sha256(program), len(KUBEADM), "0755", "kubernetes", "/usr/local/bin/kubeadm")
    blobs = root / "images" / "blobs" / "sha256"
    layer = Layer(put_layer([Entry("pause", content=b"program")], blobs), "pause 3.10")
    recipe = ImageRecipe(name="pause", tag="3.10", set="node", layers=((),))
    image = put_image(recipe, [layer], "amd64", {}, blobs)
    source = {"type": "gomod", "module": "example.org/pause", "version": "v3.10.0", "sum": "h1:x"}
    component = Component("pause", "3.10", "Apache-2.0", source, (file,), (image,))
    write_layout(root / "images", [image], "amd64")
    components = [component_data(component)]
    head = {"schema": SCHEMA, "name": "tiny", "digest": digest_of(components), "arch": "amd64", "kubernetes": "1.37.2"}
    (root / SBOM).write_text(json.dumps(sbom(head, [{"component": components[0]}])))
    (root / FILE).write_text(json.dumps({**head, "components": components}))
    return root
