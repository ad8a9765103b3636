"""Nodes put into a cluster file and taken out of it: what else stands there stays."""

from __future__ import annotations

import pytest
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import load, spec

from kubesmith import cluster_edit
from kubesmith.errors import InputError

COUNTED = """\
# my lab
cluster: {name: lab}  # short
provider: podman
workers: 2  # enough
# the end
"""
LISTED = """\
cluster: {name: m}
nodes:
  # the brain
  - {name: cp1, role: control-plane, address: 192.168.10.11}
  # rack 1
  - name: w1
    address: 192.168.10.21
    labels:
      rack: "1"   # of two
  # rack 2
  -
    name: w2
    address: 192.168.10.22
# groups follow
groups: {}
"""
FLOW = (
    "cluster: {name: a}\nprovider: podman\nnodes: [{name: cp1, role: control-plane}, {name: w1}, {name: w2}]  # all\n"
)


def read(text: str) -> spec.Spec:
    return spec.check(load.parse(text.encode(), "f"), "f")


def more(text: str, *names: str) -> str:
    return cluster_edit.with_nodes(text, read(text), names, "f")


def fewer(text: str, *names: str) -> str:
    return cluster_edit.without_nodes(text, read(text), names, "f")


def test_a_count_is_raised_and_lowered() -> None:
    assert more(COUNTED, "w3") == COUNTED.replace("workers: 2", "workers: 3")
    assert more(COUNTED, "w3", "w4") == COUNTED.replace("workers: 2", "workers: 4")
    assert more(COUNTED, "cp2", "cp3", "w3") == COUNTED.replace("workers: 2", "workers: 3") + "control_planes: 3\n"
    assert fewer(COUNTED, "w2").startswith(COUNTED.replace("workers: 2", "workers: 1"))
    assert more("{cluster: {name: a}, provider: podman, workers: 1}", "cp2", "cp3") == (
        "{cluster: {name: a}, provider: podman, workers: 1, control_planes: 3}"
    )


def test_a_gap_turns_the_count_into_a_list() -> None:
    text = fewer(COUNTED, "w1")
    assert text == COUNTED.replace("workers: 2  # enough\n", "") + (
        "nodes:\n  - {name: cp1, role: control-plane}\n  - {name: w2}\n"
    )
    assert more(text, "w3").endswith("  - {name: w2}\n  - {name: w3}\n")


def test_a_node_goes_out_of_a_list_and_its_lines_with_it() -> None:
    without = fewer(LISTED, "w1")
    assert without == LISTED.replace(LISTED[LISTED.index("  - name: w1") : LISTED.index("  # rack 2")], "")
    assert fewer(LISTED, "w2") == LISTED.replace("  -\n    name: w2\n    address: 192.168.10.22\n", "")
    assert fewer(FLOW, "w1") == FLOW.replace("{name: w1}, ", "")
    assert fewer(FLOW, "w2") == FLOW.replace(", {name: w2}", "")
    assert fewer(FLOW, "w1", "w2") == FLOW.replace(", {name: w1}, {name: w2}", "")


def test_a_node_goes_into_a_list_of_machines_that_a_provider_makes() -> None:
    assert more(FLOW, "w3") == FLOW.replace("{name: w2}]", "{name: w2}, {name: w3}]")
    block = "cluster: {name: a}\nprovider: podman\nnodes:\n- {name: cp1, role: control-plane}\n- name: w1\nlab: true\n"
    assert more(block, "x") == block.replace("- name: w1\n", "- name: w1\n- {name: x}\n")
    assert more(block.removesuffix("lab: true\n").rstrip("\n"), "x").endswith("- name: w1\n- {name: x}\n")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: more(COUNTED, "w4"), "w4 cannot follow: f counts its nodes, and the next ones are cp2 and w3"),
        (lambda: more(COUNTED, "cp2"), "2 control planes make 2 etcd members, an even number"),
        (lambda: more(LISTED, "w3"), "f does not list w3"),
        (lambda: fewer(COUNTED, "cp1"), "there is no control plane"),
        (lambda: more(FLOW, "w_3"), "is not a host name"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_changed(change: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        change()  # type: ignore[operator]
