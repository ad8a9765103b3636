"""Provider ssh on machines that somebody else set up: a plain Debian, a user with a password, a port of its own."""

import contextlib
import json
import os
import subprocess
import sys
import time

import pytest
import yaml
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.inventory import build
from ansible_collections.kubesmith.cluster.plugins.plugin_utils.spec import read

from kubesmith import paths
from machines.conftest import ROOT, Cluster

BOXES = "plainboxes"  # the containers are made as a lab is, and then nobody knows any more that we made them
NAME = "plain-test"
PASSWORD = "Corr3ct-horse-plain"
ROLES = {"cp1": "control-plane", "w1": "worker"}
PLAIN = f"""
rm -rf /root/.ssh /var/lib/kubesmith/bundle
useradd --create-home --shell /bin/bash admin
echo 'admin:{PASSWORD}' | chpasswd
echo 'admin ALL=(ALL) ALL' >/etc/sudoers.d/admin
printf 'Port 2222\\nPermitRootLogin no\\nPasswordAuthentication yes\\n' >/etc/ssh/sshd_config.d/00-plain.conf
systemctl restart ssh
cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub
"""
GOOD = {"KUBESMITH_SSH_PASSWORD": PASSWORD, "KUBESMITH_BECOME_PASSWORD": PASSWORD}


class Hosts(Cluster):
    """Two hosts and the cluster file that names them."""

    def __init__(self, folder, addresses, keys):
        super().__init__(folder / "cluster.yml", f"kubesmith-{BOXES}", {"KUBESMITH_STATE": str(folder / "state")})
        self.folder = folder
        self.addresses = addresses
        self.known_hosts = folder / "known_hosts"
        self.keys = "".join(f"[{addresses[name]}]:2222 {key}\n" for name, key in keys.items())
        self.known_hosts.write_text(self.keys)
        nodes = [{"name": name, "role": ROLES[name], "address": address} for name, address in addresses.items()]
        content = {
            "plugin": "kubesmith.cluster.spec",
            "cluster": {"name": NAME},
            "provider": "ssh",
            "access": {"user": "admin", "port": 2222, "known_hosts": str(self.known_hosts)},
            "nodes": nodes,
        }
        self.file.write_text(yaml.safe_dump(content, sort_keys=False))
        self._containers()

    def _containers(self):
        """Say what a provider that makes containers would: these plain hosts share this machine's kernel."""
        spec = read(self.file)
        plain, container = (
            build(spec, [{"name": "other", "container": flag}], state="", bundle="") for flag in (False, True)
        )
        differing = {name: value for name, value in container.variables.items() if plain.variables.get(name) != value}
        files = {"group_vars/all.yml": differing}
        for node in ROLES:
            files[f"host_vars/{node}.yml"] = {"containerd_host": container.hosts[node]["containerd_host"]}
        for name, content in files.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(yaml.safe_dump(content))

    def again(self, *words):
        """Start a host, and wait until it has booted."""
        self.podman(*words)
        self.on(
            words[-1],
            "until [ -S /run/systemd/private ]; do sleep 0.2; done; systemctl is-system-running --wait || true",
        )

    @contextlib.contextmanager
    def knowing(self, keys):
        """Have other host keys known for a while."""
        self.known_hosts.write_text(keys)
        try:
            yield
        finally:
            self.known_hosts.write_text(self.keys)


def boxes(verb, folder):
    """Make or remove the two containers; they see an empty folder where a lab sees the bundle."""
    more = ["--workers", "1", "--bundle", str(folder / "nothing" / "current")]
    command = [sys.executable, "-m", "kubesmith.providers.podman", verb, BOXES, *more]
    subprocess.run(command, check=True, cwd=ROOT, env=os.environ | {"KUBESMITH_STATE": str(folder / "boxes")})


@pytest.fixture(scope="module")
def hosts(tmp_path_factory, keep):
    """Two Debians with SSH on port 2222, for one user with a password, which sudo wants too."""
    folder = tmp_path_factory.mktemp("hosts")
    try:
        boxes("create", folder)
        rows = json.loads((folder / "boxes" / BOXES / "machines.json").read_text())["machines"]
        addresses = {row["name"]: row["address"] for row in rows}
        probe = Cluster(folder, f"kubesmith-{BOXES}", {})
        yield Hosts(folder, addresses, {name: probe.on(name, PLAIN).strip() for name in addresses})
    finally:
        if not keep:
            boxes("destroy", folder)


def refused(done, *words):
    """Check that a run was refused before anything was done, in few words; the password is not among them."""
    assert done.returncode == 2, done.stdout
    for word in words:
        assert word in done.stdout, done.stdout
    assert "Traceback" not in done.stdout
    assert PASSWORD not in done.stdout
    assert len(done.stdout.strip().splitlines()) <= 4, done.stdout


# --- before anything is done


def test_no_password_and_no_terminal(hosts):
    refused(hosts.run("up"), "cp1", "w1", "does not let admin in")


def test_a_wrong_ssh_password(hosts):
    refused(hosts.run("up", **GOOD | {"KUBESMITH_SSH_PASSWORD": "wrong"}), "cp1, w1 refuses the SSH password of admin")


def test_a_wrong_sudo_password(hosts):
    done = hosts.run("up", **GOOD | {"KUBESMITH_BECOME_PASSWORD": "wrong"})
    refused(done, "sudo refuses the password of admin on cp1, w1")


