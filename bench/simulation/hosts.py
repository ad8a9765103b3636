"""The simulated hosts: one container, an SSH port for each, real files, and beside them a real control plane."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.simulation import paper
from kubesmith import execute, machines, paths
from kubesmith.machines import Machine
from kubesmith.providers.podman.engine import host, node_flags, podman, runtime_flags
from kubesmith.providers.podman.lab import Lab
from kubesmith.providers.podman.node_image import NodeImage

HERE = Path(__file__).resolve().parent
RUNNER = [sys.executable, str(HERE.parents[1] / "runner.py")]
FIRST_PORT = 20000  # as in enter.c: host wN has the port FIRST_PORT + N
PORTS = 16  # that one sshd listens on at most
KWOK, KWOK_VERSION = "sigs.k8s.io/kwok", "v0.8.0"
#: What kwok does with nodes and pods, out of its own module: Ready at once, leases, pods that run and end.
STAGES = (
    *("node/fast/node-initialize", "node/heartbeat-with-lease/node-heartbeat-with-lease"),
    *("pod/fast/pod-ready", "pod/fast/pod-complete", "pod/fast/pod-delete"),
)
INSIDE = "/simulation"
GROUP = "kube_node"

MAKE_HOSTS = f"""
set -eu
cd {INSIDE}
if [ ! -d template ]; then
  mkdir -p template.new && cd template.new
  mkdir -p etc var/lib/kubesmith var/log var/tmp run/systemd/system run/lock opt root tmp usr/local/bin usr/local/sbin
  cp -a /etc/passwd /etc/group /etc/shadow /etc/nsswitch.conf /etc/ld.so.cache /etc/os-release /etc/alternatives etc/
  cp -a /etc/ssl etc/ && rm -rf etc/ssl/certs && cp -a /etc/python3* etc/
  printf '127.0.0.1\\tlocalhost\\n' >etc/hosts
  : >etc/fstab
  ln -s {INSIDE}/bundle var/lib/kubesmith/bundle
  ln -s {INSIDE}/programs/systemctl usr/local/sbin/systemctl
  cd .. && mv template.new template
fi
mkdir -p hosts
for number in $(seq "$1" "$2"); do
  [ -d "hosts/w$number" ] || cp -a template "hosts/w$number"
done
"""

LISTEN = f"""
set -eu
mkdir -p /run/sshd
[ -f {INSIDE}/key ] || ssh-keygen -q -t ed25519 -N '' -f {INSIDE}/key
for first in $(seq "$1" {PORTS} "$2"); do
  [ -e "/run/sshd/$first" ] && continue
  ports=''
  for port in $(seq "$first" $((first + {PORTS} - 1))); do ports="$ports -p $port"; done
  # shellcheck disable=SC2086
  /usr/sbin/sshd -f {INSIDE}/sshd_config $ports
  touch "/run/sshd/$first"
