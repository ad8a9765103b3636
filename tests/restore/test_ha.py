"""Three control planes: back in place, back on new machines, and on with one member after two were lost."""

import time

import pytest

from restore import objects


@pytest.fixture(scope="module")
def lab(build):
    lab = build("restore-ha", control_planes=3, workers=1)
    objects.make(lab)
    return lab


def members(lab):
    keys = (
        "--endpoints=https://127.0.0.1:2379 --cacert=ca.crt --cert=healthcheck-client.crt --key=healthcheck-client.key"
    )
    text = lab.on(
        lab.plane, f"cd /etc/kubernetes/pki/etcd; etcdctl {keys} --endpoints=https://127.0.0.1:2379 member list"
    )
    return {line.split(", ")[2] for line in text.splitlines()}


def lost(before, now):
    return {name: row[0] for name, row in before.items() if now.get(name, ("",))[0] != row[0]}


def test_back_in_place_on_all_three(lab):
    before = objects.told(lab)
    code, answer = lab.json("backup")
    assert code == 0
    objects.kubectl(lab, "-n drill delete configmap kept")
    began = time.monotonic()
    lab.must("restore", answer["backup"]["id"], "--yes")
    print(f"restore in place, 3 control planes: {time.monotonic() - began:.1f} s, checks included", flush=True)
    assert lost(before, objects.told(lab)) == {}
    assert members(lab) == {"cp1", "cp2", "cp3"}
    objects.works(lab)


def test_on_with_one_member_after_two_were_lost(lab):
    objects.kubectl(lab, "-n drill create configmap last --from-literal=a=b")
    before = objects.told(lab)
    assert lab.run("restore", "--from-member", "cp1", "--yes").returncode == 2, "nothing is lost yet"
    objects.lose(lab, "cp2", "cp3")
    began = time.monotonic()
    lab.must("restore", "--from-member", "cp1", "--yes")
    print(f"2 of 3 control planes lost and made anew: {time.monotonic() - began:.1f} s", flush=True)
    assert lost(before, objects.told(lab)) == {}
    assert members(lab) == {"cp1", "cp2", "cp3"}
    objects.works(lab)


def test_back_on_new_machines(lab):
    before, uids = objects.told(lab), objects.pods(lab)
    code, answer = lab.json("backup")
    assert code == 0
    lab.must("destroy", "--yes")
    began = time.monotonic()
    lab.must("restore", answer["backup"]["id"], "--yes")
    print(f"disaster, 3 control planes on new machines: {time.monotonic() - began:.1f} s", flush=True)
    assert lost(before, objects.told(lab)) == {}
    assert objects.pods(lab) == uids
    assert members(lab) == {"cp1", "cp2", "cp3"}
    objects.works(lab)
