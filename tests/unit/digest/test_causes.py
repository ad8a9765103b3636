"""Every known cause is recognised by what really is printed; a healthy start names none; the specific comes first."""

import json
from pathlib import Path

import pytest
import yaml

from kubesmith import causes

HERE = Path(__file__).parent
REPLAY = yaml.safe_load((HERE / "replay.yml").read_text())
FACTS_ONLY = {"kubelet-dropin"}
HEALTHY = sorted((HERE / "data").glob("healthy-*.json"))


def named(texts=None, facts=None, node="cp1"):
    return [row.cause.id for row in causes.find({node: texts or {}}, {node: facts} if facts else {}, [node])]


def listener(port, process):
    return {"address": "0.0.0.0", "port": port, "process": process, "pid": 812}


def test_every_cause_has_a_replay():
    assert {cause.id for cause, _ in causes.known()} - FACTS_ONLY == set(REPLAY)
    assert len(REPLAY) > 25


@pytest.mark.parametrize("name", REPLAY)
def test_a_cause_is_named_first_for_what_it_prints(name):
    found = causes.find({"cp1": REPLAY[name]}, {}, ["cp1"])
    assert [row.cause.id for row in found][:1] == [name]
    assert found[0].seen.strip("…") in "\n".join(REPLAY[name].values())


def test_of_a_long_line_the_part_that_matters_is_shown():
    head = "2026-11-23T16:07:32+0000 cp1 kubelet[16597]: E1123 16:07:32.445372   16597 remote_runtime.go:325] "
    seen = causes.line_at(head + "x " * 300 + "no space left on device" + " y" * 300 + "\nnext", len(head) + 600)
    assert "no space left on device" in seen
    assert len(seen) <= causes.SEEN_LENGTH + 2
    assert causes.line_at("before\n" + head + "short\n", 7 + len(head)) == "short"


def test_every_cause_says_what_to_do():
    for cause, _ in causes.known():
        assert cause.title and cause.why.endswith(".") and cause.fix, cause.id
        assert set(cause.places) <= {*causes.EVERYWHERE, "ssh"}, cause.id


@pytest.mark.parametrize("file", HEALTHY, ids=lambda file: file.stem)
def test_a_healthy_start_names_no_cause(file):
    recorded = json.loads(file.read_text())
    assert causes.find(recorded["texts"], recorded["facts"], list(recorded["texts"])) == []


def test_healthy_starts_were_recorded():
    assert HEALTHY, "record one: tests/faults/README.md"


def test_what_is_general_is_silent_beside_what_is_specific():
    said = REPLAY["cni-missing"]["said"]
    assert named({"said": said}) == ["cni-missing"]
    assert named({"said": said, **REPLAY["pause-image"]}) == ["pause-image"]


def test_what_follows_from_the_cause_stands_behind_it():
    both = {"said": "[ERROR ImagePull]: failed to pull image kubesmith.internal/pause:3.10.2", **REPLAY["disk-full"]}
    full = {"disks": [{"folder": "/var/lib/etcd", "size": 4 << 20, "available": 0, "inodes": 9, "inodes_free": 9}]}
    assert named(both, full)[0] == "disk-full"


def test_a_cause_counts_only_where_it_belongs():
    assert named({"said": "ssh: connect to host 10.0.0.1 port 22: Connection refused"}) == []
    assert named({"journal/kubelet.log": "dial tcp 10.0.0.1:6443: connect: connection refused\n" * 50}) == []


def test_some_lines_of_a_slow_disk_are_usual():
    line = '2026-11-23T15:00:00Z stderr F {"msg":"slow fdatasync","took":"1.2s"}\n'
    assert named({"pods/kube-system_etcd-cp1/etcd-0.log": line * 3}) == []
    assert named({"pods/kube-system_etcd-cp1/etcd-0.log": line * 30}) == ["etcd-slow"]


