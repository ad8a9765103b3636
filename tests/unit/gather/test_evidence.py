"""What a node gathers: bounded, by time, and what the controller accepts of it."""

import base64
import time
import zlib

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.kubesmith.cluster.plugins.action import node_evidence as action
from ansible_collections.kubesmith.cluster.plugins.module_utils import evidence

DUMP = """
version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
      sandbox = 'kubesmith.internal/pause:3.10.2'
[plugins.'io.containerd.cri.v1.runtime'.containerd]
      default_runtime_name = 'runc'
        [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.other.options]
          SystemdCgroup = true
        [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
          runtime_type = 'io.containerd.runc.v2'
          [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
            BinaryName = '/opt/site/runc'
            SystemdCgroup = false
"""


def log(folder, pod, container, number, text):
    file = folder / "var/log/pods" / pod / container / f"{number}.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


class TestLogsOfPods:
    def test_the_last_two_of_each_container_by_number(self, tmp_path):
        for number in (8, 9, 10):
            log(tmp_path, "kube-system_etcd-cp1_abc", "etcd", number, f"2026-11-23T15:00:00Z stderr F {number}\n")
        found = evidence.pod_logs(evidence.Scope(None, False, 9), str(tmp_path))
        assert sorted(found) == ["pods/kube-system_etcd-cp1/etcd-10.log", "pods/kube-system_etcd-cp1/etcd-9.log"]

    def test_only_the_systems_pods_unless_all_is_wanted(self, tmp_path):
        log(tmp_path, "default_app_1", "app", 0, "2026-11-23T15:00:00Z stdout F x\n")
        assert evidence.pod_logs(evidence.Scope(None, False, 9), str(tmp_path)) == {}
        assert list(evidence.pod_logs(evidence.Scope(None, True, 9), str(tmp_path))) == ["pods/default_app/app-0.log"]

    def test_lines_from_before_are_left_out(self):
        text = "2026-11-23T15:00:00.5Z stderr F old\n2026-11-23T17:30:00.5+02:00 stderr F new\n  continued\n"
        start = evidence.line_time("2026-11-23T15:10:00Z x")
        assert evidence.since(text, start).splitlines()[-2:] == [
            "2026-11-23T17:30:00.5+02:00 stderr F new",
            "  continued",
        ]
        assert "old" not in evidence.since(text, start)


class TestBounds:
    def test_a_long_text_keeps_its_first_and_its_last_lines(self):
        text = "".join(f"line {number}\n" for number in range(10_000))
        short = evidence.shortened(text, 3000)
        assert len(short) <= 3000
        assert short.startswith("line 0\n") and short.endswith("line 9999\n") and "bytes left out" in short

    def test_all_texts_together_stay_below_the_bound_and_small_ones_survive(self):
        scope = evidence.Scope(None, False, 9, most=100_000)
        kept = evidence.bounded({"big": "x y\n" * 90_000, "small": "df", "other": "z z\n" * 90_000}, scope)
        assert sum(map(len, kept.values())) <= 100_000
        assert kept["small"] == "df"

    def test_a_large_file_is_read_at_its_ends_only(self, tmp_path):
        file = tmp_path / "0.log"
        file.write_text("".join(f"line {number}\n" for number in range(100_000)))
        text = evidence.ends_of(file, 9000)
        assert len(text) < 9100
        assert text.startswith("line 0\n") and text.endswith("line 99999\n")
        assert all(line.startswith(("line ", "[")) for line in text.splitlines())

    def test_a_part_that_hangs_or_fails_does_not_take_the_others_along(self):
        def hangs(scope):
            time.sleep(2.5)

        def fails(scope):
            raise OSError("no")

        scope = evidence.Scope(None, False, 1)
        done, missing = evidence._together({"a": lambda scope: "text", "b": fails, "c": hangs}, scope)
        assert done == {"a": "text"}
        assert missing == ["b: no", "c: no time left"]


class TestFacts:
    def test_containerds_driver_is_the_default_runtimes(self):
        assert evidence.containerd_driver(DUMP) == "cgroupfs"
        assert evidence.containerd_driver(DUMP.replace("= 'runc'", "= 'other'", 1)) == "systemd"
        assert evidence.containerd_driver("") == ""
        assert evidence.containerd_binary(DUMP) == "/opt/site/runc"

    @pytest.mark.parametrize(
        ("arguments", "driver"),
        [([], "systemd"), (["--cgroup-driver=cgroupfs"], "cgroupfs"), (["--cgroup-driver", "cgroupfs"], "cgroupfs")],
    )
    def test_a_flag_goes_before_the_kubelets_configuration(self, arguments, driver):
        assert evidence.kubelet_driver("kind: KubeletConfiguration\ncgroupDriver: systemd\n", arguments) == driver

    def test_listeners(self):
        text = 'LISTEN 0 5 0.0.0.0:6443 0.0.0.0:* users:(("python3",pid=812,fd=3))\nLISTEN 0 128 [::]:22 [::]:*\n'
        assert evidence.listeners(text) == [
            {"address": "0.0.0.0", "port": 6443, "process": "python3", "pid": 812},
            {"address": "[::]", "port": 22, "process": "", "pid": 0},
        ]


class TestWhatANodeSends:
    def test_comes_back_whole(self):
        answer = {"facts": {"a": 1}, "texts": {"x": "ü" * 1000}, "missing": []}
        assert evidence.unpacked(evidence.packed(answer)) == answer

    def test_a_bomb_is_refused(self):
        bomb = base64.b64encode(zlib.compress(b" " * 50_000_000)).decode()
        with pytest.raises(ValueError, match="larger than"):
            evidence.unpacked(bomb, most=1_000_000)

    @pytest.mark.parametrize("word", ["AAAA", base64.b64encode(zlib.compress(b"{}")).decode()[:-8]])
    def test_damage_is_refused(self, word):
        with pytest.raises(ValueError):
            evidence.unpacked(word)

    @pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "", "a/b/c/d/e", ".ssh/x", "a\0b", "a/\n"])
    def test_a_name_that_leads_elsewhere_is_refused(self, tmp_path, name):
        with pytest.raises(AnsibleActionFail):
            action.write(tmp_path / "host", {name: "x"})
        assert list(tmp_path.rglob("*")) in ([], [tmp_path / "host"])

    def test_files_are_private(self, tmp_path):
        action.write(tmp_path / "host", {"pods/kube-system_etcd-cp1/etcd-0.log": "x"})
        file = tmp_path / "host/pods/kube-system_etcd-cp1/etcd-0.log"
        assert file.stat().st_mode & 0o777 == 0o600

    def test_a_link_is_not_followed(self, tmp_path):
        (tmp_path / "host").mkdir()
        (tmp_path / "host" / "x").symlink_to(tmp_path / "outside")
        with pytest.raises(OSError):
            action.write(tmp_path / "host", {"x": "y"})
        assert not (tmp_path / "outside").exists()
