"""A cluster in profile cis behind its firewalls: the benchmark passes, and what is to be refused is refused."""

import base64
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from lifecycle.lab import made

ROOT = Path(__file__).parents[2]
SCAN = (Path(__file__).parent / "ports.py").read_text()
MORE = "security: {profile: cis, firewall: nftables}\n"
IMAGE = "kubesmith.internal/agnhost:2.66.1"
ETCDCTL = """etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/kubernetes/pki/etcd/ca.crt \
--cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt --key=/etc/kubernetes/pki/etcd/healthcheck-client.key"""
VALUE = "planted-in-a-secret-0f3a"
KEYS = "/etc/kubernetes/encryption/config.yaml"
LISTENERS = """
cat >/tmp/listen.py <<'END'
import socket, time
held = []
for port in (2379, 2380, 2381, 6443, 8080, 9999, 10248, 10249, 10255, 10257, 10259, 30999):
    try:
        one = socket.socket(); one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("0.0.0.0", port)); one.listen(); held.append(one)
    except OSError:
        pass
time.sleep(900)
END
systemd-run --unit=listen --collect python3 /tmp/listen.py
for dummy in $(seq 50); do ss -ltn 'sport = :9999' | grep -q 9999 && exit 0; sleep 0.2; done; exit 1
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    for lab in made(tmp_path_factory.mktemp("cis"), "security-cis", more=MORE):
        lab.must("up")
        yield lab


@pytest.fixture(scope="module")
def addresses(lab):
    rows = json.loads((lab.state / "machines.json").read_text())
    rows = rows["machines"] if isinstance(rows, dict) else rows
    return {row["name"]: row["address"] for row in rows}


def test_no_automated_control_fails(lab):
    code, answer = lab.json("cis")
    failed = [row for row in answer["controls"] if row["status"] == "fail"]
    assert failed == []
    assert code == 0
    assert answer["counts"]["pass"] > 80, "a benchmark that finds nothing to judge is none"
    assert [row["id"] for row in answer["controls"] if row["automated"] and row["status"] != "pass"] == []
    told = [row for row in answer["controls"] if row["exception"]]
    assert {"1.2.1", "1.2.11"} <= {row["id"] for row in told}


def test_what_is_made_wrong_by_hand_is_found(lab):
    lab.on("w1", "chmod 644 /var/lib/kubelet/config.yaml")
    code, answer = lab.json("cis")
    (row,) = [row for row in answer["controls"] if row["status"] == "fail"]
    assert (code, row["id"]) == (1, "4.1.9")
    assert {"place": "w1", "status": "fail", "evidence": "/var/lib/kubelet/config.yaml 644"} in row["findings"]
    lab.must("up", "--only", "workers")
    assert lab.json("cis")[0] == 0


def test_a_privileged_pod_is_refused_and_a_restricted_one_runs(lab):
    bad = {"spec": {"containers": [{"name": "bad", "image": IMAGE, "securityContext": {"privileged": True}}]}}
    done = lab.run("kubectl", "run", "bad", f"--image={IMAGE}", f"--overrides={json.dumps(bad)}")
    assert done.returncode != 0
    assert 'violates PodSecurity "restricted' in done.stdout
    strict = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 1000,
    }
    container = {"name": "good", "image": IMAGE, "args": ["pause"], "imagePullPolicy": "Never"}
    container["securityContext"] = strict | {"seccompProfile": {"type": "RuntimeDefault"}}
    good = json.dumps({"spec": {"containers": [container]}})
    lab.must("kubectl", "run", "good", f"--image={IMAGE}", f"--overrides={good}")
    lab.must("kubectl", "wait", "--for=condition=Ready", "pod/good", "--timeout=120s")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/livez", "200"),
        ("/readyz", "200"),
        ("/api/v1/namespaces/kube-public/configmaps/cluster-info", "200"),
        ("/version", "401"),
        ("/api", "401"),
        ("/api/v1/namespaces/kube-system/secrets", "401"),
        ("/metrics", "401"),
    ],
)
def test_without_credentials(lab, addresses, path, code):
    said = lab.on("w1", f"curl -sk -o /dev/null -w '%{{http_code}}' https://{addresses['cp1']}:6443{path}")
    assert said == code


def raw(lab):
    said = lab.on("cp1", f"{ETCDCTL} get /registry/secrets/default/planted -w json")
    return base64.b64decode(json.loads(said)["kvs"][0]["value"])


def names(lab):
    config = json.loads(lab.on("cp1", f"cat {KEYS}"))
    return [key["name"] for key in config["resources"][0]["providers"][0]["secretbox"]["keys"]]


def test_a_secret_is_not_in_etcds_bytes(lab):
    lab.must("kubectl", "create", "secret", "generic", "planted", f"--from-literal=value={VALUE}")
    assert raw(lab).startswith(b"k8s:enc:secretbox:v1:key1:")
    assert VALUE.encode() not in raw(lab)
    assert base64.b64encode(VALUE.encode()) not in raw(lab)
    assert lab.json("secrets")[0] == 0


def read(lab):
    found = lab.must("kubectl", "get", "secret", "planted", "-o", "jsonpath={.data.value}")
    return base64.b64decode(found).decode()


def test_keys_are_rotated_and_the_old_one_is_gone(lab):
    old = lab.on("cp1", f"cat {KEYS}")
    lab.must("secrets", "rotate", "--check")
    assert lab.on("cp1", f"cat {KEYS}") == old
    lab.must("secrets", "rotate")
    assert names(lab) == ["key2"]
    assert raw(lab).startswith(b"k8s:enc:secretbox:v1:key2:")
    assert read(lab) == VALUE
    code, answer = lab.json("secrets")
    assert (code, answer["problems"]) == (0, [])
    assert list(answer["control_planes"]["cp1"]["stored"]) == ["secretbox:key2"]


def test_a_rotation_that_is_killed_goes_on(lab):
    command = [sys.executable, str(ROOT / "runner.py"), "secrets", "rotate", "--inventory", str(lab.file)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    ends = time.monotonic() + 120
    while names(lab) == ["key2"]:
        assert time.monotonic() < ends
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert read(lab) == VALUE
    lab.must("secrets", "rotate")
    assert names(lab) == ["key3"], "the key of the killed run was used, and no further one was made"
    assert read(lab) == VALUE


def opened(lab, source, address):
    """Return the open ports of an address, as a node or this machine sees them."""
    if source:
        lab.on(source, f"cat >/tmp/ports.py <<'END'\n{SCAN}END\n")
        return json.loads(lab.on(source, f"ulimit -n 4096; python3 /tmp/ports.py {address}; rm /tmp/ports.py"))
    command = [sys.executable, str(Path(__file__).parent / "ports.py"), address]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_every_port_that_should_be_closed_is_closed(lab, addresses):
    for node in ("cp1", "w1"):
        lab.on(node, LISTENERS)
    assert opened(lab, "cp1", addresses["w1"]) == [22, 10250]
    assert opened(lab, "w1", addresses["cp1"]) == [22, 6443, 10250], "etcd is for control planes"
    assert opened(lab, "", addresses["w1"]) == [22], "the kubelet is for nodes"
    assert opened(lab, "", addresses["cp1"]) == [22, 6443]
    here = set(opened(lab, "w1", "127.0.0.1"))
    assert {9999, 10250} <= here, "the node itself reaches all its ports: the listeners ran"
    for node in ("cp1", "w1"):
        lab.on(node, "systemctl stop listen.service")


def test_the_cluster_works_behind_it_and_nothing_is_left_to_do(lab):
    lab.must("verify", "--wait")
    done = lab.run("up", "--json")
    assert done.returncode == 0, done.stdout[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    tasks = [row for row in rows if row.get("event") == "task" and row["play"] != "Backup"]
    assert tasks
    assert [(row["host"], row["task"]) for row in tasks if row["changed"]] == []


def test_other_tables_are_left_alone_and_the_firewall_comes_back_at_boot(lab):
    lab.on("w1", "nft add table inet mine; nft add chain inet mine c; nft add rule inet mine c counter")
    lab.on("w1", "nft delete table inet kubesmith-firewall")
    lab.must("up", "--only", "runtime")
    tables = lab.on("w1", "nft list tables")
    assert {"table inet mine", "table inet kubesmith-firewall", "table ip kube-proxy"} <= set(tables.splitlines())
    assert "counter" in lab.on("w1", "nft list table inet mine")
    lab.on("w1", "nft delete table inet mine")
    subprocess.run(["podman", "restart", "--time=60", f"kubesmith-{lab.name}-w1"], check=True, capture_output=True)
    lab.must("wait-for", "ready")
    assert "table inet kubesmith-firewall" in lab.on("w1", "nft list tables")


def test_a_firewall_that_locks_out_goes_by_itself(lab, tmp_path):
    lab.must("up", "--only", "runtime")
    playbook = tmp_path / "lockout.yml"
    module = {"kubesmith.cluster.host_firewall": {"rules": [], "undo_after": 8}}
    playbook.write_text(yaml.safe_dump([{"hosts": "w1", "gather_facts": False, "tasks": [module]}]))
    ansible = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(lab.file), str(playbook)]
    done = subprocess.run(ansible, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10250" not in lab.on("w1", "nft list table inet kubesmith-firewall")
    ends = time.monotonic() + 60
    while "kubesmith-firewall" in lab.on("w1", "nft list tables"):
        assert time.monotonic() < ends, "nothing confirmed it, and it stayed"
        time.sleep(1)
    lab.must("up", "--only", "runtime")
    assert "10250" in lab.on("w1", "nft list table inet kubesmith-firewall")


def test_a_new_node_is_let_in_and_no_rule_of_the_others_changes(lab):
    chain = "nft --stateless list chain inet kubesmith-firewall input"
    before = {node: lab.on(node, chain) for node in ("cp1", "w1")}
    said = lab.must("add", "w2")
    assert "on other nodes: cp1: 1 changed, w1: 1 changed" in said
    assert {node: lab.on(node, chain) for node in before} == before
    rows = {row["name"]: row for row in json.loads((lab.state / "machines.json").read_text())["machines"]}
    for node in before:
        assert rows["w2"]["address"] in lab.on(node, "nft list set inet kubesmith-firewall nodes-ip")
        assert rows["w2"]["address"] in lab.on(node, "cat /etc/kubesmith/firewall.nft"), "also after a boot"
        lab.on("w2", f"timeout 5 bash -c '</dev/tcp/{rows[node]['address']}/10250'")
    assert "10250" in lab.on("w2", chain)
    lab.must("verify", "--wait")
    lab.must("remove", "w2")


def test_without_the_setting_the_firewall_goes(lab):
    text = lab.file.read_text()
    lab.file.write_text(text.replace("firewall: nftables", "firewall: none"))
    lab.must("up", "--only", "converge")
    for node in ("cp1", "w1"):
        assert "kubesmith-firewall" not in lab.on(node, "nft list tables; ls /etc/kubesmith 2>&1 || true")
    lab.file.write_text(text)


def test_reset_takes_the_profile_off_too(lab):
    lab.must("up", "--only", "converge")
    lab.must("reset", "--yes")
    for node in ("cp1", "w1"):
        assert lab.on(node, "getent passwd etcd || true") == ""
        assert "kubesmith-firewall" not in lab.on(node, "nft list tables; ls -d /etc/kubesmith 2>&1 || true")
