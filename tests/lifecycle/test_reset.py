"""`reset` leaves nothing behind, and nothing of the host's own goes with it: two manifests of each node are equal.

KUBESMITH_ROUNDS says how often the cluster is made and reset, twice by default: with kube-proxy's rules in nftables and
in iptables by turns.
"""

import difflib
import os
import time
from pathlib import Path

import pytest

from lifecycle.lab import made

NODES = ("cp1", "w1")
MANIFEST = (Path(__file__).parent / "machine.py").read_text()
# What a careful administrator may have, as near as possible to what a cluster brings.
OWN = """
nft -f - <<'END'
table inet own {
  counter seen { }
  chain in {
    type filter hook input priority 5; policy accept;
    tcp dport 9999 counter drop comment "own"
  }
}
END
iptables-nft -A INPUT -p tcp --dport 9998 -m comment --comment "own rule" -j DROP
iptables-nft -N KUBE-OWN
iptables-nft -A KUBE-OWN -p tcp --dport 9997 -j RETURN
iptables-nft -A FORWARD -j KUBE-OWN
iptables-legacy -A INPUT -p tcp --dport 9996 -j DROP
ipset create own hash:ip
mkdir -p /opt/cni/bin
echo own >/opt/cni/bin/own
echo mine >/opt/cni/bin/bridge
chmod 755 /opt/cni/bin/*
echo 'net.ipv4.ip_forward = 0' >/etc/sysctl.d/50-own.conf
sysctl -qw net.ipv4.ip_forward=0
echo "127.0.1.1 $(hostname) own-name" >>/etc/hosts
useradd --create-home tester
"""
# Two users work with the cluster; one of them has another one, too.
USERS = """
install -d -m 700 /root/.kube
cp /etc/kubernetes/admin.conf /root/.kube/config
install -d /home/tester/.kube
cat >/run/other <<'END'
apiVersion: v1
kind: Config
clusters: [{name: other, cluster: {server: "https://other.example.org"}}]
contexts: [{name: other, context: {cluster: other, user: other}}]
users: [{name: other, user: {token: not-a-secret}}]
current-context: other
END
KUBECONFIG=/run/other:/etc/kubernetes/admin.conf kubectl config view --raw --flatten >/home/tester/.kube/config
rm /run/other
"""
LEFT = """
cat /home/tester/.kube/config
rm -r /home/tester/.kube
test ! -e /root/.kube
"""
PROXIES = ("nftables", "iptables")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    yield from made(tmp_path_factory.mktemp("reset"), "lifecycle-reset")


@pytest.fixture(scope="module")
def before(lab):
    """The nodes' manifests before there was a cluster."""
    for node in NODES:
        lab.on(node, OWN)
    return {node: manifest(lab, node) for node in NODES}


def manifest(lab, node):
    return lab.on(node, MANIFEST, "python3 -").splitlines()


def differences(lab, before):
    """Return what is not as before on each node."""
    now = {node: manifest(lab, node) for node in NODES}
    rows = {node: list(difflib.unified_diff(before[node], now[node], lineterm="", n=0)) for node in NODES}
    return {node: found for node, found in rows.items() if found}


def test_a_cluster_leaves_nothing(lab, before):
    text = lab.file.read_text()
    for number in range(int(os.environ.get("KUBESMITH_ROUNDS", "2"))):
        began = time.monotonic()
        lab.file.write_text(text + f"network: {{proxy: {PROXIES[number % 2]}}}\n")
        lab.must("up", "--only", "converge")
        lab.on("cp1", USERS)
        built = time.monotonic()
        assert differences(lab, before), "a cluster that changes nothing on a node is none"
        asked = time.monotonic()
        lab.must("reset", "--yes")
        ended = time.monotonic()
        config = lab.on("cp1", LEFT)
        assert ("other.example.org" in config, "kubernetes-admin" in config) == (True, False), config
        print(f"round {number + 1}: up {built - began:.1f} s, reset {ended - asked:.1f} s", flush=True)
        assert differences(lab, before) == {}
        assert not (lab.state / "kubeconfig").exists()


def test_a_second_reset_finds_nothing(lab, before):
    code, answer = lab.json("reset", "--yes")
    assert (code, answer["nodes"]) == (0, {node: [] for node in NODES})
    assert differences(lab, before) == {}


def test_without_the_name_nothing_is_reset(lab):
    done = lab.run("reset")
    assert (done.returncode, "--yes" in done.stdout) == (2, True), done.stdout


def test_an_interrupted_build_is_taken_off_too(lab, before):
    lab.must("up", "--only", "runtime")
    code, answer = lab.json("reset", "--check")
    assert code == 0
    assert all(any("containerd" in action for action in actions) for actions in answer["nodes"].values())
    lab.must("reset", "--yes")
    assert differences(lab, before) == {}


def test_the_cluster_can_be_made_again_and_check_mode_leaves_it(lab, before):
    lab.must("up")
    lab.must("reset", "--check")
    lab.must("verify")
    lab.must("reset", "--yes")
    assert differences(lab, before) == {}
