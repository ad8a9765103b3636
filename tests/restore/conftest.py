"""Labs for restores; their backups and keys go with them."""

import pytest
from lifecycle.lab import Lab


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of the tests' own in the place of ~/.local/share/kubesmith."""
    with pytest.MonkeyPatch.context() as patched:
        folder = tmp_path_factory.mktemp("data")
        patched.setenv("KUBESMITH_DATA", str(folder))
        yield folder


@pytest.fixture(scope="module")
def build(tmp_path_factory, data):
    """Return a function that builds a cluster on a lab of its own; it is removed at the end."""
    labs = []

    def built(name, *, more="", **nodes):
        lab = Lab(tmp_path_factory.mktemp(name), name, **nodes)
        lab.file.write_text(lab.file.read_text() + more)
        lab.plane = "cp1"
        labs.append(lab)
        lab.must("up", "--to", "ready")
        return lab

    yield built
    for lab in labs:
        lab.run("destroy", "--yes")
