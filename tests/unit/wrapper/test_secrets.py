"""`secrets`: what is wrong with the keys is told in words."""

import pytest
from rich.console import Console

from kubesmith.commands import secrets


def row(*digests, stored=None, in_use=True):
    keys = [{"name": f"key{index + 1}", "digest": digest} for index, digest in enumerate(digests)]
    return {"known": keys, "writer": "secretbox:key1", "newest": "key1", "in_use": in_use, "stored": stored or {}}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ({"cp1": row("a", stored={"secretbox:key1": 4}), "cp2": row("a")}, []),
        ({"cp1": row("a", stored={"plain": 2})}, ["cp1: 2 object(s) in etcd are not encrypted"]),
        ({"cp1": row("a", stored={"secretbox:key9": 1})}, ["cp1: 1 object(s) in etcd are written by secretbox:key9"]),
        ({"cp1": row("a", "b")}, ["cp1: has 2 keys: a rotation was not finished"]),
        ({"cp1": row("a"), "cp2": row("b")}, ["the control planes have different keys"]),
        ({"cp1": row("a", in_use=False)}, ["cp1: the API server was not started with these keys, or is not ready"]),
    ],
)
def test_what_is_wrong(rows, told):
    assert secrets.wrong(rows) == told


def test_the_table_tells_who_wrote_what():
    console = Console(width=160, record=True)
    console.print(secrets.table({"cp1": row("abc", stored={"secretbox:key1": 4, "plain": 1})}))
    text = console.export_text()
    assert "key1 (abc)" in text
    assert "1 by plain, 4 by secretbox:key1" in text
