"""What the module node_preflight reads from files and listings as they are on machines; that it leaves nothing."""

import base64
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import survey, survey_network, survey_traces
from ansible_collections.kubesmith.cluster.plugins.modules import node_preflight

ROOT = Path(__file__).resolve().parents[3]


def put(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


class TestSwap:
    def test_only_units_that_swap_at_boot_are_told(self):
        listing = (
            "dev-zram0.swap                enabled  enabled\n"
            "swapfile.swap                 generated -\n"
            "dev-sda2.swap                 masked   enabled\n"
            "zramswap.service              enabled  enabled\n"
            "zram-config.service           disabled enabled\n"
            "systemd-zram-setup@.service   static   -\n"
        )
        assert survey.swap_units(listing) == ["dev-zram0.swap", "zramswap.service"]

    def test_fstab_and_the_generator_of_zram(self, tmp_path):
        put(tmp_path, "etc/fstab", "# swap none swap sw\nUUID=1 / ext4 defaults 0 1\n/swapfile none swap sw 0 0\n")
        put(tmp_path, "etc/systemd/zram-generator.conf", "[zram0]\n")
        put(tmp_path, "proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/dev/zram0 partition 1 0 100\n")
        seen = survey.swap(str(tmp_path))
        assert (seen["active"], seen["fstab"]) == (["/dev/zram0"], ["/swapfile none swap sw 0 0"])
        assert "/etc/systemd/zram-generator.conf" in seen["units"]


class TestSysctls:
    def test_the_last_file_by_name_wins_and_a_folder_hides_equal_names(self, tmp_path):
        put(tmp_path, "usr/lib/sysctl.d/50-default.conf", "net.ipv4.ip_forward = 1\n")
        put(tmp_path, "usr/lib/sysctl.d/60-x.conf", "net.ipv4.ip_forward = 0\n")
        put(tmp_path, "etc/sysctl.d/60-x.conf", "# empty on purpose\n")
        put(tmp_path, "etc/sysctl.d/99-cis.conf", "; hardening\n-net/ipv4/ip_forward=0\nkernel.kptr_restrict = 2\n")
        at_boot = survey.sysctls(str(tmp_path))["at_boot"]
        assert at_boot == {"net.ipv4.ip_forward": ["/etc/sysctl.d/99-cis.conf", "0"]}


class TestDisk:
    def test_a_folder_that_is_not_there_yet_lies_where_its_parent_does(self, tmp_path):
        seen = survey.disks([str(tmp_path / "a" / "b"), str(tmp_path)])
        first, second = seen.values()
        assert first == second
        assert 0 < first["free"] <= first["size"]

    def test_the_measure_leaves_no_file(self, tmp_path):
        before = tmp_path.stat().st_mtime_ns
        assert survey.fsync_ms(str(tmp_path / "etcd")) > 0
        assert list(tmp_path.iterdir()) == []
        assert tmp_path.stat().st_mtime_ns == before, "a file had a name for a moment"

    def test_where_files_need_a_name_it_is_gone_before_anything_is_written(self, tmp_path, monkeypatch):
        real = os.open

        def no_nameless(path, flags, *rest, **more):
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(95, "not supported")
            return real(path, flags, *rest, **more)

        monkeypatch.setattr(os, "open", no_nameless)
        assert survey.fsync_ms(str(tmp_path)) > 0
        assert list(tmp_path.iterdir()) == []

    def test_percentile_is_a_time_that_was_measured(self):
        assert survey.percentile([*range(1, 101)], 99) == 99
        assert survey.percentile([5.0, 1.0], 99) == 5.0
        assert survey.percentile([], 99) is None


class TestKernel:
    def test_modules_are_found_loaded_built_in_and_on_disk(self, tmp_path):
        folder = f"lib/modules/{os.uname().release}"
        (tmp_path / "sys/module/overlay").mkdir(parents=True)
        put(tmp_path, f"{folder}/modules.builtin", "kernel/net/netfilter/nf_tables.ko\n")
        put(tmp_path, f"{folder}/modules.dep", "kernel/net/bridge/br-netfilter.ko.xz: kernel/net/bridge/bridge.ko.xz\n")
        wanted = ["overlay", "nf_tables", "br_netfilter", "vxlan"]
        assert survey.missing_modules(wanted, str(tmp_path)) == ["vxlan"]
        assert survey.missing_modules(wanted, str(tmp_path / "kernel-without-modules")) == []

    def test_a_replaced_kernel_and_updated_packages_ask_for_a_reboot(self, tmp_path):
        (tmp_path / "lib/modules/9.9.9").mkdir(parents=True)
        put(tmp_path, "run/reboot-required", "")
        put(tmp_path, "run/reboot-required.pkgs", "libc6\nlinux-image\nlibc6\n")
        packages, kernel = survey.reboot_reasons(str(tmp_path))
        assert packages.endswith("run/reboot-required exists (libc6, linux-image)")
        assert kernel == f"the running kernel {os.uname().release} has no modules in /lib/modules any more"

    def test_controllers_of_both_versions(self, tmp_path):
        put(tmp_path, "proc/cgroups", "#subsys_name\thierarchy\tnum\tenabled\ncpu\t1\t2\t1\nmemory\t0\t2\t0\n")
        assert survey.controllers(str(tmp_path)) == ["cpu"]
        put(tmp_path, "sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n")
        assert survey.controllers(str(tmp_path)) == ["cpu", "memory", "pids"]


class TestPorts:
    def test_a_listener_is_named(self):
        code = (
            "import socket, time; s = socket.create_server(('127.0.0.1', 0)); "
            "print(s.getsockname()[1], flush=True); time.sleep(60)"
        )
        listener = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        try:
            port = int(listener.stdout.readline())
            (row,) = [row for row in survey_network.sockets("/") if (row["protocol"], row["port"]) == ("tcp", port)]
            assert row["address"] == "127.0.0.1"
            owners = survey_network.socket_owners({row["inode"]})
            assert owners == {row["inode"]: (listener.pid, Path(sys.executable).name)}
        finally:
            listener.kill()
            listener.wait()

    def test_addresses_of_both_families(self):
        assert survey_network.readable("0B01000A") == "10.0.1.11"
        assert survey_network.readable("00000000000000000000000001000000") == "::1"

    def test_a_kernel_socket_has_no_process(self, tmp_path):
        head = "sl local_address rem_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode\n"
        row = "1: 00000000:12B5 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 77 2 0 0\n"
        put(tmp_path, "proc/net/udp", head + row)
        assert survey_network.ports_in_use("worker", str(tmp_path)) == [
            {"protocol": "udp", "port": 4789, "address": "0.0.0.0", "pid": 0, "process": "kernel"}
        ]
        put(tmp_path, "sys/class/net/vxlan.calico", "")
        assert [row["process"] for row in survey_network.ports_in_use("worker", str(tmp_path))] == ["vxlan.calico"]

    def test_a_worker_does_not_need_the_control_planes_ports(self, tmp_path):
        head = "sl local_address rem_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode\n"
        row = "1: 00000000:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 78 2 0 0\n"
        put(tmp_path, "proc/net/tcp", head + row)
        assert survey_network.ports_in_use("worker", str(tmp_path)) == []
        assert [found["port"] for found in survey_network.ports_in_use("control-plane", str(tmp_path))] == [6443]

    def test_a_balancers_ports_are_looked_at_where_there_is_to_be_one(self, tmp_path):
        head = "sl local_address rem_address st tx_queue rx_queue tr tm->when retrnsmt uid timeout inode\n"
        row = "1: 00000000:20FB 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 78 2 0 0\n"
        put(tmp_path, "proc/net/tcp", head + row)
        assert survey_network.ports_in_use("control-plane", str(tmp_path)) == []
        (found,) = survey_network.ports_in_use("control-plane", str(tmp_path), more=[8443, 8444])
        assert found["port"] == 8443


class TestHolder:
    REPLY = bytes.fromhex(
        "ffffffffffff 0242ac110005 0806 0001 0800 06 04 0002 0242ac110005 0a010009 000000000000 00000000"
    )

    def test_a_reply_names_the_machine(self):
        assert survey_network.has(self.REPLY, bytes([10, 1, 0, 9])) == "02:42:ac:11:00:05"
        assert survey_network.has(self.REPLY + bytes(18), bytes([10, 1, 0, 9]))

    def test_what_is_no_reply_for_it_is_passed_over(self):
        wanted = bytes([10, 1, 0, 9])
        question = self.REPLY[:21] + b"\x01" + self.REPLY[22:]
        other = self.REPLY[:12] + b"\x08\x00" + self.REPLY[14:]
        for packet in (question, other, self.REPLY[:41], b"", self.REPLY.replace(wanted, bytes([10, 1, 0, 8]))):
            assert survey_network.has(packet, wanted) == ""

    def test_nobody_has_it_where_there_is_no_such_interface(self):
        assert survey_network.holder("192.0.2.1", "nothing0") == ""


class TestNames:
    def test_a_server_that_answers_and_one_where_nobody_listens(self):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 0))
        threading.Thread(target=lambda: server.sendto(b"refused", server.recvfrom(512)[1]), daemon=True).start()
        found = survey_network.answering(["127.0.0.1", "127.0.0.2"], port=server.getsockname()[1], seconds=5)
        server.close()
        assert found == ["127.0.0.1"]

    def test_a_silent_server_costs_no_more_than_the_time(self):
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("127.0.0.1", 0))
        assert survey_network.answering(["127.0.0.1"], port=server.getsockname()[1], seconds=0.1) == []
        server.close()

    def test_name_servers_and_what_is_behind_a_stub(self, tmp_path):
        put(tmp_path, "etc/resolv.conf", "# stub\nnameserver 127.0.0.53\noptions edns0\nsearch example.org\n")
        put(tmp_path, "run/systemd/resolve/resolv.conf", "nameserver 10.0.0.53\n")
        seen = survey_network.dns(str(tmp_path))
        assert (seen["servers"], seen["behind"]) == (["127.0.0.53"], ["10.0.0.53"])


@pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets are root's")
class TestWays:
    def test_packets_of_full_size_get_to_ourselves(self):
        assert survey_network.paths(["127.0.0.1"], 1500) == {"127.0.0.1": "full"}

    def test_packets_larger_than_the_way_takes_do_not(self):
        """In a network namespace of its own, whose loopback takes 1400 bytes."""
        code = (
            "from ansible_collections.kubesmith.cluster.plugins.module_utils.survey_network import paths\n"
            "print(paths(['127.0.0.1'], 1500), paths(['127.0.0.1'], 1400))"
        )
        command = [
            "unshare",
            "--net",
            "sh",
            "-c",
            'ip link set lo mtu 1400 up && exec "$0" -c "$1"',
            sys.executable,
            code,
        ]
        environment = {"PYTHONPATH": "collections", "PATH": os.environ["PATH"]}
        seen = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        if seen.returncode and "unshare" in seen.stderr:
            pytest.skip("no network namespace here")
        assert seen.stdout == "{'127.0.0.1': 'small'} {'127.0.0.1': 'full'}\n", seen.stderr

    def test_nobody_answers(self):
        assert survey_network.paths(["240.0.0.1"], 1500) == {"240.0.0.1": "none"}

    def test_checksum_of_rfc_1071(self):
        data = bytes.fromhex("0001f203f4f5f6f7")
        assert survey_network.checksum(data) == 0x220D