class TestFacts:
    def test_a_port_with_another_owner(self):
        found = causes.find(
            {}, {"cp1": {"listeners": [listener(6443, "python3")], "control_plane": "partial"}}, ["cp1"]
        )
        assert (found[0].cause.id, found[0].seen) == ("port-api", "python3 (process 812) listens on 0.0.0.0:6443")

    def test_who_holds_a_port_is_told_beside_what_kubeadm_says(self):
        facts = {"listeners": [listener(6443, "python3")], "control_plane": "absent"}
        found = causes.find({"cp1": REPLAY["port-api"]}, {"cp1": facts}, ["cp1"])
        assert len(found) == 1
        assert "Port 6443 is in use; python3 (process 812)" in found[0].seen

    def test_a_port_with_its_own_owner(self):
        rows = [listener(6443, "kube-apiserver"), listener(10257, "kube-controller"), listener(10250, "kubelet")]
        assert named(facts={"listeners": rows}) == []

    def test_a_load_balancer_beside_the_api_server(self):
        assert named(facts={"listeners": [listener(6443, "haproxy"), listener(6443, "kube-apiserver")]}) == []

    @pytest.mark.parametrize(("free", "expected"), [(4, ["disk-full"]), (100, [])])
    def test_room_for_etcds_log(self, free, expected):
        row = {"folder": "/var/lib/etcd", "size": 200 << 20, "available": free << 20, "inodes": 9, "inodes_free": 9}
        assert named(facts={"disks": [row], "control_plane": "partial"}) == expected

    def test_no_inodes(self):
        row = {"folder": "/var/lib/kubelet", "size": 1 << 40, "available": 1 << 39, "inodes": 9, "inodes_free": 0}
        assert named(facts={"disks": [row]}) == ["disk-full"]

    def test_a_file_system_without_inodes_of_its_own(self):
        row = {"folder": "/var/log", "size": 1 << 40, "available": 1 << 39, "inodes": 0, "inodes_free": 0}
        assert named(facts={"disks": [row]}) == []

    def test_a_masked_kubelet(self):
        assert named(facts={"units": {"kubelet": {"LoadState": "masked"}}}) == ["kubelet-unit"]

    def test_a_foreign_drop_in_of_a_kubelet_that_ends(self):
        unit = {
            "LoadState": "loaded",
            "ActiveState": "activating",
            "ExecMainStatus": "1",
            "DropInPaths": "/usr/local/lib/systemd/system/kubelet.service.d/10-kubeadm.conf /etc/x/99-local.conf",
        }
        assert named(facts={"units": {"kubelet": unit}}) == ["kubelet-dropin"]
        assert named(facts={"units": {"kubelet": {**unit, "ActiveState": "active"}}}) == []
        assert named(REPLAY["kubelet-config"], {"units": {"kubelet": unit}}) == ["kubelet-config"]

    @pytest.mark.parametrize(("node", "expected"), [(100.0, []), (400.0, ["clock"]), (-300.0, ["clock"])])
    def test_a_clock_that_differs(self, node, expected):
        assert named(facts={"time": 1000.0 + node, "asked": 1000.0, "answered": 1120.0}) == expected

    def test_an_expired_certificate(self):
        row = {"path": "/etc/kubernetes/pki/ca.crt", "from": "2025-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}
        assert named(facts={"utc": "2026-11-23T00:00:00Z", "certificates": [row]}) == ["clock"]
        assert named(facts={"utc": "2025-11-23T00:00:00Z", "certificates": [row]}) == []

    def test_different_cgroup_drivers_say_so_when_nothing_else_does(self):
        facts = {"drivers": {"kubelet": "systemd", "containerd": "cgroupfs", "runc": ""}}
        assert named(facts=facts) == ["cgroup-driver"]
        assert named(REPLAY["disk-full"], facts)[0] == "disk-full"

    def test_a_sandbox_image_that_is_not_there(self):
        image = {"name": "registry.k8s.io/pause:3.10", "present": False}
        assert named(facts={"sandbox_image": image, "member": "partial"}) == ["pause-image"]
        assert named(facts={"sandbox_image": image, "member": "absent"}) == []
        assert named(facts={"sandbox_image": {**image, "present": None}, "member": "partial"}) == []


def test_the_page_on_troubleshooting_lists_every_cause():
    page = (HERE.parents[2] / "docs" / "troubleshooting.md").read_text()
    missing = [cause.id for cause, _ in causes.known() if f"| {cause.title} | {cause.why} |" not in page]
    assert missing == [], "python docs/causes_table.py"
