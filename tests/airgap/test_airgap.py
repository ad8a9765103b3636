"""``up`` from one file alone: no cache, no compiler, no server, no way out of the nodes; then a file that is spoilt."""

import socket
import threading

import pytest

from airgap.conftest import BLOCK, NAME


@pytest.fixture
def outside():
    """A server on this machine at an address that is no node's neighbour."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        address = probe.getsockname()[0]
    with socket.create_server((address, 0)) as server:
        threading.Thread(target=lambda: [server.accept() for dummy in range(9)], daemon=True).start()
        yield f"{address}/{server.getsockname()[1]}"


def test_the_nodes_reach_each_other_and_nothing_else(site, outside):
    code, said = site.on("w1", f"timeout 3 bash -c '</dev/tcp/{outside}'")
    assert code != 0, f"{outside} was reached"
    assert "packets 0" not in site.on("w1", "nft list counter inet airgap lost")[1]
    code, said = site.on("w1", f"nft delete table inet airgap && timeout 3 bash -c '</dev/tcp/{outside}'")
    assert site.on("w1", BLOCK)[0] == 0
    assert code == 0, f"{outside} is not reached without the block either, so the block shows nothing: {said}"


def test_up_makes_a_verified_cluster_from_the_file_alone(cluster):
    assert not cluster.called.exists(), cluster.called.read_text()
    nodes = cluster.kubectl("get", "nodes", "--no-headers")
    assert nodes.count(" Ready ") == 2
    assert not list(cluster.cache.glob("store/*"))


def test_a_second_run_changes_nothing(cluster):
    done = cluster.run("plan", "--exit-code")
    assert done.returncode == 0, done.stdout


def spoil(data, how):
    middle = len(data) // 2
    return {
        "a changed byte": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "a changed byte at the end": data[:-3] + bytes([data[-3] ^ 1]) + data[-2:],
        "cut in half": data[:middle],
        "the last byte missing": data[:-1],
        "one byte too many": data + b"\0",
        "empty": b"",
    }[how]


@pytest.mark.parametrize(
    "how",
    [
        "a changed byte",
        "a changed byte at the end",
        "cut in half",
        "the last byte missing",
        "one byte too many",
        "empty",
    ],
)
def test_a_spoilt_file_is_refused_before_a_node_is_touched(site, how):
    file = site.folder / "kubesmith.tar.zst"
    file.unlink()
    file.write_bytes(spoil(site.exported.read_bytes(), how))
    before = site.podman("ps", "--all", "--format", "{{.Names}} {{.ID}} {{.StartedAt}}")
    try:
        done = site.run("up")
    finally:
        file.unlink()
        file.hardlink_to(site.exported)
    assert done.returncode == 2, done.stdout
    assert str(file) in done.stdout
    assert site.podman("ps", "--all", "--format", "{{.Names}} {{.ID}} {{.StartedAt}}") == before
    assert NAME in before[1]
