"""Which subnet a lab takes, and which address a node gets."""

from ipaddress import IPv4Network

import pytest

from kubesmith.errors import InputError
from kubesmith.providers.base import Wanted
from kubesmith.providers.podman.network import CANDIDATES, Taken, assign, choose, routes

NODES = [Wanted("cp1", "control-plane"), Wanted("cp2", "control-plane"), Wanted("w1", "worker"), Wanted("w2", "worker")]
SUBNET = IPv4Network("10.201.210.0/24")


def taken(*subnets: str) -> list[Taken]:
    return [Taken(IPv4Network(subnet), "a test") for subnet in subnets]


def test_the_first_free_candidate_is_taken() -> None:
    assert choose([]) == CANDIDATES[0]
    assert choose(taken("10.201.210.0/24", "10.201.211.128/25")) == CANDIDATES[2]


def test_a_wide_route_moves_the_lab_to_another_range() -> None:
    assert choose(taken("10.0.0.0/8")) == IPv4Network("172.28.210.0/24")
    assert choose(taken("10.0.0.0/8", "172.16.0.0/12")) == IPv4Network("192.168.210.0/24")


def test_no_free_candidate_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(InputError) as error:
        choose(taken("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
    assert "network.nodes" in error.value.fix


def test_a_wanted_subnet_that_overlaps_is_refused_naming_both() -> None:
    with pytest.raises(InputError) as error:
        choose([Taken(IPv4Network("10.50.0.0/16"), "a route of this machine, eth0")], IPv4Network("10.50.3.0/24"))
    assert "10.50.3.0/24 overlaps 10.50.0.0/16 (a route of this machine, eth0)" in str(error.value)
    assert choose(taken("10.51.0.0/16"), IPv4Network("10.50.3.0/24")) == IPv4Network("10.50.3.0/24")


def test_routes_claim_their_ranges_but_default_routes_do_not() -> None:
    table = [
        {"dst": "default", "dev": "eth0"},
        {"dst": "0.0.0.0/1", "dev": "tun0"},  # how a VPN takes everything
        {"dst": "192.0.2.0/24", "dev": "eth0"},
        {"dst": "192.0.2.2", "dev": "eth0"},
        {"dst": "10.8.0.0/16", "type": "blackhole"},
    ]
    claimed = {str(route.subnet): route.owner for route in routes(table)}
    assert set(claimed) == {"192.0.2.0/24", "192.0.2.2/32", "10.8.0.0/16"}
    assert "eth0" in claimed["192.0.2.0/24"]


def test_each_role_has_its_part_of_the_subnet() -> None:
    addresses = assign(NODES, SUBNET, {})
    assert addresses == {
        "cp1": "10.201.210.11",
        "cp2": "10.201.210.12",
        "w1": "10.201.210.51",
        "w2": "10.201.210.52",
    }


def test_a_node_keeps_its_address_when_others_come_and_go() -> None:
    kept = assign(NODES, SUBNET, {})
    assert assign([NODES[0], NODES[3]], SUBNET, kept) == {"cp1": kept["cp1"], "w2": kept["w2"]}
    grown = assign([NODES[0], NODES[3], Wanted("w3", "worker")], SUBNET, {"cp1": kept["cp1"], "w2": kept["w2"]})
    assert grown["w2"] == kept["w2"]
    assert grown["w3"] == "10.201.210.51"


def test_an_address_of_another_subnet_is_not_kept() -> None:
    assert assign([NODES[2]], SUBNET, {"w1": "10.9.9.51"}) == {"w1": "10.201.210.51"}


def test_a_subnet_without_room_is_an_error_that_names_the_node() -> None:
    with pytest.raises(InputError, match="for w1"):
        assign(NODES, IPv4Network("10.201.210.0/27"), {})


def test_an_address_that_the_file_says_is_given() -> None:
    said = Wanted("w1", "worker", "10.201.210.7")
    assert assign([NODES[0], said], SUBNET, {"cp1": "10.201.210.7", "w1": "10.201.210.51"}) == {
        "cp1": "10.201.210.11",
        "w1": "10.201.210.7",
    }


@pytest.mark.parametrize("address", ["10.201.211.7", "10.201.210.0", "10.201.210.1", "10.201.210.255"])
def test_an_address_that_cannot_be_in_the_subnet_is_refused(address: str) -> None:
    with pytest.raises(InputError, match=rf"w1 has the address {address}; it must lie in 10.201.210.0/24"):
        assign([Wanted("w1", "worker", address)], SUBNET, {})
