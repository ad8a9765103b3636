"""Which member of etcd may go on alone, and when none has to."""

import pytest

from kubesmith.commands import quorum
from kubesmith.errors import InputError

PLANES = ["cp1", "cp2", "cp3"]


def facts(name, revision=0, **more):
    return {
        "name": name,
        "authority": "a",
        "leader": False,
        "interrupted": False,
        "etcd": {"revision": revision},
        **more,
    }


def test_the_survivor_goes_on_and_others_that_are_left_join_anew():
    found = {"cp1": facts("cp1", 9), "cp3": facts("cp3", 9)}
    assert quorum.judge(found, "cp1", PLANES) == ["cp3"]
    assert quorum.judge({"cp1": facts("cp1") | {"etcd": {}}}, "cp1", PLANES) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"cp1": facts("cp1"), "cp2": facts("cp2", leader=True)}, "etcd has its majority: cp2 answer"),
        ({"cp1": facts("cp1", leader=True)}, "nothing is lost"),
        ({"cp2": facts("cp2")}, "cp1 does not answer"),
        ({"cp1": facts("")}, "cp1 has no member of etcd"),
        ({"cp1": facts("cp1", 7), "cp2": facts("cp2", 9)}, "cp2 knows more than cp1: revision 9, not 7"),
    ],
)
def test_what_would_lose_something_is_refused(found, said):
    with pytest.raises(InputError, match=said):
        quorum.judge(found, "cp1", PLANES)


def test_an_interrupted_recovery_goes_on():
    assert quorum.judge({"cp1": facts("cp1", leader=True, interrupted=True)}, "cp1", PLANES) == []
