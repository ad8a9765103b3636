"""What tours and exercises do to parts of the cluster, each with its way back."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import partial

from kubesmith import kube
from kubesmith.errors import KubesmithError
from kubesmith.tour.api import Object
from kubesmith.tour.journal import Undo
from kubesmith.tour.stage import Stage

MANIFESTS = "/etc/kubernetes/manifests"
PARKED = "/etc/kubernetes/kubesmith-tour"
#: By the whole command: the kernel keeps 15 letters of a name, in which the controller manager is Calico's own.
PROCESS = "pgrep -f '^([^ ]*/)?{}( |$)'"
ADMIN = "--kubeconfig /etc/kubernetes/admin.conf"


def unpark(*names: str) -> str:
    """Return the script that brings static pods' manifests back, if they are away."""
    moves = [f"[ ! -e {PARKED}/{name}.yaml ] || mv {PARKED}/{name}.yaml {MANIFESTS}/{name}.yaml" for name in names]
    return "\n".join([*moves, f"rmdir {PARKED} 2>/dev/null || true"])


def park(*names: str) -> str:
    """Return the script that takes static pods' manifests away, if they are there."""
    moves = [f"[ ! -e {MANIFESTS}/{name}.yaml ] || mv {MANIFESTS}/{name}.yaml {PARKED}/{name}.yaml" for name in names]
    return "\n".join([f"install -d -m 700 {PARKED}", *moves])


def take_away(stage: Stage, name: str) -> None:
    """Take a component's manifest away on every control plane, and wait until its process has ended."""
    for node in stage.nodes.control_planes:
        do, way = partial(stage.nodes.run, node, park(name)), Undo(node=node, script=unpark(name))
        stage.act("manifest_away", do, way, node=node, file=f"{name}.yaml")
    ended(stage, name)
    stage.see("ended", source="probe", name=name)


def ended(stage: Stage, name: str) -> None:
    """Wait until no control plane has a process of that name."""
    stage.must("ended", lambda: not any(running(stage, node, name) for node in stage.nodes.control_planes), 90, 0.5)


def bring_back(stage: Stage, name: str) -> None:
    """Bring a component's manifest back on every control plane."""
    for node in stage.nodes.control_planes:
        do = partial(stage.nodes.run, node, unpark(name))
        stage.act("manifest_back", do, node=node, file=f"{name}.yaml")


def running(stage: Stage, node: str, name: str) -> int:
    """Return how many processes of a program run on a node."""
    return len(stage.nodes.run(node, f"{PROCESS.format(name)} || true").split())


def stop_unit(stage: Stage, node: str, unit: str) -> None:
    """Stop a systemd unit on a node."""
    way = Undo(node=node, script=f"systemctl start {unit}")
    stage.act("stop", lambda: stage.nodes.run(node, f"systemctl stop {unit}"), way, node=node, unit=unit)


def start_unit(stage: Stage, node: str, unit: str) -> None:
    """Start a systemd unit on a node."""
    stage.act("start", lambda: stage.nodes.run(node, f"systemctl start {unit}"), node=node, unit=unit)


def untainted(stage: Stage, node: str, key: str) -> Undo:
    """Return the way back of the taint KEY:NoSchedule; a node's taints are one list, of which the rest stays."""
    said = f"kubectl {ADMIN} taint node {node} {key}:NoSchedule- 2>&1 || true"
    return Undo(node=stage.nodes.control_planes[0], script=f"({said}) | grep -qE 'untainted|not found'")


def kubectl(stage: Stage, *words: str) -> str:
    """Run kubectl in the tour's namespace and return what it printed; KubesmithError if it fails."""
    command = [kube.binary(), "-n", stage.namespace, *words]
    environment = kube.environment(stage.job.kubeconfig)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise KubesmithError(f"kubectl {words[0]}: {kube.last_line(done.stderr)}")
    return done.stdout


def other(stage: Stage) -> str:
    """Return a node that is not the one that things are done to: another worker, else a control plane."""
    rest = [name for name in (*stage.nodes.workers, *stage.nodes.control_planes) if name != stage.worker]
    return rest[0]


def containers(stage: Stage, node: str, pod: Object) -> int:
    """Return how many of a pod's processes run on its node, by the cgroup that they are in; containerd is not asked."""
    uid = str(pod["metadata"]["uid"])
    names = f"{uid}|{uid.replace('-', '_')}"
    look = f"grep -qE '{names}' $f 2>/dev/null"
    script = f"n=0; for f in /proc/[0-9]*/cgroup; do if {look}; then n=$((n+1)); fi; done; echo $n"
    return int(stage.nodes.run(node, script))


def answers(stage: Stage, node: str, url: str) -> bool:
    """Tell whether an address answers a node now."""
    flag = f"/run/kubesmith-tour-once-{stage.namespace[-6:]}"
    question = {"urls": {"it": url}, "flag": flag, "seconds": 0.5, "pause": 0.3}
    answer = stage.nodes.ask(node, "serve", question)["it"]
    stage.nodes.run(node, f"rm -f {flag}")
    return bool(answer["good"])


def events(stage: Stage, reason: str, about: str = "") -> list[Object]:
    """Return the events of the tour's namespace with a reason, about a pod whose name begins so."""
    rows = stage.api.items(f"/api/v1/namespaces/{stage.namespace}/events")
    return [
        row for row in rows if row.get("reason") == reason and row["involvedObject"].get("name", "").startswith(about)
    ]


def flag(words: Sequence[str], name: str, default: str) -> str:
    """Return the value of a program's flag --NAME=VALUE, ``default`` where it is not given."""
    found = [word.partition("=")[2] for word in words if word.startswith(f"--{name}=")]
    return found[-1] if found else default


def controller_seconds(stage: Stage, name: str, default: float) -> float:
    """Return a duration among the controller manager's flags, in seconds; ``default`` where it is not given."""
    node = stage.nodes.control_planes[0]
    process = PROCESS.format("kube-controller-manager")
    words = stage.nodes.run(node, f"tr '\\0' ' ' < /proc/$({process} | head -1)/cmdline").split()
    text = flag(words, name, "")
    total, number = 0.0, ""
    for letter in text:
        number += letter if letter.isdigit() or letter == "." else ""
        if letter in "hms" and number:
            total += float(number) * {"h": 3600, "m": 60, "s": 1}[letter]
            number = ""
    return total or default
