"""Stages of new CAs: what is left to do, and the way back."""

import pytest

from kubesmith import cli
from kubesmith.commands import rotate
from kubesmith.errors import InputError


@pytest.mark.parametrize(
    ("now", "to", "steps"),
    [
        ("none", "drop", [("trust", False), ("issue", True), ("drop", False)]),
        ("none", "trust", [("trust", False)]),
        ("trust", "drop", [("issue", True), ("drop", False)]),
        ("issue", "issue", []),
        ("issue", "drop", [("drop", False)]),
        ("drop", "drop", [("drop", False)]),
    ],
)
def test_what_is_left(now, to, steps):
    assert rotate.ahead(now, to) == steps


def test_the_way_back():
    assert rotate.back("trust") == [("back", False)]
    assert rotate.back("issue") == [("trust", True), ("back", False)]
    for now in ("none", "drop"):
        with pytest.raises(InputError, match="there is no rotation to undo"):
            rotate.back(now)


@pytest.mark.parametrize("words", [["certs", "--rollback"], ["certs", "renew", "--to", "trust"]])
def test_a_stage_belongs_to_rotate(words):
    with pytest.raises(InputError, match="say nothing to certs"):
        cli._certs(None, cli.arguments(words))
