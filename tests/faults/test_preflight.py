"""preflight on real nodes with faults planted on them: it lists each with its remedy, and leaves every file alone.

The kernel's clock is the host's: a wrong one is planted in Python, as libfaketime would.
"""

from pathlib import Path

import pytest

CLOCK = "/etc/python3.11/sitecustomize.py"
MANIFEST = f"python3 - <<'END'\n{Path(__file__).with_name('manifest.py').read_text()}END\n"
SQUAT = "systemd-run --unit=squatter /usr/bin/python3 -m http.server {port}\n"
PLANTED = {
    "cp1": SQUAT.format(port=6443),
    "w1": SQUAT.format(port=10250)
    + """
hostname cp1
echo '/swapfile none swap sw 0 0' >>/etc/fstab
printf '[Swap]\\nWhat=/dev/zram0\\n[Install]\\nWantedBy=swap.target\\n' >/etc/systemd/system/dev-zram0.swap
systemctl enable dev-zram0.swap
mkdir -p /etc/cni/net.d /etc/kubernetes
echo '{}' >/etc/cni/net.d/05-cilium.conflist
printf 'clusters:\\n- cluster:\\n    server: https://10.9.9.9:6443\\n' >/etc/kubernetes/kubelet.conf
echo 'net.ipv4.ip_forward = 0' >/etc/sysctl.d/zzz-hardening.conf
"""
    + f"""
cp -a {CLOCK} {CLOCK}.kept
printf 'import time\\n_true = time.time\\ntime.time = lambda: _true() + 90\\n' >>{CLOCK}
""",
}
# Most are the words of the fix column; a container's host name is set by hostname.
REMEDIES = {
    "cp1": "systemctl stop squatter",
    "w1": f"""
mv {CLOCK}.kept {CLOCK}
systemctl stop squatter
hostname w1
sed -i '/^.swapfile/d' /etc/fstab
systemctl disable --now dev-zram0.swap
rm /etc/systemd/system/dev-zram0.swap /etc/cni/net.d/05-cilium.conflist /etc/sysctl.d/zzz-hardening.conf
rm /etc/kubernetes/kubelet.conf
""",
}
WANTED = {
    ("error", "cp1", "port 6443/tcp"),
    ("error", "cp1", "host name"),
    ("error", "w1", "port 10250/tcp"),
    ("error", "w1", "host name"),
    ("error", "w1", "clock"),
    ("error", "w1", "CNI"),
    ("error", "w1", "other cluster"),
    ("error", "w1", "sysctl at boot"),
    ("warning", "w1", "swap at boot"),
}
OF_THE_MACHINE = {"disk", "disk of /var/lib/etcd", "machine-id"}  # what the machine that runs the tests may bring


def manifests(lab):
    return {f"{node}: {row}" for node in ("cp1", "w1") for row in lab.on(node, MANIFEST).splitlines()}


@pytest.fixture
def planted(lab):
    lab.forget_cluster()
    for node, script in PLANTED.items():
        lab.on(node, script)
    yield lab
    for node, script in REMEDIES.items():
        lab.on(node, script)


def test_every_fault_is_listed_with_its_remedy_and_nothing_is_changed(planted):
    before = manifests(planted)
    code, answer = planted.json("preflight")
    assert manifests(planted) ^ before == set()
    rows = [row for row in answer["findings"] if row["what"] not in OF_THE_MACHINE | {"leftovers"}]
    assert code == 1
    assert {(row["severity"], row["node"], row["what"]) for row in rows} == WANTED
    swaps = {row["seen"] for row in rows if row["what"] == "swap at boot"}
    assert swaps == {"/etc/fstab: /swapfile none swap sw 0 0", "dev-zram0.swap"}
    assert all(row["fix"] for row in rows)


def test_up_stops_before_it_touches_a_node(planted):
    before = manifests(planted)
    done = planted.run("up", "--only", "preflight", "--only", "converge")
    assert (done.returncode, manifests(planted) ^ before) == (2, set())
    assert "the nodes were not touched" in done.stdout


def test_after_the_remedies_there_is_no_error(lab):
    code, answer = lab.json("preflight")
    assert [row for row in answer["findings"] if row["severity"] == "error"] == []
    assert code == 0
