"""Registries as files of containerd, which are TOML."""

import tomllib

import pytest
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.registries import (
    folder,
    hosts_files,
    proxy_files,
    server,
)


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


LOGIN = {"username": "puller", "password": "s3cret-word"}
HEADER = "Basic cHVsbGVyOnMzY3JldC13b3Jk"


def test_a_login_goes_to_its_own_host_only_in_a_file_that_others_cannot_read():
    mirrors = [{"url": "https://one", "auth": LOGIN}, {"url": "https://two"}]
    (file,) = hosts_files([{"upstream": "quay.io", "mirrors": mirrors}])
    assert file["mode"] == "0600"
    hosts = tomllib.loads(file["content"])["host"]
    assert hosts["https://one"]["header"] == {"Authorization": HEADER}
    assert "header" not in hosts["https://two"]
    assert list(hosts) == ["https://one", "https://two"]


def test_a_login_at_the_registry_itself_comes_after_its_mirrors():
    (file,) = hosts_files([{"upstream": "reg:5000", "mirrors": [{"url": "https://m"}], "auth": LOGIN, "ca": "/ca.pem"}])
    hosts = tomllib.loads(file["content"])["host"]
    assert list(hosts) == ["https://m", "https://reg:5000"]
    itself = {"capabilities": ["pull", "resolve"], "ca": "/ca.pem", "header": {"Authorization": HEADER}}
    assert hosts["https://reg:5000"] == itself


def test_without_a_login_everybody_may_read():
    (file,) = hosts_files([{"upstream": "quay.io", "mirrors": [{"url": "https://m"}]}])
    assert file["mode"] == "0644"


def test_a_proxy_is_an_environment_file_and_a_drop_in():
    environment, unit = proxy_files({"https": "http://p:3128", "no_proxy": ["10.0.0.0/8", ".svc"]})
    assert environment["content"].splitlines()[1:] == ["HTTPS_PROXY=http://p:3128", "NO_PROXY=10.0.0.0/8,.svc"]
    assert environment["path"] in unit["content"]


def test_no_proxy_leaves_an_empty_file_so_that_containerd_is_restarted_without_it():
    (environment,) = proxy_files({})
    assert "PROXY" not in environment["content"].upper()


def test_a_login_at_the_proxy_is_escaped_and_private():
    environment, _unit = proxy_files({"http": "http://p:3128", "auth": {"username": "u", "password": "a@b/c"}})
    assert "HTTP_PROXY=http://u:a%40b%2Fc@p:3128" in environment["content"]
    assert environment["mode"] == "0600"