class TestFirewall:
    NFT = """\
table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
	}
	chain forward {
		type filter hook forward priority filter; policy accept;
	}
	chain output {
		type filter hook output priority filter; policy drop;
	}
}
table ip nat {
	chain KUBE-SERVICES {
	}
}
table ip kube-proxy {
	chain services {
	}
}
"""

    def test_policies_that_drop_and_chains_of_kubernetes(self):
        assert survey_network.nft_chains(self.NFT) == {
            "drops": ["nft inet filter input"],
            "chains": ["nft ip nat KUBE-SERVICES", "nft ip kube-proxy services"],
        }

    def test_iptables(self):
        rules = "-P INPUT ACCEPT\n-P FORWARD DROP\n-N DOCKER\n-N cali-INPUT\n-A FORWARD -j DOCKER\n"
        assert survey_network.iptables_chains("iptables", rules) == {
            "drops": ["iptables FORWARD"],
            "chains": ["iptables cali-INPUT"],
        }


class TestTraces:
    PEM = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"
    DIGEST = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # sha256 of "hello"

    def test_whose_cluster_it_is(self, tmp_path):
        data = base64.b64encode(self.PEM.encode()).decode()
        text = f"clusters:\n- cluster:\n    certificate-authority-data: {data}\n    server: https://10.1.0.11:6443\n"
        put(tmp_path, "etc/kubernetes/kubelet.conf", text + "users:\n- user:\n    client-key-data: c2VjcmV0\n")
        put(tmp_path, "etc/kubernetes/pki/ca.crt", self.PEM)
        put(tmp_path, "etc/kubernetes/kubeadm.yml", "kind: ClusterConfiguration\nclusterName: dev\n")
        put(tmp_path, "etc/cni/net.d/05-cilium.conflist", "{}")
        put(tmp_path, "var/lib/kubelet/config.yaml", "kind: KubeletConfiguration\ncgroupDriver: cgroupfs\n")
        put(tmp_path, "etc/containerd/config.toml", "  SystemdCgroup = true\n")
        seen = survey_traces.traces(str(tmp_path))
        assert (seen["ca"], seen["cluster"], seen["member"]) == (self.DIGEST, "dev", "partial")
        assert seen["confs"] == {"kubelet.conf": {"ca": self.DIGEST, "server": "10.1.0.11:6443"}}
        assert seen["cni"] == ["05-cilium.conflist"]
        assert seen["drivers"] == {"kubelet": "cgroupfs", "containerd": "true"}
        assert "c2VjcmV0" not in str(seen)

    def test_a_bare_machine(self, tmp_path):
        seen = survey_traces.traces(str(tmp_path))
        assert seen["member"] == "absent"
        assert not any(seen[key] for key in ("ca", "cluster", "confs", "manifests", "etcd", "cni"))

    def test_the_bundle_that_a_node_sees(self, tmp_path):
        put(tmp_path, "bundle.json", '{"name": "x", "digest": "sha256:' + "0" * 64 + '"}')
        assert survey.bundle(str(tmp_path)) == "sha256:" + "0" * 64
        assert survey.bundle(str(tmp_path / "none")) == ""


def test_a_registry_that_refuses():
    assert survey_network.unreachable(["http://127.0.0.1:1"]) == {"http://127.0.0.1:1": "Connection refused"}


def test_everything_is_gathered_on_this_very_machine():
    wanted = {
        "address": "",
        "role": "worker",
        "container": True,
        "vip": "",
        "vip_port": 8443,
        "peers": [],
        "modules": [],
        "registries": [],
        "root": "/",
    }
    facts = node_preflight.gather(wanted)
    assert facts["machine"]["cpus"] == os.cpu_count()
    assert facts["fsync_ms"] is None, "only a control plane's disk is measured"
    assert facts["clock"][0] < facts["clock"][1]