done
"""

SSHD = f"""\
AddressFamily inet
HostKey {INSIDE}/key
AuthorizedKeysFile {INSIDE}/authorized_keys
ForceCommand {INSIDE}/enter
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
UseDNS no
PidFile none
MaxStartups 1000
MaxSessions 64
LogLevel ERROR
"""


@dataclass(frozen=True)
class Simulation:
    """A cluster ``name`` with a real control plane, made by the provider podman, and simulated workers.

    ``folder`` holds the cluster file, the hosts' files and the paper bundle.
    """

    name: str
    folder: Path

    @property
    def inventory(self) -> Path:
        """The cluster file of the control plane and all workers."""
        return self.folder / "cluster.yml"

    @property
    def state(self) -> Path:
        """The cluster's state folder."""
        return paths.state(self.name)

    @property
    def _lab(self) -> Lab:
        return Lab(self.name)

    @property
    def _container(self) -> str:
        return f"{self._lab.container('simulation')}"

    def begin(self) -> None:
        """Make a fresh control plane with its network plug-in, kwok, and no worker yet."""
        self.end()
        self.folder.mkdir(parents=True)
        self._write_inventory(0)
        runner("up", "--only", "nodes", "--inventory", str(self.inventory))
        self._start_container()
        self.grow(1)  # the playbook wants a worker in the inventory; none is looked at here
        command = [
            str(Path(sys.executable).parent / "ansible-playbook"),
            "kubesmith.cluster.site",
            "-i",
            self.inventory,
        ]
        command += ["--limit", "localhost,kube_control_plane", "--tags", "runtime,control-plane,network"]
        checked(command, env=ansible_environment())
        self._start_kwok()

    def grow(self, workers: int) -> None:
        """Have ``workers`` simulated workers in all; those that are there stay as they are."""
        self._write_inventory(workers)
        podman("exec", self._container, "sh", "-c", MAKE_HOSTS, "make", "1", str(workers))
        podman("exec", self._container, "sh", "-c", LISTEN, "listen", str(FIRST_PORT + 1), str(FIRST_PORT + workers))
        own = [machine for machine in machines.load(self.state) if not machine.name.startswith("w")]
        address, config = self._address(), self._ssh_config()
        made = [
            Machine(
                name=f"w{number}",
                address=f"172.20.{number // 250}.{number % 250 + 1}",
                ssh_host=address,
                ssh_port=FIRST_PORT + number,
                ssh_user="root",
                ssh_config=str(config),
                container=True,
            )
            for number in range(1, workers + 1)
        ]
        machines.save(self.state, "podman", [*own, *made])

    def fresh(self, workers: int) -> None:
        """Have ``workers`` hosts that know nothing of a cluster, and no node of theirs in it."""
        kubectl = [*RUNNER, "kubectl", "--inventory", str(self.inventory), "--"]
        checked([*kubectl, "delete", "nodes", "--selector=!node-role.kubernetes.io/control-plane", "--wait=false"])
        podman("exec", self._container, "sh", "-c", f"rm -rf {INSIDE}/hosts")
        self.grow(workers)

    def processor_seconds(self) -> float:
        """Return the processor seconds that the hosts have used so far, SSH's daemons with them."""
        inside = "awk '{print $1}' /sys/fs/cgroup/cpuacct/cpuacct.usage /sys/fs/cgroup/cpu.stat 2>/dev/null || true"
        said = podman("exec", self._container, "sh", "-c", inside).split()
        return int(said[0]) / 1e9 if said and said[0].isdigit() else 0.0

    def end(self) -> None:
        """Remove the control plane, the hosts, kwok, and everything that they left."""
        self._stop_kwok()
        podman("rm", "--force", "--ignore", "--time=0", self._container)
        if self.inventory.exists() or self.state.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            self._write_inventory(0)
            runner("destroy", "--inventory", str(self.inventory))
        shutil.rmtree(self.folder, ignore_errors=True)

    def effects(self) -> dict[str, Counter[str]]:
        """Return {host: {effect: how often}} as the hosts' own programs wrote it down (``kubeadm join``, …)."""
        found = {}
        for log in sorted(self.folder.glob("hosts/w*/var/log/simulation.effects")):
            words = [line.split()[:2] for line in log.read_text().splitlines()]
            found[log.parents[2].name] = Counter(" ".join(pair) for pair in words)
        return found

    def _write_inventory(self, workers: int) -> None:
        text = f"plugin: kubesmith.cluster.spec\ncluster: {{name: {self.name}}}\nprovider: podman\nlab: true\n"
        text += f"workers: {workers}\nnetwork: {{pods: 10.128.0.0/10}}\n"
        self.inventory.write_text(text)
        variables = {f"{role}_bundle": str(self.folder / "bundle") for role in ("containerd", "kubeadm_worker")}
        (self.folder / "group_vars").mkdir(exist_ok=True)
        (self.folder / f"group_vars/{GROUP}.yml").write_text(json.dumps(variables) + "\n")

    def _start_container(self) -> None:
        paper.make(paths.bundle(), self.folder / "bundle")
        shutil.copytree(paper.PROGRAMS, self.folder / "programs")
        checked(["gcc", "-O2", "-static", "-o", str(self.folder / "enter"), str(HERE / "enter.c")])
        (self.folder / "sshd_config").write_text(SSHD)
        shutil.copy(self.state / "id_ed25519.pub", self.folder / "authorized_keys")
        machine = host()
        command = [*runtime_flags(machine), "run", "--detach", *node_flags(machine), f"--name={self._container}"]
        command += [f"--network={self._lab.network}", f"--volume={self.folder}:{INSIDE}"]
        podman(*command, "--entrypoint=sleep", NodeImage().reference, "infinity")

    def _address(self) -> str:
        networks = json.loads(podman("inspect", self._container))[0]["NetworkSettings"]["Networks"]
        return str(next(iter(networks.values()))["IPAddress"])

    def _ssh_config(self) -> Path:
        """Write how SSH enters the hosts: the lab's key, and one host key for all."""
        key = (self.folder / "key.pub").read_text().split()[:2]
        (self.folder / "known_hosts").write_text(f"* {' '.join(key)}\n")
        config = self.folder / "ssh_config"
        options = {
            "IdentityFile": self.state / "id_ed25519",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": self.folder / "known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "LogLevel": "ERROR",
        }
        config.write_text("Host *\n" + "".join(f"  {key} {value}\n" for key, value in options.items()))
        return config

    @property
    def _kwok_pid(self) -> Path:
        return self.folder / "kwok.pid"

    def _start_kwok(self) -> None:
        program, stages = kwok()
        command = [str(program), "--kubeconfig", str(self.state / "kubeconfig"), "--manage-all-nodes=false"]
        command += ["--config", str(stages)]
        command += [
            "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake",
            "--node-lease-duration-seconds=40",
        ]
        with (self.folder / "kwok.log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self._kwok_pid.write_text(str(process.pid))

    def _stop_kwok(self) -> None:
        try:
            pid = int(self._kwok_pid.read_text())
            if b"kwok" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, 15)
        except (OSError, ValueError):
            return


