"""What an editor makes of the published schema."""

from __future__ import annotations

from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import load, spec

ROOT = Path(__file__).parents[3]
SHIPPED = sorted([*ROOT.glob("inventories/*/cluster.yml"), *ROOT.glob("molecule/*/cluster.yml")])
VALIDATOR = jsonschema.Draft202012Validator(spec.schema())


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(spec.schema())


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: f"{file.parent.parent.name}-{file.parent.name}")
def test_the_files_we_ship_are_right(file: Path) -> None:
    VALIDATOR.validate(yaml.safe_load(file.read_text()))


RIGHT = (
    "cluster: {name: a, kubernetes: 1.37}\nprovider: podman\n",
    "cluster: {name: a}\nprovider: podman\n"
    "network: {pods: [10.1.0.0/16, 'fd00:1::/56'], services: '10.2.0.0/16,fd00:2::/112'}\n",
    "cluster: {name: a}\nnodes: [{name: c, role: control-plane, address: 10.3.0.1, taints: ['a=b:NoSchedule']}]\n"
    "kubeadm: {patches: {etcd+json: [{op: add, path: /a}], kubeletconfiguration: {maxPods: 3}}}\n",
)


@pytest.mark.parametrize("text", RIGHT)
def test_what_we_read_an_editor_takes_too(text: str) -> None:
    assert spec.check(load.parse(text.encode(), "f"), "f")
    VALIDATOR.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("clustr: {name: a}\n", []),
        ("cluster: {name: a, kubernets: 1}\n", ["cluster"]),
        ("cluster: {name: a}\nprovider: podmann\n", ["provider"]),
        ("cluster: {name: a}\nworkers: many\n", ["workers"]),
        ("cluster: {name: a}\nnodes: [{name: c, port: 70000}]\n", ["nodes", 0, "port"]),
        ("cluster: {name: a}\nnetwork: {calico: {mtu: big}}\n", ["network", "calico", "mtu"]),
        ("cluster: {name: A_}\n", ["cluster", "name"]),
        ("cluster: {name: a}\nnodes: [{name: c, address: 10.0.0.300}]\n", ["nodes", 0, "address"]),
        ("cluster: {name: a}\nnodes: [{name: c, address: 10.0.0}]\n", ["nodes", 0, "address"]),
        ("cluster: {name: a}\nnetwork: {nodes: 10.0.0.0}\n", ["network", "nodes"]),
        ("cluster: {name: a}\naccess: {user: A B}\n", ["access", "user"]),
        ("cluster: {name: a}\ngroups: {GPU: {}}\n", ["groups"]),
        ("cluster: {name: a}\ngroups: {gpu: {taints: [a]}}\n", ["groups", "gpu", "taints", 0]),
    ],
)
def test_an_editor_underlines_what_we_refuse(text: str, where: list[str | int]) -> None:
    paths = [list(error.absolute_path) for error in VALIDATOR.iter_errors(yaml.safe_load(text))]
    assert where in paths
