"""What `export` writes makes a cluster on fresh nodes, without kubesmith; and it holds no secret."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from lifecycle.lab import made

BUNDLE = Path(os.environ.get("KUBESMITH_CACHE", Path.home() / ".cache/kubesmith")) / "bundle/current"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    for lab in made(tmp_path_factory.mktemp("export"), "lifecycle-export"):
        data = {
            "plugin": "kubesmith.cluster.spec",
            "cluster": {"name": lab.name},
            "provider": "podman",
            "lab": True,
            "features": {"audit_log": True, "encrypt_secrets": True},
            "groups": {"gold": {"labels": {"tier": "gold"}, "kubelet": {"maxPods": 42}}},
            "nodes": [{"name": "cp1", "role": "control-plane"}, {"name": "w1", "group": "gold"}],
        }
        lab.file.write_text(yaml.safe_dump(data))
        yield lab


@pytest.fixture(scope="module")
def folder(lab, tmp_path_factory):
    target = tmp_path_factory.mktemp("by-hand") / "export"
    lab.must("export", "-o", str(target))
    return target


def test_there_is_no_secret_in_it(folder):
    texts = {str(path): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert any(path.endswith("nodes/cp1/files/etc/kubernetes/kubeadm.yml") for path in texts)
    secret = re.compile(r"PRIVATE KEY|\b[a-z0-9]{6}\.[a-z0-9]{16}\b|client-key-data: \S")
    assert [path for path, text in texts.items() if secret.search(text)] == []


def test_an_export_is_not_written_over(lab, folder):
    assert lab.run("export", "-o", str(folder)).returncode == 2


def test_its_commands_make_the_cluster(lab, folder):
    done = subprocess.run(
        ["bash", folder / "make.sh", BUNDLE], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-6000:]
    told = lab.on("cp1", "kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes --show-labels")
    assert len(re.findall(r"\sReady\s", told)) == 2, told
    assert "tier=gold" in told
    assert "maxPods: 42" not in lab.on("w1", "cat /var/lib/kubelet/config.yaml")
    _code, answer = lab.json("plan")
    assert not [row for row in answer["changes"] if "kubeadm" in row["text"]], answer["changes"]


def test_kubesmith_takes_it_for_its_own(lab):
    lab.must("up")
    assert lab.json("plan", "--exit-code")[0] == 0
