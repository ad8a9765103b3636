"""The role containerd alone, seen from each node."""

from __future__ import annotations

import json
from typing import Any

testinfra_hosts = ["ansible://all"]
IMAGES = ["kubesmith.internal/agnhost", "kubesmith.internal/pause"]


def test_containerd_runs_and_will_after_a_boot(host: Any) -> None:
    assert host.service("containerd").is_running
    assert host.service("containerd").is_enabled


def test_a_container_runs(host: Any) -> None:
    """A container of a bundle's image starts, says something and is gone."""
    image = next(name for name in images(host) if "agnhost" in name)
    done = host.run(f"ctr -n k8s.io run --rm {image} molecule-probe /agnhost --version")
    assert done.rc == 0, done.stderr
    assert done.stdout.startswith("app version")
    assert "molecule-probe" not in host.check_output("ctr -n k8s.io containers list -q")


def test_the_node_has_the_wanted_images_and_no_other(host: Any) -> None:
    assert sorted({name.rpartition(":")[0] for name in images(host)}) == IMAGES


def test_a_pods_sandbox_uses_an_image_that_is_there(host: Any) -> None:
    assert sandbox_image(host) in images(host)


def test_containerd_counts_by_systemds_slices(host: Any) -> None:
    """A container's processes are where the kubelet will look for them."""
    options = config(host, "SystemdCgroup")
    assert options == "true"


def test_a_registry_is_asked_by_way_of_its_mirror(host: Any) -> None:
    """A server at the mirror's address sees the request for an image of the upstream registry."""
    server = "import http.server as s; s.HTTPServer(('127.0.0.1', 5999), s.SimpleHTTPRequestHandler).handle_request()"
    pull = "ctr images pull --hosts-dir /etc/containerd/certs.d registry.example.org/some/image:1"
    done = host.run(f'timeout 20 python3 -c "{server}" 2>/tmp/asked & sleep 1; timeout 15 {pull}; wait; cat /tmp/asked')
    assert "/v2/some/image/manifests/1?ns=registry.example.org" in done.stdout


def test_containers_outlive_containerd(host: Any) -> None:
    """Killed, it comes back by itself, and what ran under it runs on."""
    image = next(name for name in images(host) if "agnhost" in name)
    try:
        assert host.run(f"ctr -n k8s.io run -d {image} molecule-outlives /agnhost pause").rc == 0
        before = task(host)
        host.run_expect([0], "systemctl kill --signal=KILL --kill-whom=main containerd")
        host.run_expect([0], "timeout 60 sh -c 'until ctr version >/dev/null 2>&1; do sleep 0.5; done'")
        assert task(host) == before
    finally:
        host.run("ctr -n k8s.io tasks kill -s KILL molecule-outlives; sleep 1")
        host.run("ctr -n k8s.io tasks delete molecule-outlives; ctr -n k8s.io containers delete molecule-outlives")


def test_a_worker_got_its_files_over_ssh(host: Any) -> None:
    """It has no bundle of its own, and nothing of the transfer is left."""
    if "kube_node" not in host.ansible.get_variables()["group_names"]:
        assert host.file("/var/lib/kubesmith/bundle/bundle.json").exists
        return
    assert not host.file("/var/lib/kubesmith/bundle/bundle.json").exists
    assert not host.file("/var/lib/kubesmith/incoming").exists or not host.file("/var/lib/kubesmith/incoming").listdir()


def images(host: Any) -> list[str]:
    names: list[str] = host.check_output("ctr -n k8s.io images list -q").split()
    return [name for name in names if not name.startswith("sha256:") and "@" not in name]


def task(host: Any) -> str:
    rows = host.check_output("ctr -n k8s.io tasks list").splitlines()
    return next(row for row in rows if row.startswith("molecule-outlives"))


def sandbox_image(host: Any) -> str:
    return json.loads(config(host, "sandbox").replace("'", '"'))


def config(host: Any, key: str) -> str:
    """Return a value of the configuration that containerd works with."""
    rows = [row.strip() for row in host.check_output("containerd config dump").splitlines()]
    return next(row.partition("=")[2].strip() for row in rows if row.partition("=")[0].strip() == key)
