"""A private registry with a password, as a mirror: pulls go there, and the password is nowhere else."""

import base64
import json
import tarfile
import time

from airgap.conftest import NAME, PASSWORD

SECRETS = (PASSWORD.encode(), base64.b64encode(f"puller:{PASSWORD}".encode()))

WITHOUT_LOGIN = """
cd /etc/containerd/certs.d
mkdir -p other.example
grep -v Authorization private.example/hosts.toml >other.example/hosts.toml
"""


def pod(site, name, image):
    """Run a pod from ``image``; return what became of it within a minute: Running, or the reason why not."""
    site.kubectl("run", name, f"--image={image}", "--image-pull-policy=Always", "--restart=Never")
    for _dummy in range(60):
        status = json.loads(site.kubectl("get", "pod", name, "-o", "json"))["status"]
        waiting = [c["state"].get("waiting", {}).get("reason", "") for c in status.get("containerStatuses", [])]
        if status["phase"] == "Running" or waiting in (["ErrImagePull"], ["ImagePullBackOff"]):
            return status["phase"] if status["phase"] == "Running" else waiting[0]
        time.sleep(1)
    return f"after a minute: {status}"


def test_pulls_go_to_the_mirror_with_the_login(cluster, registry):
    layer = registry.add_layer("pause:3.10.2", "own:1")  # what the node has already would not be fetched
    before = len(registry.requests)
    assert pod(cluster, "pulled", "private.example/team/own:1") == "Running"
    seen = registry.requests[before:]
    assert ("GET", f"/v2/team/own/blobs/{layer}?ns=private.example", "puller", 200) in seen
    assert all(status == 200 for *_rest, status in seen), seen


def test_without_the_login_the_same_registry_refuses(cluster, registry):
    before = len(registry.requests)
    code, said = cluster.on("w1", WITHOUT_LOGIN)
    assert code == 0, said
    assert pod(cluster, "refused", "other.example/team/pause:3.10.2") in ("ErrImagePull", "ImagePullBackOff")
    assert 401 in {status for *_rest, status in registry.requests[before:]}
    cluster.on("w1", "rm -r /etc/containerd/certs.d/other.example")


def test_only_root_reads_it_on_the_node(cluster):
    code, said = cluster.on("w1", "stat -c %a:%U /etc/containerd/certs.d/private.example/hosts.toml")
    assert (code, said.strip()) == (0, "600:root")


def test_the_password_is_in_no_output_and_no_artifact(cluster):
    done = cluster.run("gather", "--output", str(cluster.folder))
    assert done.returncode == 0, done.stdout
    cluster.run("plan", "-vv", "--json")
    found = [name for secret in SECRETS if secret.decode() in cluster.said for name in ["standard output"]]
    places = [p for root in (cluster.state, cluster.cache) for p in root.rglob("*") if p.is_file()]
    packed = list(cluster.folder.glob("*.tar*"))
    assert [p for p in packed if p.name != "kubesmith.tar.zst"], "gather wrote nothing"
    for path in [*places, *packed]:
        if path.stat().st_size < 64 << 20:
            found += [str(path) for secret in SECRETS if secret in path.read_bytes()]
    for path in packed:
        if path.name == "kubesmith.tar.zst":
            continue
        with tarfile.open(path) as archive:
            members = [m for m in archive if m.isfile()]
            texts = [(m.name, archive.extractfile(m).read()) for m in members]
        found += [f"{path}: {name}" for name, text in texts for secret in SECRETS if secret in text]
    journal = cluster.on("w1", "journalctl --no-pager; systemctl show containerd kubelet")[1]
    journal += cluster.on("cp1", "journalctl --no-pager; systemctl show containerd kubelet")[1]
    found += ["journal" for secret in SECRETS if secret.decode() in journal]
    listed = cluster.podman("inspect", f"kubesmith-{NAME}-w1")[1]
    assert not found
    assert PASSWORD not in listed
