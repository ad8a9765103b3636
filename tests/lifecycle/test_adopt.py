"""A cluster made by hand with kubeadm: adopted, planned, verified, and only replaced when that is asked for."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.inventory import build
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import read

from lifecycle.lab import Lab, made

HERE = Path(__file__).parent
NODES = ("cp1", "w1")
PROGRAMS = "readlink /proc/$(systemctl show -P MainPID kubelet)/exe /proc/$(systemctl show -P MainPID containerd)/exe"


class Adopted(Lab):
    """The cluster file that ``adopt`` writes, and the machines that it names."""

    def __init__(self, folder, boxes):
        super().__init__(folder, "hand-made")
        self.file.unlink()
        self.boxes = boxes
        self.admin = folder / "admin.conf"
        self.admin.write_text(boxes.on("cp1", "cat /etc/kubernetes/admin.conf"))
        words = ["--key", boxes.state / "id_ed25519", "--known-hosts", boxes.state / "known_hosts"]
        self.access = [str(word) for word in words]

    def adopt(self, *words):
        words = ["adopt", *self.access, *map(str, words)]
        return subprocess.run(
            ["python3", "runner.py", *words], cwd=HERE.parents[1], capture_output=True, text=True, check=False
        )

    def container(self):
        """Say what a provider that makes containers would: these hosts share this machine's kernel."""
        spec = read(self.file)
        plain, inside = (
            build(spec, [{"name": "other", "container": flag}], state="", bundle="") for flag in (False, True)
        )
        folder = self.file.parent
        differing = {key: value for key, value in inside.variables.items() if plain.variables.get(key) != value}
        written = {"group_vars/all.yml": differing}
        for node in NODES:
            written[f"host_vars/{node}.yml"] = {"containerd_host": inside.hosts[node]["containerd_host"]}
        for name, content in written.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(yaml.safe_dump(content))

    def say(self, **over):
        """Change settings of the cluster file; None takes one out."""
        data = yaml.safe_load(self.file.read_text()) | over
        self.file.write_text(yaml.safe_dump({key: value for key, value in data.items() if value is not None}))

    def programs(self):
        return {node: self.boxes.on(node, PROGRAMS).split() for node in NODES}

    def containers(self):
        ids = (self.boxes.on(node, "ctr --namespace k8s.io tasks ls --quiet").split() for node in NODES)
        return {node: sorted(rows) for node, rows in zip(NODES, ids, strict=True)}


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    for lab in made(tmp_path_factory.mktemp("boxes"), "lifecycle-hand"):
        done = subprocess.run(
            ["bash", HERE / "by_hand.sh", lab.state / "ssh_config", *NODES], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        yield lab


@pytest.fixture(scope="module")
def cluster(boxes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adopted")
    adopted = Adopted(folder, boxes)
    done = adopted.adopt("--kubeconfig", adopted.admin, "-o", adopted.file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no SSH" not in done.stderr, done.stderr
    adopted.container()
    return adopted


def test_the_file_says_what_the_cluster_is(cluster):
    data = yaml.safe_load(cluster.file.read_text())
    assert (data["cluster"]["name"], data["adopted"], data["provider"]) == ("hand-made", "keep", "ssh")
    assert [(node["name"], node.get("role")) for node in data["nodes"]] == [("cp1", "control-plane"), ("w1", None)]
    network = {"pods": "10.32.0.0/16", "services": "10.97.0.0/16", "dns_domain": "home.arpa", "proxy": "iptables"}
    assert data["network"] == network | {"calico": {"encapsulation": "vxlan"}}
    assert data["kubeadm"]["kubelet"]["maxPods"] == 77
    assert (cluster.state / "kubeconfig").stat().st_mode & 0o777 == 0o600


def test_the_kubeconfig_can_be_fetched_by_ssh_instead(cluster, tmp_path):
    address = yaml.safe_load(cluster.file.read_text())["nodes"][0]["address"]
    done = cluster.adopt("--host", address, "-o", tmp_path / "cluster.yml")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "cluster.yml").read_text() == cluster.file.read_text()


def test_the_plan_names_the_programs_and_changes_none(cluster):
    code, answer = cluster.json("plan")
    assert code == 0
    assert {row["kind"] for row in answer["changes"]} <= {"image"}, answer["changes"]
    told = [(row["node"], row["text"].split()[0], row["text"]) for row in answer["notices"]]
    assert [row[:2] for row in told] == [(node, name) for node in NODES for name in ("kubelet", "containerd")]
    for _node, name, text in told:
        assert f"is /usr/bin/{name}, of no package, started by /etc/systemd/system/{name}.service" in text
        assert text.endswith("it stays (adopted: keep)")


def test_it_can_be_verified_and_looked_at(cluster):
    programs, containers = cluster.programs(), cluster.containers()
    cluster.must("verify", "--wait")
    cluster.must("up")
    assert (cluster.programs(), cluster.containers()) == (programs, containers)
    assert programs["w1"] == ["/usr/bin/kubelet", "/usr/bin/containerd"]
    assert cluster.json("plan", "--exit-code")[0] == 0
    assert cluster.json("status")[0] == 0
    assert cluster.json("certs")[0] == 0


def test_a_difference_is_told_and_a_label_applied(cluster):
    before = yaml.safe_load(cluster.file.read_text())
    nodes = [*before["nodes"][:-1], {**before["nodes"][-1], "labels": {"tier": "front"}, "kubelet": {"maxPods": 66}}]
    cluster.say(network={**before["network"], "proxy": "nftables"}, nodes=nodes)
    _code, answer = cluster.json("plan")
    texts = {row["text"] for row in (*answer["changes"], *answer["notices"])}
    assert "network.proxy is iptables in the cluster, nftables in the cluster file" in texts
    assert "label w1 tier=front" in texts
    cluster.say(network=before["network"])
    cluster.must("up", "--only", "converge")
    live = json.loads(cluster.must("kubectl", "get", "--raw", "/api/v1/nodes/w1/proxy/configz"))
    assert live["kubeletconfig"]["maxPods"] == 66
    assert cluster.json("plan", "--exit-code")[0] == 0


def test_a_reset_and_an_up_without_the_word_are_refused(cluster):
    programs = cluster.programs()
    assert cluster.run("reset", "--yes").returncode == 1
    cluster.say(adopted=None)
    done = cluster.run("up", "--only", "converge")
    assert done.returncode == 1
    assert "adopted: keep" in done.stdout
    assert cluster.programs() == programs
    cluster.say(adopted="keep")


def test_programs_are_replaced_when_that_is_asked_for(cluster):
    cluster.say(adopted="replace")
    code, answer = cluster.json("plan", "--exit-code")
    texts = [row["text"] for row in answer["changes"] if row["node"] == "w1"]
    assert code == 10
    assert "move /etc/systemd/system/kubelet.service to /var/lib/kubesmith/replaced" in texts
    assert any(text.startswith("install kubernetes") for text in texts)
    cluster.must("up")
    assert cluster.programs() == {node: ["/usr/local/bin/kubelet", "/usr/local/bin/containerd"] for node in NODES}
    assert cluster.json("plan", "--exit-code")[0] == 0
