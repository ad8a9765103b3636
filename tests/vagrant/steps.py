"""What `make test-vagrant` does beside runner.py's own verbs: python tests/vagrant/steps.py STEP.

libvirt-start and libvirt-stop are for machines without systemd, such as a container: elsewhere libvirt runs already.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
INVENTORY = Path(__file__).parent / "cluster.yml"
RUNNER = (sys.executable, str(CHECKOUT / "runner.py"))
STATE = Path(os.environ.get("KUBESMITH_STATE", "~/.local/state/kubesmith")).expanduser() / "vagrant-test"
CONF = Path("/etc/libvirt/qemu.conf")
KEPT = CONF.with_suffix(".conf.before-kubesmith-test")
PIDS = {"virtlogd": Path("/run/virtlogd.pid"), "libvirtd": Path("/run/libvirtd.pid")}
OURS = Path("/run/kubesmith-test-libvirt")  # says that the daemons are ours to stop
NODES = ("m-k8s", "w1-k8s")
WAIT = "1200"


def runner(*words: str) -> int:
    """Run runner.py on the test's cluster."""
    print("$ runner.py", *words, flush=True)
    return subprocess.run([*RUNNER, *words, "--inventory", str(INVENTORY)], check=False).returncode


def ssh(node: str, command: str) -> str:
    """Run a command on a node as root and return what it printed."""
    config = str(STATE / "ssh_config")
    done = subprocess.run(["ssh", "-F", config, node, "sudo", command], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def libvirt_start() -> int:
    """Start libvirt's daemons where they do not answer."""
    if _answers():
        return 0
    if Path("/run/systemd/system").exists():
        return subprocess.run(["systemctl", "start", "libvirtd"], check=False).returncode
    if not KEPT.exists():
        # As root, qemu sees /dev/kvm as libvirtd does. Else libvirt probes qemu's abilities anew 13 times for each
        # machine that is defined, 42 seconds in all, since the two do not agree.
        shutil.copy2(CONF, KEPT)
        CONF.write_text(CONF.read_text() + '\nuser = "root"\ngroup = "root"\n')
    Path("/run/libvirt").mkdir(exist_ok=True)
    OURS.touch()
    for daemon in PIDS:
        subprocess.run([daemon, "--daemon"], check=True)
    ends = time.monotonic() + 60
    while not _answers() and time.monotonic() < ends:
        time.sleep(1)
    return 0 if _answers() else 1


def libvirt_stop() -> int:
    """Stop the daemons that libvirt-start started, and put libvirt's configuration back."""
    if not OURS.exists():
        return 0
    for file in reversed(PIDS.values()):
        if file.exists():
            os.kill(int(file.read_text()), signal.SIGTERM)
    if KEPT.exists():
        KEPT.replace(CONF)
    OURS.unlink()
    return 0


def _answers() -> bool:
    command = ["virsh", "--connect", "qemu:///system", "version"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def again() -> int:
    """A second run changes nothing."""
    return _unchanged("up", "--inventory", str(INVENTORY))


def hosts() -> int:
    """Provider ssh takes the same machines as they are, by user, key and host key, and changes nothing on them."""
    with tempfile.TemporaryDirectory() as folder:
        made = json.loads((STATE / "machines.json").read_text())["machines"]
        lines = (STATE / "ssh_config").read_text().split()
        state = Path(folder) / STATE.name
        state.mkdir()
        shutil.copy(STATE / "kubeconfig", state)
        nodes = [{"name": row["name"], "address": row["address"]} for row in made]
        nodes[0]["role"] = "control-plane"
        key = lines[lines.index("IdentityFile") + 1].strip('"')
        access = {"user": made[0]["ssh_user"], "key": key, "known_hosts": str(STATE / "known_hosts")}
        content = {"cluster": {"name": STATE.name}, "provider": "ssh", "access": access, "nodes": nodes}
        file = Path(folder) / "cluster.yml"
        file.write_text(json.dumps({"plugin": "kubesmith.cluster.spec"} | content))  # JSON is YAML
        return _unchanged("up", "--only", "converge", "--inventory", str(file), KUBESMITH_STATE=folder)


def _unchanged(*words: str, **environment: str) -> int:
    command = [*RUNNER, *words, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=os.environ | environment)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    # The backup before each run is new each time.
    rows = [row for row in rows if row.get("event") == "task" and row["play"] != "Backup"]
    changed = [row for row in rows if row["changed"]]
    tasks = len(rows)
    print(f"{tasks} tasks, changed={len(changed)}")
    for row in changed:
        print(f"changed: {row['host']}: {row['task']}")
    return done.returncode or int(bool(changed) or not tasks)


def reboot() -> int:
    """Each node in turn starts again, with its own kernel, and the cluster verifies after each."""
    for node in NODES:
        before = ssh(node, "cat /proc/sys/kernel/random/boot_id")
        began = time.monotonic()
        ssh(node, "systemctl reboot")
        while (now := ssh(node, "cat /proc/sys/kernel/random/boot_id")) in ("", before):
            if time.monotonic() - began > 600:
                print(f"{node} did not come back")
                return 1
            time.sleep(5)
        print(f"{node}: back after {time.monotonic() - began:.0f} s, another boot: {before != now}")
        print(f"{node}: swap: {ssh(node, 'cat /proc/swaps').splitlines()[1:]}, ip_forward:", end=" ")
        print(ssh(node, "cat /proc/sys/net/ipv4/ip_forward"), flush=True)
        if code := runner("verify", "--wait", WAIT):
            return code
    return 0


def damage() -> int:
    """Take the static pods' manifests, etcd's data and the network plug-in away; verify has to notice."""
    gone = "rm -f /etc/kubernetes/manifests/*.yaml; rm -rf /var/lib/etcd/member; rm -rf /etc/cni/net.d"
    ssh("m-k8s", f"sh -c '{gone}'")
    ends = time.monotonic() + 600
    while ssh("m-k8s", "pgrep -x etcd"):
        if time.monotonic() > ends:
            print("etcd still runs")
            return 1
        time.sleep(5)
    print("m-k8s: no manifests, no etcd")
    return 0 if runner("verify") == 1 else 1


STEPS = {
    "libvirt-start": libvirt_start,
    "libvirt-stop": libvirt_stop,
    "again": again,
    "hosts": hosts,
    "reboot": reboot,
    "damage": damage,
}


def main(words: Sequence[str]) -> int:
    """Run the step that is named."""
    return STEPS[words[0]]()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
