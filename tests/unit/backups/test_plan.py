"""What a restore does, and what it refuses before it touches anything."""

import json

import pytest

from kubesmith.backups import plan
from kubesmith.errors import InputError

CA, OTHER = "a" * 64, "b" * 64
META = {"id": "lab-1", "cluster": "lab", "authority": CA, "kubernetes": "1.37.2", "etcd": "3.7.0"}
ROLES = {"cp1": "control-plane", "cp2": "control-plane", "cp3": "control-plane", "w1": "worker"}


def facts(member="complete", authority=CA, name="", peer="", **more):
    return {"member": member, "authority": authority, "name": name, "peer": peer, "interrupted": False, **more}


def plane(name, **more):
    return facts(name=name, peer=f"https://{name}:2380", **more)


def new():
    return facts(member="absent", authority="")


def test_control_planes_that_are_there_are_restored_in_place():
    found = {"cp1": plane("cp1"), "cp2": plane("cp2"), "cp3": new(), "w1": facts()}
    made = plan.make(found, ROLES, META)
    assert (made.in_place, made.planes, made.workers, made.missing) == (True, ["cp1", "cp2"], ["w1"], ["cp3"])
    assert made.members == {"cp1": "https://cp1:2380", "cp2": "https://cp2:2380"}


def test_without_one_the_cluster_is_built_anew():
    made = plan.make({"cp1": new(), "w1": facts()}, ROLES, META)
    assert (made.in_place, made.workers, made.missing) == (False, ["w1"], ["cp1", "cp2", "cp3"])
    assert not plan.make({}, ROLES, META).in_place
    assert not plan.make({"cp1": facts(member="partial", name="cp1")}, ROLES, META).in_place


@pytest.mark.parametrize("node", ["cp1", "w1"])
def test_nodes_of_another_cluster_are_refused(node):
    found = {"cp1": plane("cp1"), "w1": facts()} | {node: plane(node, authority=OTHER)}
    with pytest.raises(InputError, match=f"of another cluster.*{CA}, and {node} belongs to a cluster with {OTHER}"):
        plan.make(found, ROLES, META)


def test_a_member_without_its_control_plane_is_refused():
    with pytest.raises(InputError, match="cp1 is a member without a control plane"):
        plan.make({"cp1": facts()}, ROLES, META)


@pytest.fixture
def bundle(tmp_path):
    rows = [{"name": name, "version": version} for name, version in (("etcd", "3.7.0"), ("kubernetes", "1.37.2"))]
    (tmp_path / "bundle.json").write_text(json.dumps({"components": rows}))
    return tmp_path


@pytest.mark.parametrize(
    ("meta", "seen", "said"),
    [
        ({"cluster": "prod"}, {}, "is of prod, the cluster file of lab"),
        ({"etcd": "3.8.0"}, {}, "of etcd 3.8.0, which is newer than the bundle's 3.7.0"),
        ({"etcd": "4.0.1"}, {}, "of etcd 4.0.1"),
        ({}, {"storage": "3.8.0"}, "of etcd 3.8.0"),
        ({"kubernetes": "1.38.0"}, {}, "of kubernetes 1.38.0, which is newer"),
        ({"kubernetes": "1.36.3"}, {}, "of Kubernetes 1.36.3, and the cluster file wants 1.37.2"),
    ],
)
def test_a_backup_that_does_not_fit_is_refused(bundle, meta, seen, said):
    with pytest.raises(InputError, match=said):
        plan.fits(META | meta, seen, "lab", "1.37.2", bundle)


def test_one_that_fits_is_taken(bundle):
    plan.fits(META | {"etcd": "3.7.9", "kubernetes": "1.37.1"}, {"storage": "3.7.0"}, "lab", "1.37.2", bundle)


def test_without_a_bundle_nothing_is_restored(tmp_path):
    with pytest.raises(InputError, match="there is no bundle"):
        plan.fits(META, {}, "lab", "1.37.2", tmp_path / "none")
