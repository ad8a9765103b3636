"""What virtual machines are to be, and what Vagrant's words mean."""

from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.load import parse
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.problems import SpecError
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import Spec, check

from kubesmith.errors import InputError
from kubesmith.providers.podman.network import Taken
from kubesmith.providers.vagrant import design
from kubesmith.providers.vagrant.design import Design, Host
from kubesmith.providers.vagrant.tool import Vagrant, entries

HOST = Host("amd64", 16000, ("libvirt",), kvm=True, boxes=(), taken=())
FILE = Path("cluster.yml")


def spec(more: str = "workers: 2") -> Spec:
    return check(parse(f"cluster: {{name: v}}\nprovider: vagrant\n{more}\n".encode(), "f"), "f")


def made(text: str = "workers: 2", host: Host = HOST, earlier: Design | None = None, there: bool = False) -> Design:
    return design.make(spec(text), FILE, host, earlier, made=there)


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBESMITH_BOX", "KUBESMITH_DRIVER", "VAGRANT_DEFAULT_PROVIDER"):
        monkeypatch.delenv(name, raising=False)


def test_machines_are_named_and_numbered_as_in_the_lecture() -> None:
    guests = made("workers: 3").guests
    assert [guest.name for guest in guests] == ["m-k8s", "w1-k8s", "w2-k8s", "w3-k8s"]
    assert [guest.address.rpartition(".")[2] for guest in guests] == ["10", "101", "102", "103"]


def test_a_taken_subnet_is_passed_over_and_a_made_one_stays() -> None:
    busy = replace(HOST, taken=(Taken(IPv4Network("192.168.56.0/24"), "a LAN"),))
    assert made().subnet == "192.168.56.0/24"
    assert made(host=busy).subnet == "192.168.57.0/24"
    assert made(host=busy, earlier=made(), there=True).subnet == "192.168.56.0/24"  # the route is its own
    assert made(earlier=made(host=busy)).subnet == "192.168.57.0/24"  # remembered, though the first is free again


def test_a_wanted_subnet_that_is_taken_is_refused_by_name() -> None:
    busy = replace(HOST, taken=(Taken(IPv4Network("192.168.0.0/16"), "a route of this machine, eth0"),))
    with pytest.raises(InputError, match="eth0"):
        made("workers: 1\nnetwork: {nodes: 192.168.60.0/24}", busy)
    with pytest.raises(InputError, match="none of the subnets"):
        made(host=busy)


def test_machines_do_not_move_to_another_network() -> None:
    with pytest.raises(InputError, match=r"are in 192\.168\.56\.0/24.*192\.168\.60\.0/24"):
        made("workers: 1\nnetwork: {nodes: 192.168.60.0/24}", earlier=made(), there=True)
    assert made("workers: 1\nnetwork: {nodes: 192.168.60.0/24}", earlier=made()).subnet == "192.168.60.0/24"


def test_listed_addresses_are_kept_and_must_lie_in_the_network() -> None:
    nodes = "nodes: [{name: a, role: control-plane, address: 192.168.56.5}, {name: b}]"
    assert [guest.address for guest in made(nodes).guests] == ["192.168.56.5", "192.168.56.101"]
    with pytest.raises(SpecError, match=r"192\.168\.57\.0/24"):
        made(nodes + "\nnetwork: {nodes: 192.168.57.0/24}")
    with pytest.raises(InputError, match="this machine's"):
        made("nodes: [{name: a, role: control-plane, address: 192.168.56.1}, {name: b}]")


def test_addresses_stay_when_workers_come_and_go() -> None:
    before = made("workers: 3")
    kept = {guest.name: guest.address for guest in made("workers: 2", earlier=before, there=True).guests}
    assert kept.items() <= {guest.name: guest.address for guest in before.guests}.items()


@pytest.mark.parametrize(("memory", "wanted"), [(7800, (2048, 1536)), (15900, (3072, 2560)), (64000, (4096, 4096))])
def test_memory_follows_the_host(memory: int, wanted: tuple[int, int]) -> None:
    guests = made(host=replace(HOST, memory=memory)).guests
    assert (guests[0].memory, guests[1].memory) == wanted
    assert memory < 10000 or sum(guest.memory for guest in guests) < memory
    assert sum(guest.memory for guest in made("workers: 2", replace(HOST, memory=memory)).guests) < memory


def test_a_machine_that_is_too_small_is_refused() -> None:
    with pytest.raises(SpecError, match="1024 is less than 1800"):
        spec("workers: 1\nvagrant: {control_plane_memory: 1024}")
    with pytest.raises(SpecError, match="1 is less than 2"):
        spec("workers: 1\nvagrant: {cpus: 1}")


def test_without_kvm_the_processor_is_emulated() -> None:
    assert not made().emulated
    assert made(host=replace(HOST, kvm=False)).emulated
    assert not made(host=replace(HOST, kvm=False, hypervisors=("virtualbox",))).emulated


def test_the_box_suits_hypervisor_and_processor() -> None:
    assert made().box == "debian/bookworm64"
    own = replace(HOST, boxes=("kubesmith/debian-12",))
    assert made(host=own).box == "kubesmith/debian-12"
    assert made(host=replace(own, hypervisors=("virtualbox",))).box == "debian/bookworm64"
    assert made(host=replace(HOST, architecture="arm64", hypervisors=("virtualbox",))).box == "bento/debian-12"
    assert made("workers: 1\nvagrant: {box: my/box}").box == "my/box"
    with pytest.raises(InputError, match="riscv64"):
        made(host=replace(HOST, architecture="riscv64"))


def test_the_design_is_remembered(tmp_path: Path) -> None:
    wanted = made()
    design.save(tmp_path, wanted)
    assert design.load(tmp_path) == wanted
    assert design.load(tmp_path / "none") is None


def test_ssh_config_is_read() -> None:
    text = 'Host m-k8s\n  HostName 192.168.121.5\n  Port 22\n  IdentityFile "/a b/key"\n\nHost w1\n  HostName h\n'
    assert entries(text) == {
        "m-k8s": {"HostName": "192.168.121.5", "Port": "22", "IdentityFile": "/a b/key"},
        "w1": {"HostName": "h"},
    }


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("The box 'x/y' could not be found or\ncould not be accessed in the remote catalog.", "box"),
        ("Error while connecting to Libvirt: Call to virConnectOpen failed: Failed to connect socket", "libvirt"),
        ("The provider 'virtualbox' that was requested to back the machine\n'm' is reporting that", "virtualbox"),
        ("Call to virDomainCreateWithFlags failed: cannot set up guest memory: Cannot allocate memory", "memory"),
        ("Timed out while waiting for the machine to boot.", "boot"),
    ],
)
def test_vagrants_failures_are_one_sentence(tmp_path: Path, said: str, meaning: str) -> None:
    vagrant = Vagrant(tmp_path / "d", tmp_path, tmp_path / "log", "x/y", "virtualbox")
    error = vagrant._failure(["up"], said.splitlines())
    assert meaning in str(error)
    assert "\n" not in str(error)
    assert isinstance(error, InputError)


def test_an_unknown_failure_shows_vagrants_last_words(tmp_path: Path) -> None:
    error = Vagrant(tmp_path / "d", tmp_path, tmp_path / "log")._failure(["up"], ["one", "two", ""])
    assert "two" in str(error)
    assert error.exit_code == 1
