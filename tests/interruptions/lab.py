"""A lab that is interrupted: what prepares a phase, what each fault does and how it ends, and what must hold then."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

from lifecycle.lab import ROOT, Lab

IMAGE_FOLDER = "/var/lib/kubesmith/bundle"
FORGET = """
if command -v kubeadm >/dev/null; then kubeadm reset --force >/dev/null 2>&1; fi
rm -rf /etc/cni/net.d/* /etc/kubernetes/manifests/*
"""
KUBECTL = "kubectl --kubeconfig /etc/kubernetes/admin.conf"
#: What gives a phase something to do, on a cluster that is whole: (node, script) in order.
PREPARE = {
    "nodes": (),
    "runtime": tuple(
        (node, "rm -f /usr/local/bin/ctr /etc/crictl.yaml /etc/containerd/config.toml /usr/local/bin/kubeadm")
        for node in ("cp1", "w1")
    ),
    "control-plane": (("w1", FORGET), ("cp1", FORGET)),
    "network": (("cp1", f"{KUBECTL} delete -n kube-system ds/calico-node deploy/calico-kube-controllers"),),
    "workers": (("w1", FORGET), ("cp1", f"{KUBECTL} delete node w1 --ignore-not-found")),
    "ready": (("cp1", f"{KUBECTL} rollout restart -n kube-system deploy/coredns ds/calico-node ds/kube-proxy"),),
}
#: Folders that a phase writes into; in their place comes a file system without room.
FULL = {
    "runtime": "/etc/containerd",
    "control-plane": "/var/lib/etcd",
    "workers": "/var/lib/kubelet",
    "certs": "/etc/kubernetes/pki",
    "secrets": "/etc/kubernetes/encryption",
}
CUT = """
nft -f - <<'END'
table inet interruption {
  chain in { type filter hook input priority -300; tcp dport 22 drop; }
  chain out { type filter hook output priority -300; tcp sport 22 drop; }
}
END
"""
LOSS = """
nft -f - <<'END'
table inet interruption {
  chain in { type filter hook input priority -300; iif != lo numgen random mod 100 < 15 drop; }
  chain out { type filter hook output priority -300; oif != lo numgen random mod 100 < 15 drop; }
}
END
"""
SLOW = """
cat >/tmp/slow.sh <<'END'
while :; do dd if=/dev/zero of=/var/lib/slow.$1 bs=32k count=400 oflag=dsync 2>/dev/null; done
END
for number in 1 2 3; do systemd-run --unit=slow$number --collect sh /tmp/slow.sh $number; done
"""
MENDED = f"""
nft delete table inet interruption 2>/dev/null || true
for number in 1 2 3; do systemctl stop slow$number 2>/dev/null || true; done
rm -f /var/lib/slow.* /tmp/slow.sh
for folder in {" ".join(FULL.values())}; do
  while mountpoint -q $folder && [ "$(findmnt -no FSTYPE $folder | tail -1)" = tmpfs ]; do umount --lazy $folder; done
done
"""
#: What only an unfinished run leaves: files under the names that they have before they are whole, and empty ones.
HALF = """
folders="/etc /usr/local /opt /run /root /var/lib/kubelet /var/lib/kubesmith"
find $folders -xdev '(' -name '.*.kubesmith-new' -o -name '*.part' ')' 2>/dev/null
ls /run/kubesmith-join.json /run/kubesmith-kubeadm.yml 2>/dev/null
find /etc/kubernetes /var/lib/kubelet/config.yaml /etc/containerd /usr/local/bin -type f -size 0 2>/dev/null
true
"""
KEPT = """
apiVersion: v1
kind: ConfigMap
metadata: {name: NAME, namespace: kept}
data: {value: NAME}
---
apiVersion: v1
kind: Secret
metadata: {name: NAME, namespace: kept}
stringData: {value: NAME}
---
"""
OBJECTS = 25
SECONDS = 900  # that a run may take, interrupted or not


class Run:
    """A run of runner.py in the background: its phases are told as they begin."""

    def __init__(self, lab, words):
        verb, *rest = words
        command = [sys.executable, str(ROOT / "runner.py"), verb, "--inventory", str(lab.file), *rest, "--json"]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True
        )
        self.lines, self.rows = [], []
        self.changed = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line)
                with contextlib.suppress(ValueError):
                    self.rows.append(json.loads(line))
                self.changed.notify_all()

    def began(self, phase, seconds):
        """Wait until a phase has begun, or the run has ended; tell whether it has begun."""
        ends = time.monotonic() + seconds
        with self.changed:
            while not any(row.get("event") == "phase_start" and row["phase"] == phase for row in self.rows):
                if self.process.poll() is not None or time.monotonic() > ends:
                    return False
                self.changed.wait(0.2)
        return True

    def ended(self, seconds=SECONDS):
        """Wait for the end; return the exit code, None for a run that had to be ended by us."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            kill_tree(self.process.pid)
            self.process.wait()
            return None
        self.reader.join(10)
        return code

    def took(self):
        """Return {phase: seconds} of what has ended."""
        return {row["phase"]: row["seconds"] for row in self.rows if row.get("event") == "phase_end"}


def children(pid):
    """Return the processes below one, whatever their session."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = path.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, todo = [], [pid]
    while todo:
        below = parents.get(todo.pop(), [])
        found += below
        todo += below
    return found


def kill_tree(pid):
    """Kill a process and all below it at once."""
    for number in [pid, *children(pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


class Interrupted(Lab):
    """A lab with one control plane and one worker."""

    def __init__(self, folder, name):
        super().__init__(folder, name, more="features: {encrypt_secrets: true}\n")
        self.box = f"kubesmith-{name}"
        self.usual = {}  # seconds that each phase takes
        self.kept = {}
        self.full = None

    def podman(self, *words, check=True):
        return subprocess.run(["podman", *words], capture_output=True, text=True, check=check)

    def inside(self, node, script, check=True):
        """Run a script in a node, whatever SSH and its network do."""
        done = self.podman("exec", f"{self.box}-{node}", "sh", "-euc", script, check=False)
        assert done.returncode == 0 or not check, f"{node}: {done.stdout}{done.stderr}"
        return done.stdout

    def up(self):
        """Bring the lab to a verified cluster; keep how long each phase takes."""
        run = Run(self, ("up",))
        code = run.ended(1800)
        assert code == 0, "".join(run.lines)[-4000:]
        self.usual |= run.took()

    def remember(self):
        """Make objects, and keep who they are."""
        text = "".join(KEPT.replace("NAME", f"kept{number}") for number in range(OBJECTS))
        script = f"""
        {KUBECTL} get namespace kept >/dev/null 2>&1 || {KUBECTL} create namespace kept >/dev/null
        {KUBECTL} apply --server-side -f - >/dev/null <<'END'
        """
        self.inside("cp1", f"{textwrap.dedent(script).rstrip()}\n{text}END\n")
        self.kept = self.objects()
        assert len(self.kept) == 2 * OBJECTS

    def objects(self):
        """Return {kind/name: (uid, data)} of the objects that were made."""
        said = self.inside("cp1", f"{KUBECTL} get -n kept configmap,secret -o json")
        items = json.loads(said)["items"]
        return {
            f"{item['kind']}/{item['metadata']['name']}": (item["metadata"]["uid"], json.dumps(item.get("data")))
            for item in items
            if item["metadata"]["name"].startswith("kept")
        }

    def prepare(self, case):
        """Give the phase something to do."""
        if case.moment.phase == "nodes":
            self.podman("kill", f"{self.box}-{case.node}")
        for node, script in PREPARE.get(case.moment.phase, ()):
            self.inside(node, script)

    def seconds(self, case, phase):
        """Return how long to wait after the phase began."""
        whole = self.usual.get(phase) or self.usual.get(" ".join(case.moment.verb)) or 10
        return min(60.0, whole) * case.fraction

    def strike(self, case, run):
        """Let the fault happen."""
        name, box = case.fault, f"{self.box}-{case.node}"
        if name == "kill-runner":
            run.process.send_signal(signal.SIGKILL)
        elif name == "kill-all":
            kill_tree(run.process.pid)
        elif name == "power-off":
            self.podman("kill", box, check=False)
        elif name in ("ssh-cut", "packet-loss", "slow-disk"):
            self.inside(case.node, {"ssh-cut": CUT, "packet-loss": LOSS, "slow-disk": SLOW}[name], check=False)
        elif name == "bundle-gone":
            self.inside(case.node, f"umount --lazy {IMAGE_FOLDER}", check=False)
        elif name == "disk-full":
            self.fill(case)

    def fill(self, case):
        """Leave no room where the phase writes: on the node, else in the folder of this machine where runs are kept."""
        place = FULL.get(case.moment.phase or case.moment.verb[0])
        if place is None:
            folder = self.state / "runs"
            folder.mkdir(exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k,mode=700", "tmpfs", str(folder)], check=True)
            with contextlib.suppress(OSError):
                (folder / "full").write_bytes(b"x" * 4096)
            self.full = folder
            return
        node = "w1" if case.moment.phase == "workers" else "cp1"
        # What is in the folder is there as before: what fails is the room, and nothing else. Of etcd's there is nothing
        # yet, and it must find its folder empty; pods' mounts may be in the kubelet's, which is covered as it is.
        script = f"mkdir -p {place}; mount -t tmpfs -o size=16m,mode=700 tmpfs {place}"
        if place.startswith("/etc"):
            script = f"""
            mkdir /run/held; mount --bind {place} /run/held; mount -t tmpfs -o size=1m,mode=755 tmpfs {place}
            cp -a /run/held/. {place}/; umount /run/held; rmdir /run/held
            dd if=/dev/zero of={place}/.full bs=1k 2>/dev/null || true
            """
        self.inside(node, script)

    def mend(self, case):
        """End the fault, as whoever has noticed it would."""
        if self.full is not None:
            subprocess.run(["umount", "--lazy", str(self.full)], check=True)
            self.full = None
        for node in ("cp1", "w1"):
            self.inside(node, MENDED, check=False)

    def tidy(self, case):
        """Give a node what only a new start gives it."""
        if case.fault == "bundle-gone":
            self.podman("restart", "--time=30", f"{self.box}-{case.node}")
            self.must("wait-for", "ready")

    def half_written(self):
        """Return files that only an unfinished run leaves, on the nodes and here."""
        found = [f"{node}: {line}" for node in ("cp1", "w1") for line in self.inside(node, HALF).splitlines()]
        for path in self.state.rglob("*.json"):
            with contextlib.suppress(OSError):
                try:
                    json.loads(path.read_text() or "null")
                except ValueError:
                    found.append(f"here: {path} is no JSON")
        found += [f"here: {path}" for path in self.state.rglob("*.part")]
        return found