def kwok() -> tuple[Path, Path]:
    """Return kwok's program, built once from its Go module, and a file with its stages, out of the same."""
    folder, cache = paths.cache() / "bench", paths.cache() / "go"
    program, stages = folder / "kwok", folder / "kwok-stages.yaml"
    if not program.exists():
        go = shutil.which("go") or "/usr/local/go/bin/go"
        environment = {"GOBIN": str(folder), "GOMODCACHE": str(cache / "mod"), "GOCACHE": str(cache / "build")}
        environment |= {"CGO_ENABLED": "0", "GOFLAGS": "-modcacherw"}
        checked([go, "install", f"{KWOK}/cmd/kwok@{KWOK_VERSION}"], env=environment)
    if not stages.exists():
        module = cache / "mod" / f"{KWOK}@{KWOK_VERSION}" / "kustomize/stage"
        stages.write_text("\n---\n".join((module / f"{name}.yaml").read_text() for name in STAGES))
    return program, stages


def ansible_environment() -> Mapping[str, str]:
    """Return the settings with which the wrapper runs Ansible."""
    return execute.environment(paths.make_private(paths.cache() / "bench"))


def runner(*words: str) -> list[dict[str, Any]]:
    """Run kubesmith and return its JSON events; a run that fails ends the benchmark."""
    done = checked([*RUNNER, *words, "--json"])
    return [json.loads(line) for line in done.splitlines() if line.startswith("{")]


def checked(command: list[Any], env: Mapping[str, str] | None = None) -> str:
    """Run a command and return what it printed; SystemExit with its last words if it fails."""
    began = time.monotonic()
    done = subprocess.run(
        [str(word) for word in command], check=False, env={**os.environ, **(env or {})}, capture_output=True, text=True
    )
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        sys.exit(f"{command} ended with {done.returncode} after {time.monotonic() - began:.0f} s:\n{said}")
    return done.stdout
