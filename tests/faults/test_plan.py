"""plan on real nodes: before there is a cluster, on a finished one, and after somebody's hand was there."""

from pathlib import Path

MANIFEST = f"python3 - <<'END'\n{Path(__file__).with_name('manifest.py').read_text()}END\n"
EDIT = "sysctl -w net.ipv4.ip_forward=0; echo 'root = \"/x\"' >>/etc/containerd/config.toml"


def manifests(lab):
    return {f"{node}: {row}" for node in ("cp1", "w1") for row in lab.on(node, MANIFEST).splitlines()}


def planned(lab):
    """Return {node: [(kind, text)]}, having seen that the plan left every file alone."""
    before = manifests(lab)
    code, answer = lab.json("plan")
    assert (code, manifests(lab) ^ before) == (0, set())
    found = {}
    for row in answer["changes"]:
        found.setdefault(row["node"], []).append((row["kind"], row["text"]))
    return found


def test_before_there_is_a_cluster(lab):
    lab.forget_cluster()
    found = planned(lab)
    assert ("cluster", "initialise the control plane (kubeadm init)") in found["cp1"]
    assert ("cluster", "join the cluster (kubeadm join)") in found["w1"]


def test_a_finished_cluster_and_two_edits_by_hand(lab):
    code, screen = lab.up()
    assert code == 0, screen
    assert planned(lab) == {}
    lab.on("w1", EDIT)
    assert planned(lab) == {
        "w1": [
            ("setting", "net.ipv4.ip_forward: 0 → 1"),
            ("file", "correct /etc/containerd/config.toml"),
            ("service", "restart containerd: /etc/containerd/config.toml changed"),
        ]
    }
    code, screen = lab.up()
    assert code == 0, screen
    assert planned(lab) == {}
