"""Host preparation: what is wanted, worked out from what is there."""

from ansible_collections.kubesmith.cluster.plugins.module_utils import host

FSTAB = "UUID=1 / ext4 defaults 0 1\n/swapfile none swap sw 0 0\n# /old none swap sw 0 0\nUUID=2\tnone\tswap\tsw\t0\t0"


def test_swap_lines_of_fstab_become_comments_and_others_stay():
    lines = host.fstab_without_swap(FSTAB).splitlines()
    assert [line.startswith("#") for line in lines] == [False, True, True, True]
    assert lines[0] == FSTAB.splitlines()[0]
    assert lines[2] == "# /old none swap sw 0 0"


def test_fstab_without_swap_is_stable():
    once = host.fstab_without_swap(FSTAB)
    assert host.fstab_without_swap(once) == once


def test_active_swaps_are_read_below_the_heading():
    table = "Filename\tType\tSize\tUsed\tPriority\n/dev/zram0 partition 1 0 100\n/swapfile file 1 0 -2\n"
    assert host.active_swaps(table) == ["/dev/zram0", "/swapfile"]
    assert host.active_swaps("Filename\tType\tSize\n") == []


def test_bridge_sysctls_only_come_with_the_module_that_provides_them():
    assert host.default_sysctls([]) == {"net.ipv4.ip_forward": "1"}
    assert host.default_sysctls(["overlay", "br_netfilter"])["net.bridge.bridge-nf-call-iptables"] == "1"


def test_nothing_wanted_means_no_file():
    assert host.modules_text([]) is None
    assert host.sysctl_text({}) is None


def test_persisted_texts_name_their_author_and_are_sorted():
    assert host.modules_text(["overlay"]) == "# Managed by kubesmith.\noverlay\n"
    assert host.sysctl_text({"b.c": 2, "a.b": 1}).splitlines()[1:] == ["a.b = 1", "b.c = 2"]


def test_sysctl_paths():
    assert host.sysctl_path("net.ipv4.ip_forward") == "/proc/sys/net/ipv4/ip_forward"
    assert host.sysctl_path("net/ipv4/conf/eth0.10/rp_filter") == "/proc/sys/net/ipv4/conf/eth0.10/rp_filter"


def test_sysctl_values_of_several_numbers_compare_by_number():
    assert host.same_value("1024\t65535\n", "1024 65535")
    assert host.same_value("1\n", 1)
    assert not host.same_value("0\n", 1)


def test_the_hosts_block_is_written_once_however_often():
    hosts = {"cp1": "10.0.0.1", "w1": "10.0.0.2"}
    once = host.hosts_text("127.0.0.1 localhost\n\n", hosts)
    assert once == f"127.0.0.1 localhost\n{host.BEGIN}\n10.0.0.1\tcp1\n10.0.0.2\tw1\n{host.END}\n"
    assert host.hosts_text(once, hosts) == once


def test_a_node_name_appears_on_no_other_line():
    before = "127.0.0.1 localhost\n127.0.1.1 cp1.example cp1 # by the installer\n127.0.1.1 cp1\n10.9.9.9 other\n"
    lines = host.hosts_text(before, {"cp1": "10.0.0.1"}).splitlines()
    assert lines[:3] == ["127.0.0.1 localhost", "127.0.1.1\tcp1.example # by the installer", "10.9.9.9 other"]
    assert [line for line in lines if line.split()[1:] == ["cp1"]] == ["10.0.0.1\tcp1"]


def test_addresses_that_changed_replace_the_old_block():
    old = host.hosts_text("127.0.0.1 localhost\n", {"cp1": "10.0.0.1", "gone": "10.0.0.9"})
    new = host.hosts_text(old, {"cp1": "10.0.0.7"})
    assert "10.0.0.1" not in new
    assert "gone" not in new
    assert "10.0.0.7\tcp1" in new


def test_without_hosts_the_block_goes_and_the_rest_stays():
    there = host.hosts_text("127.0.0.1 localhost\n", {"cp1": "10.0.0.1"})
    assert host.hosts_text(there, {}) == "127.0.0.1 localhost\n"
    assert host.hosts_text("", {}) == ""
