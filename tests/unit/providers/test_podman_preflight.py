"""What is refused before anything is touched."""

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from kubesmith.errors import InputError
from kubesmith.providers.base import Wanted
from kubesmith.providers.podman.lab import CLUSTER, Container, Lab
from kubesmith.providers.podman.network import Taken
from kubesmith.providers.podman.preflight import free_subnet, ours, same_addresses, same_bundles, same_nodes

LAB = Lab("demo")
WANTED = [Wanted("cp1", "control-plane"), Wanted("w1", "worker")]


def container(node: str, role: str = "worker", bundles: str = "/cache/bundle") -> Container:
    return Container(LAB.container(node), node, role, "10.0.0.1", bundles, "running")


def test_a_lab_with_other_nodes_is_refused_naming_them() -> None:
    with pytest.raises(InputError, match=r"demo is there already, with w9 \(worker\)"):
        same_nodes(LAB, WANTED, [container("w1"), container("w9")])
    with pytest.raises(InputError, match=r"cp1 \(worker\)"):
        same_nodes(LAB, WANTED, [container("cp1")])


def test_a_half_made_lab_goes_on() -> None:
    same_nodes(LAB, WANTED, [container("w1")])


def test_a_bundle_that_nodes_cannot_see_is_refused_naming_both_folders() -> None:
    same_bundles([container("w1")], Path("/cache/bundle"))
    with pytest.raises(InputError, match=r"/cache/bundle, and not those in /elsewhere"):
        same_bundles([container("w1")], Path("/elsewhere"))


@pytest.mark.parametrize(
    ("labels", "whose"), [(None, "no lab"), ({"mine": "yes"}, "no lab"), ({CLUSTER: "demo-two"}, "the lab demo-two")]
)
def test_a_name_that_somebody_else_has_is_refused(labels: dict[str, str] | None, whose: str) -> None:
    with pytest.raises(InputError) as error:
        ours(LAB, "volume", ["kubesmith-demo-w1-etcd"], {"kubesmith-demo-w1-etcd": labels})
    assert whose in str(error.value)
    assert "podman volume rm kubesmith-demo-w1-etcd" in error.value.fix


def test_our_own_names_and_free_names_are_fine() -> None:
    ours(LAB, "container", ["kubesmith-demo-w1", "kubesmith-demo-w2"], {"kubesmith-demo-w1": {CLUSTER: "demo"}})


def test_a_labs_network_stays_what_it_is() -> None:
    subnet, other = IPv4Network("10.201.210.0/24"), IPv4Network("10.201.211.0/24")
    assert free_subnet(LAB, None, subnet, []) == subnet
    free_subnet(LAB, subnet, subnet, [])
    with pytest.raises(InputError, match=r"has the network 10.201.210.0/24; the file asks for 10.201.211.0/24"):
        free_subnet(LAB, other, subnet, [])


def test_a_labs_network_that_came_to_overlap_is_refused() -> None:
    subnet = IPv4Network("10.201.210.0/24")
    with pytest.raises(InputError, match=r"overlaps 10.201.0.0/16 \(the cluster's pods or services\)"):
        free_subnet(LAB, None, subnet, [Taken(IPv4Network("10.201.0.0/16"), "the cluster's pods or services")])


def test_a_node_that_is_there_keeps_its_address() -> None:
    same_addresses([Wanted("w1", "worker", "10.0.0.1"), Wanted("cp1", "control-plane")], [container("w1")])
    with pytest.raises(InputError, match=r"w1 has the address 10.0.0.1; the file asks for 10.0.0.9"):
        same_addresses([Wanted("w1", "worker", "10.0.0.9")], [container("w1")])
