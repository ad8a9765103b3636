"""One lab for all tests of the tours."""

import pytest
from lifecycle.lab import made

AUDITED = "features: {audit_log: true}\n"


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    for lab in made(tmp_path_factory.mktemp("tours"), "test-tours"):
        lab.file.write_text(lab.file.read_text() + AUDITED)
        lab.must("up", "--only", "converge")
        lab.must("verify", "--wait")
        yield lab
