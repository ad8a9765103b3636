"""etcd's members: whose one is, and whether it may go."""

from __future__ import annotations

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils.etcd import Member, find, quorum, refusal


def member(number: int, name: str = "", *, learner: bool = False) -> Member:
    host = f"10.9.0.1{number}"
    row = {"ID": number, "name": name, "peerURLs": [f"https://{host}:2380"], "isLearner": learner}
    return Member(row | ({"clientURLs": [f"https://{host}:2379"]} if name else {}))


THREE = [member(1, "cp1"), member(2, "cp2"), member(3, "cp3")]


def test_a_quorum_is_more_than_half() -> None:
    assert [quorum(count) for count in (1, 2, 3, 4, 5)] == [1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("members", "healthy", "gone", "reason"),
    [
        (THREE, {1, 2, 3}, 3, ""),
        (THREE, {1, 2}, 3, ""),  # the dead one of three: two are left, and both answer
        (THREE, {1, 2}, 2, "without cp2 etcd has 2 members, of which 1 answer (cp1); 2 are needed"),
        (THREE, {1}, 3, "1 of 3 members of etcd answer (cp1), and 2 are needed to change anything"),
        (THREE[:1], {1}, 1, "cp1 is the only member of etcd, which holds all of the cluster's data"),
        (THREE[:2], {1, 2}, 2, ""),
        (THREE[:2], {1}, 2, "1 of 2 members of etcd answer (cp1), and 2 are needed to change anything"),
        ([*THREE[:1], member(2, learner=True)], {1}, 2, ""),  # it never started, and never had a vote
    ],
)
def test_what_would_lose_the_majority_is_refused(
    members: list[Member], healthy: set[int], gone: int, reason: str
) -> None:
    assert refusal(members, healthy, next(one for one in members if one.number == gone)) == reason


def test_a_member_is_known_by_name_or_by_address() -> None:
    """One that joined and never started has no name yet."""
    members = [*THREE, member(4)]
    assert find(members, "cp2", "") is members[1]
    assert find(members, "cp4", "10.9.0.14") is members[3]
    assert find(members, "cp9", "10.9.0.99") is None
    assert find(members, "cp9", "") is None
