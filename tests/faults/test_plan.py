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


SCHEDULER = "/etc/kubernetes/manifests/kube-scheduler.yaml"
KUBELET = "/var/lib/kubelet/config.yaml"


def test_edits_of_what_kubeadm_wrote_are_told_by_name_and_left(lab):
    assert lab.json("plan")[1]["notices"] == []
    lab.on("cp1", f"sed -i '/- kube-scheduler$/a\\    - --v=3' {SCHEDULER}")
    lab.on("w1", f"echo '# mine' >>{KUBELET}; chmod 644 {KUBELET}")
    code, answer = lab.json("plan")
    told = {row["node"]: row for row in answer["notices"]}
    assert (code, set(told)) == (0, {"cp1", "w1"})
    assert told["cp1"]["text"].startswith(f"{SCHEDULER} is not as kubeadm wrote it, and up leaves it")
    assert told["w1"]["detail"] == ["- # mine"]
    assert [row["text"] for row in answer["changes"]] == [f"correct {KUBELET}: 0644 root:root → 0600 root:root"]
    for node, row in told.items():
        lab.on(node, row["text"].partition("on the node: ")[2].replace(", then ", " && "))
    assert lab.json("plan")[1]["notices"] == []
