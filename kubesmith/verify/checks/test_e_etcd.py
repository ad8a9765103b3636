"""E: is etcd healthy, and closed to strangers?"""

import pytest

GIB = 1024**3


def test_etcd_is_healthy(control_plane, facts):
    """E1: every member of etcd is healthy"""
    assert [member["endpoint"] for member in facts["etcd_health"] if not member["health"]] == []


def test_etcd_has_a_member_on_every_control_plane(control_plane, facts, cluster):
    """E2: each control plane is a full member of etcd, and there is no other"""
    members = facts["etcd_members"]["members"]
    assert sorted(member["name"] for member in members) == sorted(node.name for node in cluster.control_planes)
    assert [member["name"] for member in members if member.get("isLearner")] == []


def test_etcd_agrees_on_a_leader(control_plane, facts):
    """E3: all members follow one leader in one term, and the database is below 2 GiB"""
    states = [member["Status"] for member in facts["etcd_status"]]
    assert len({(state["leader"], state["raftTerm"]) for state in states}) == 1
    assert max(state["dbSize"] for state in states) < 2 * GIB


def test_etcd_raises_no_alarm(control_plane, facts):
    """E4: etcd has no alarm"""
    assert facts["etcd_alarms"].get("alarms", []) == []


def test_secrets_are_encrypted(control_plane, facts):
    """E8: no secret stands in etcd unencrypted, if the inventory wants that"""
    if not control_plane.variables.get("kubeadm_master_features", {}).get("encrypt_secrets"):
        pytest.skip("the inventory does not want it")
    assert facts["plain_secrets"] == []


def test_etcd_refuses_strangers(control_plane, facts):
    """E7: etcd refuses a client without a certificate"""
    assert facts["etcd_without_certificate"] == 0
