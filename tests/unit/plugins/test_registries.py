"""Registries as files of containerd, which are TOML."""

import tomllib

import pytest
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.registries import folder, hosts_files, server


def parsed(*registries):
    return {file["path"]: file["content"] for file in hosts_files(registries)}


def test_mirrors_come_in_order_before_the_registry():
    mirrors = [
        {"url": "https://one.example", "skip_verify": True, "header": {"x-key": 'say "hi"'}},
        {"url": "http://two.example:5000", "capabilities": ["pull"], "ca": "/etc/ssl/two.pem"},
    ]
    (content,) = parsed({"upstream": "docker.io", "mirrors": mirrors}).values()
    found = tomllib.loads(content)
    assert found["server"] == "https://registry-1.docker.io"
    assert list(found["host"]) == ["https://one.example", "http://two.example:5000"]
    one, two = found["host"].values()
    assert one == {"capabilities": ["pull", "resolve"], "skip_verify": True, "header": {"x-key": 'say "hi"'}}
    assert two == {"capabilities": ["pull"], "ca": "/etc/ssl/two.pem"}


def test_a_ca_given_as_text_becomes_a_file():
    ca = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    files = parsed({"upstream": "quay.io", "mirrors": [{"url": "https://m", "ca": ca}]})
    path = "/etc/containerd/certs.d/quay.io/ca-0.crt"
    assert files[path].endswith(ca)
    hosts = tomllib.loads(files["/etc/containerd/certs.d/quay.io/hosts.toml"])
    assert hosts["host"]["https://m"]["ca"] == path


@pytest.mark.parametrize(
    ("upstream", "where", "address"),
    [
        ("quay.io", "quay.io", "https://quay.io"),
        ("reg.example:5000", "reg.example_5000_", "https://reg.example:5000"),
        ("_default", "_default", ""),
    ],
)
def test_upstreams(upstream, where, address):
    assert folder(upstream) == f"/etc/containerd/certs.d/{where}"
    assert server(upstream) == address


def test_the_default_has_no_server_of_its_own():
    (content,) = parsed({"upstream": "_default", "mirrors": [{"url": "https://m"}]}).values()
    assert "server" not in tomllib.loads(content)


def test_every_file_says_whose_it_is():
    assert all("Managed by kubesmith" in content for content in parsed({"upstream": "a.io"}).values())
