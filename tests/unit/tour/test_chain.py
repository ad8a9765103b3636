"""Which pod is meant, and whose it is."""

from __future__ import annotations

from typing import Any

import pytest

from kubesmith.commands import inspect
from kubesmith.errors import InputError
from kubesmith.tour import chain
from kubesmith.tour.texts import LANGUAGES, Texts


def pod(namespace: str, name: str) -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name}}


class Fake:
    """An API server with three pods, and what owns one of them."""

    def items(self, path: str) -> list[dict[str, Any]]:
        assert path == "/api/v1/pods"
        return [pod("kube-system", "etcd-cp1"), pod("a", "web"), pod("b", "web")]

    def find(self, path: str) -> dict[str, Any] | None:
        above = {"kind": "Deployment", "name": "web", "uid": "d", "controller": True, "apiVersion": "apps/v1"}
        known = {
            "/apis/apps/v1/namespaces/a/replicasets/web-6d": {
                "metadata": {"name": "web-6d", "namespace": "a", "ownerReferences": [above]}
            },
            "/apis/apps/v1/namespaces/a/deployments/web": {"metadata": {"name": "web", "namespace": "a"}},
        }
        return known.get(path)


def found(wanted: str, namespace: str | None = None) -> str:
    meta = chain.find(Fake(), wanted, namespace, Texts("en"))["metadata"]  # type: ignore[arg-type]
    return f"{meta['namespace']}/{meta['name']}"


def test_a_pod_by_its_name() -> None:
    assert found("etcd-cp1") == "kube-system/etcd-cp1"
    assert found("b/web") == "b/web"
    assert found("web", "a") == "a/web"
    assert found("a/web", "a") == "a/web"


@pytest.mark.parametrize(
    ("wanted", "namespace", "says", "fix"),
    [
        ("web", None, "a/web, b/web", "NAMESPACE/NAME"),
        ("etcd-cp2", None, "no pod etcd-cp2", "did you mean etcd-cp1?"),
        ("web", "c", "no pod web", "get pods"),
        ("a/web", "b", "two namespaces", "leave one"),
        ("a/b/web", None, "is not a pod's name", ""),
        ("", None, "is not a pod's name", ""),
        ("WEB", None, "is not a pod's name", ""),
        ("web; rm -rf /", None, "is not a pod's name", ""),
        ("web", "", "is not a pod's name", ""),
        ("../nodes", None, "is not a pod's name", ""),
    ],
)
def test_a_pod_that_is_not_found(wanted: str, namespace: str | None, says: str, fix: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        found(wanted, namespace)
    assert fix in error.value.fix


def test_owners_from_the_nearest_on() -> None:
    above = {"kind": "ReplicaSet", "name": "web-6d", "uid": "r", "controller": True, "apiVersion": "apps/v1"}
    item = {"metadata": {"name": "web-6d-x", "namespace": "a", "ownerReferences": [above]}}
    rows = chain.owners(Fake(), item)  # type: ignore[arg-type]
    assert [(row["kind"], row["name"]) for row in rows] == [("ReplicaSet", "web-6d"), ("Deployment", "web")]


def made() -> dict[str, Any]:
    process = {
        "pid": 77,
        "inside": "1",
        "command": "/agnhost",
        "parent": 70,
        "parent_command": "shim",
        "cgroup": "/kubepods",
    }
    return {
        "pod": {
            "namespace": "a",
            "name": "web",
            "uid": "u",
            "phase": "Running",
            "ip": "10.244.1.9",
            "host_network": False,
            "node": "w1",
        },
        "owners": [{"kind": "ReplicaSet", "name": "web-6d", "uid": "r"}],
        "services": [{"name": "web", "address": "10.96.7.7", "ready": True}],
        "etcd": {"key": "/registry/pods/a/web", "node": "cp1", "create_revision": 1, "mod_revision": 9, "version": 3},
        "runtime": {
            "containers": [
                {"id": "c" * 64, "kind": "container", "name": "server", "state": "RUNNING", "image": "agnhost:2"}
            ],
            "processes": {"c" * 64: process | {"namespaces": {"net": "net:[4026]"}}},
            "rules": ["table ip kube-proxy · dnat to 10.244.1.9:8080"],
            "layers": {"agnhost:2": [{"digest": f"sha256:{'d' * 64}", "bytes": 10_000_000}]},
            "network": {
                "inside": [{"name": "eth0", "index": 3, "addresses": ["10.244.1.9/32"]}],
                "outside": [{"name": "cali123", "index": 9}],
                "route": ["10.244.1.9 dev cali123 scope link"],
            },
        },
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_part_of_the_chain_is_shown(language: str) -> None:
    rows = list(inspect.rows(made(), Texts(language)))
    text = "\n".join(value for _, value in rows)
    wanted = [
        "ReplicaSet web-6d",
        "10.96.7.7",
        "/registry/pods/a/web",
        "w1",
        "77 (1)",
        "/kubepods",
        "cali123@9",
        "scope link",
    ]
    assert [word for word in [*wanted, "dnat to", "10.0 MB"] if word not in text] == []
    assert inspect.failures(made()) == []


@pytest.mark.parametrize("part", ["processes", "rules", "layers", "network"])
def test_a_part_that_cannot_be_read_is_told_and_ends_with_1(part: str) -> None:
    chain_of = made()
    chain_of["runtime"][part] = {"error": "no such program"}
    assert "no such program" in "\n".join(value for _, value in inspect.rows(chain_of, Texts("en")))
    assert inspect.failures(chain_of) == ["no such program"]


def test_a_node_that_does_not_answer() -> None:
    chain_of = made() | {"runtime": {"error": "w1 cannot be reached"}}
    assert ("runtime", "w1 cannot be reached") in list(inspect.rows(chain_of, Texts("en")))
    assert inspect.failures(chain_of) == ["w1 cannot be reached"]


def test_a_pod_without_a_node() -> None:
    chain_of = made()
    del chain_of["runtime"]
    chain_of["pod"]["node"] = ""
    assert ("node", "none yet") in list(inspect.rows(chain_of, Texts("en")))