def test_no_sudo_password_and_no_terminal(hosts):
    done = hosts.run("up", KUBESMITH_SSH_PASSWORD=PASSWORD)
    refused(done, "sudo wants the password of admin on cp1, w1", "KUBESMITH_BECOME_PASSWORD")


def test_a_host_key_that_is_not_known(hosts):
    with hosts.knowing(hosts.keys.splitlines(keepends=True)[0]):
        refused(hosts.run("up", **GOOD), "w1: its SSH host key is not known here")


def test_a_host_key_that_changed(hosts):
    first, second = hosts.keys.splitlines(keepends=True)
    other = f"{second.split()[0]} {first.partition(' ')[2]}"
    with hosts.knowing(first + other):
        forget = f"ssh-keygen -f {hosts.known_hosts} -R"
        refused(hosts.run("up", **GOOD), "w1: its SSH host key is not the one that is known", forget)


def test_a_host_that_is_not_there(hosts):
    hosts.podman("kill", "w1")
    try:
        refused(hosts.run("up", **GOOD), "w1: it does not answer")
    finally:
        hosts.again("start", "w1")


# --- the cluster


def when_said(hosts, words, action, seconds=900):
    """Start ``up``, call ``action`` once it has said ``words``; return (exit code, all it said)."""
    said = []
    with subprocess.Popen(
        hosts.command("up", "--json"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=hosts.environment | GOOD,
    ) as process:
        for line in process.stdout:
            said.append(line)
            if action and words in line:
                action()
                action = None
        code = process.wait(seconds)
    assert action is None, f"never said {words!r}: {''.join(said)[-4000:]}"
    return code, "".join(said)


def test_a_host_that_vanishes_in_the_middle_is_named_and_the_next_run_finishes(hosts):
    began = time.monotonic()
    code, said = when_said(hosts, '"role": "containerd"', lambda: hosts.podman("kill", "w1"))
    assert code == 1, said[-4000:]
    assert time.monotonic() - began < 600
    digests = [json.loads(line) for line in said.splitlines() if line.startswith('{"event": "digest"')]
    assert "w1" in json.dumps(digests), said[-4000:]
    hosts.again("start", "w1")
    done = hosts.run("up", **GOOD)
    assert done.returncode == 0, done.stdout[-4000:]
    assert PASSWORD not in done.stdout + said


def test_a_second_run_changes_nothing(hosts):
    changed, tasks = hosts.changed(**GOOD)
    assert changed == []
    assert tasks > 20


def test_no_file_holds_the_password(hosts):
    command = ["grep", "-rlF", PASSWORD, str(hosts.folder), str(paths.cache() / "sudo-password")]
    assert not subprocess.run(command, capture_output=True, text=True, check=False).stdout


def test_the_cluster_is_whole_after_a_reboot_of_each(hosts):
    for node in ROLES:
        hosts.again("restart", "--time=60", node)
        hosts.verified(**GOOD)


def test_a_key_and_sudo_without_a_password(hosts, tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    for node in ROLES:
        hosts.on(
            node,
            "mkdir -p -m 0700 ~admin/.ssh; echo 'admin ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/admin\n"
            f"echo '{key.with_suffix('.pub').read_text().strip()}' >~admin/.ssh/authorized_keys\n"
            "chown -R admin: ~admin/.ssh",
        )
    content = yaml.safe_load(hosts.file.read_text())
    content["access"]["key"] = str(key)
    hosts.file.write_text(yaml.safe_dump(content, sort_keys=False))
    hosts.verified()
    assert hosts.run("snapshot", "save", "clean").returncode == 2
    refused(hosts.run("destroy", "--yes"), "provider ssh does not destroy machines")


# --- lists of machines


@pytest.mark.parametrize("kind", ["csv", "rebar"])
def test_an_imported_list_is_the_same_cluster(hosts, kind):
    source = hosts.folder / f"{NAME}.{kind}"
    if kind == "csv":
        rows = [
            f"{name},{address},00:11:22:33:44:55,type={'cp' if name == 'cp1' else 'worker'}"
            for name, address in hosts.addresses.items()
        ]
        source.write_text("hostname,ip_address,mac,labels\n" + "\n".join(rows) + "\n")
    else:
        masters = [{"Name": "cp1", "Uuid": "1", "Address": hosts.addresses["cp1"]}]
        rows = [
            {"Name": name, "Address": address, "Uuid": str(number), "Params": {"krib/cluster-masters": masters}}
            for number, (name, address) in enumerate(hosts.addresses.items(), 1)
        ]
        source.write_text(json.dumps(rows))
    target = hosts.folder / f"from-{kind}.yml"
    command = [sys.executable, "-m", "kubesmith.cli", "import", kind, str(source), "-o", str(target)]
    subprocess.run(command, check=True, cwd=ROOT)
    content = yaml.safe_load(target.read_text())
    assert content["nodes"][0]["role"] == "control-plane"
    content["access"] = yaml.safe_load(hosts.file.read_text())["access"]
    target.write_text(yaml.safe_dump(content, sort_keys=False))
    changed, tasks = Cluster(target, hosts.box, hosts.environment).changed()
    assert changed == []
    assert tasks > 20
