"""The scripts and texts of an export."""

import shutil
import subprocess

import pytest
import yaml
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import inventory, load
from ansible_collections.kubesmith.cluster.plugins.plugin_utils import spec as spec_module

from kubesmith import cli, export
from kubesmith.job import ssh_argv

TEXT = """\
cluster: {name: m, vip: 10.0.0.9}
provider: ssh
access: {user: admin, key: "/k/the key"}
groups: {gold: {labels: {tier: gold}, kubelet: {maxPods: 42}}}
runtime:
  registries: [{upstream: docker.io, mirrors: [{url: "https://m", auth: {username: u, password_env: PASSWORD}}]}]
features: {encrypt_secrets: true}
nodes:
  - {name: cp1, role: control-plane, address: 10.0.0.1}
  - {name: cp2, role: control-plane, address: 10.0.0.2}
  - {name: cp3, role: control-plane, address: 10.0.0.3}
  - {name: w1, address: 10.0.0.4, group: gold, taints: ["a=b:NoSchedule"]}
"""
BUNDLE = {
    "kubernetes": "1.37.2",
    "components": [
        {
            "files": [
                {"path": "bin/kubeadm", "mode": "0755", "install": "/usr/local/bin/kubeadm", "set": "kubernetes"},
                {"path": "bin/etcdctl", "mode": "0755", "install": "/usr/local/bin/etcdctl", "set": "etcd"},
                {"path": "manifests/x.yml", "mode": "0644", "set": "manifests"},
            ]
        }
    ],
}


@pytest.fixture
def plan():
    spec = spec_module.check(load.parse(TEXT.encode(), "f"), "f")
    made = inventory.build(spec, [], state="/s", bundle="/b")
    ssh = {name: ssh_argv(variables) for name, variables in made.hosts.items()}
    groups = made.groups
    return export.Plan(spec, made, BUNDLE, "", ssh, groups["kube_control_plane"], groups["kube_node"])


@pytest.fixture
def files(plan, monkeypatch):
    monkeypatch.setattr(export, "network", lambda _plan: "")
    return {path: text for path, (text, _mode) in export.files(plan).items()}


def test_every_node_has_its_scripts(files):
    scripts = sorted(path for path in files if path.endswith(".sh"))
    nodes = [f"nodes/{node}/install.sh" for node in ("cp1", "cp2", "cp3", "w1")]
    joins = [f"nodes/{node}/join.sh" for node in ("cp2", "cp3", "w1")]
    assert scripts == sorted(["make.sh", "network.sh", "nodes/cp1/init.sh", *nodes, *joins])


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_every_script_is_one(files):
    for path, text in files.items():
        if path.endswith(".sh"):
            done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{path}: {done.stderr}"


def test_only_control_planes_get_etcds_tools(files):
    assert 'install -D -m 0755 "$bundle/bin/etcdctl" /usr/local/bin/etcdctl' in files["nodes/cp2/install.sh"]
    assert "etcdctl" not in files["nodes/w1/install.sh"]


def test_joins_have_words_where_secrets_go(files):
    worker = yaml.safe_load(files["nodes/w1/files/etc/kubernetes/kubeadm.yml"])
    token = {"apiServerEndpoint": "10.0.0.1:6443", "token": "TOKEN", "caCertHashes": ["CA_CERT_HASH"]}
    assert worker["discovery"]["bootstrapToken"] == token
    assert worker["nodeRegistration"]["taints"] == [{"key": "a", "value": "b", "effect": "NoSchedule"}]
    assert "controlPlane" not in worker
    plane = yaml.safe_load(files["nodes/cp2/files/etc/kubernetes/kubeadm.yml"])
    wanted = {"localAPIEndpoint": {"advertiseAddress": "10.0.0.2"}, "certificateKey": "CERTIFICATE_KEY"}
    assert plane["controlPlane"] == wanted


def test_logins_are_left_out_and_that_is_told(files):
    hosts = files["nodes/w1/files/etc/containerd/certs.d/docker.io/hosts.toml"]
    assert "https://m" in hosts
    assert "Authorization" not in "".join(files.values())
    assert "Logins at registries" in files["README.md"]


def test_settings_of_a_group_go_to_its_nodes(files):
    assert '"maxPods": 42' in files["nodes/w1/files/etc/kubernetes/kubelet.conf.d/50-kubesmith.conf"]
    assert "kubectl label --overwrite node w1 tier=gold" in files["network.sh"]
    assert "head -c 32 /dev/urandom" in files["nodes/cp1/init.sh"]


def test_ssh_is_the_way_of_the_cluster_file(files):
    assert "ssh -i '/k/the key' -p 22 admin@10.0.0.4" in files["make.sh"]
    assert '"sudo $2"' in files["make.sh"]


def test_a_folder_must_be_named_and_be_new(tmp_path, capsys):
    file = tmp_path / "cluster.yml"
    file.write_text(TEXT)
    assert cli.main(["export", "-i", str(file), "-o", str(tmp_path)]) == 2
    assert "is not empty" in " ".join(capsys.readouterr().err.split())
