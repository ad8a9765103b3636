# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What a cluster's programs leave running or mounted on a node: processes, cgroups, mounts, interfaces, kubeconfigs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any, Optional

from ansible_collections.kubesmith.cluster.plugins.module_utils import before, files, survey_traces
from ansible_collections.kubesmith.cluster.plugins.module_utils.kubeadm import KUBECTL
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, must, run

SHIM = "/usr/local/bin/containerd-shim-runc-v2"
LINKS = re.compile(r"(cali|vxlan\.calico|vxlan-v6\.calico|wireguard\.cali|wg-v6\.cali|tunl0|kube-ipvs0|nodelocaldns)")
ROUTES = "80"  # the protocol by which Calico marks its routes
FAMILY = ("-4", "-6")
KEEPALIVED = "/etc/kubernetes/balancer/keepalived.conf"
PATIENCE = 10  # seconds in which killed processes end


def cgroups() -> list[str]:
    """Return the cgroups of pods, those of every hierarchy, the deepest first."""
    tops = [path for pattern in ("kubepods*", "*/kubepods*") for path in Path("/sys/fs/cgroup").glob(pattern)]
    return [folder for top in sorted(set(tops)) for folder, _names, _files in os.walk(top, topdown=False)]


def processes() -> list[int]:
    """Return the processes of containers: those in pods' cgroups, and containerd's shims."""
    listed = [files.read(f"{folder}/cgroup.procs") or "" for folder in cgroups()]
    return sorted({int(row) for text in listed for row in text.split()} | set(shims()))


def shims() -> list[int]:
    """Return the processes of containerd's shims, also of a program that has been replaced."""
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if _program(path) == SHIM]


def _program(process: Path) -> str:
    """Return the program of a process; nothing for one of another container, whose paths are not ours."""
    try:
        if (process / "ns/pid").readlink() != Path("/proc/self/ns/pid").readlink():
            return ""
        return str((process / "exe").readlink()).removesuffix(" (deleted)")
    except OSError:
        return ""


def kill() -> None:
    """Kill the containers' processes, and wait until they have ended."""
    ends = time.monotonic() + PATIENCE
    while (found := processes()) and time.monotonic() < ends:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def remove_cgroups() -> None:
    """Remove the cgroups of pods; one that still has processes stays."""
    run(["systemctl", "stop", "kubepods.slice"], timeout=60)
    for folder in cgroups():
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


def mounted(was: Container[str]) -> list[str]:
    """Return the mount points in a cluster's folders that were not there, the last mounted first."""
    below = tuple(f"{folder}/" for folder in before.FOLDERS)
    ours = ("/run/netns", "/sys/fs/bpf", "/run/calico/cgroup")
    found = [path for path in before.mounts() if path not in was and (path.startswith(below) or path in ours)]
    return list(dict.fromkeys(reversed(found)))


def unmount(paths: Sequence[str]) -> None:
    """Unmount, those in use too."""
    for path in paths:
        if run(["umount", path], timeout=60).rc != 0:
            run(["umount", "--lazy", path], timeout=60)


def links(was: Container[str]) -> list[str]:
    """Return the interfaces of Calico and kube-proxy that were not there."""
    return [name for name in before.links() if LINKS.match(name) and name not in was]


def remove_link(name: str) -> None:
    """Remove an interface; ``tunl0``, which stays as long as its module, loses its addresses."""
    if name != "tunl0":
        result = run(["ip", "link", "delete", name], timeout=30)
        if result.rc != 0 and name in before.links():  # else it went meanwhile, with its other end
            raise CommandError(f"ip link delete {name}: {result.said}")
        return
    run(["ip", "link", "set", name, "down"], timeout=30)
    run(["ip", "address", "flush", "dev", name], timeout=30)


def shared_address(configuration: str) -> Optional[tuple[str, str]]:
    """Return (address with its length, interface) of keepalived's configuration, None where it has none."""
    found = re.search(r"^\s+(\S+/32) dev (\S+)$", configuration, re.MULTILINE)
    return (found.group(1), found.group(2)) if found else None


def has_address(address: str, interface: str) -> bool:
    """Tell whether an address is on an interface."""
    said = run(["ip", "-o", "address", "show", "dev", interface], timeout=30).out
    return f" {address} " in said


def remove_address(address: str, interface: str) -> None:
    """Take an address off an interface."""
    run(["ip", "address", "delete", address, "dev", interface], timeout=30)


def routes() -> list[str]:
    """Return Calico's routes."""
    said = [run(["ip", family, "route", "show", "table", "all", "proto", ROUTES], timeout=30).out for family in FAMILY]
    return [line.strip() for text in said for line in text.splitlines() if line.strip()]


def flush_routes() -> None:
    """Remove Calico's routes."""
    for family in FAMILY:
        run(["ip", family, "route", "flush", "table", "all", "proto", ROUTES], timeout=30)


def kubeconfigs(authority: str) -> dict[str, dict[str, Any]]:
    """Return {path: content} of the users' kubeconfigs that name the cluster with the CA of this digest."""
    found = {}
    for path in ("/root/.kube/config", *(str(path) for path in Path("/home").glob("*/.kube/config"))):
        said = run([KUBECTL, "config", "view", "--raw", "--output=json", f"--kubeconfig={path}"], timeout=30)
        content = json.loads(said.out) if said.rc == 0 and Path(path).is_file() else {}
        if authority and ours(content, authority):
            found[path] = content
    return found


def ours(content: dict[str, Any], authority: str) -> list[str]:
    """Return the names of the clusters in a kubeconfig whose CA has this digest."""
    rows = content.get("clusters") or []
    named = {row["name"]: row["cluster"].get("certificate-authority-data", "") for row in rows}
    text = "certificate-authority-data: %s\nserver: https://x\n"
    return [name for name, data in named.items() if data and survey_traces.conf(text % data)["ca"] == authority]


def forget_kubeconfig(path: str, content: dict[str, Any], authority: str) -> None:
    """Take the cluster, its contexts and users that no other context has out of a kubeconfig; an empty one goes."""
    clusters = ours(content, authority)
    contexts = content.get("contexts") or []
    gone = [row for row in contexts if row["context"]["cluster"] in clusters]
    kept = {row["context"].get("user") for row in contexts if row not in gone}
    users = {row["context"].get("user") for row in gone} - kept
    if len(clusters) == len(content["clusters"]):
        files.remove(path)
        with contextlib.suppress(OSError):
            Path(path).parent.rmdir()
        return
    config = [KUBECTL, "config", f"--kubeconfig={path}"]
    for verb, found in (("delete-context", [row["name"] for row in gone]), ("delete-cluster", clusters)):
        for name in found:
            must([*config, verb, name], timeout=30)
    for name in users:
        run([*config, "delete-user", str(name)], timeout=30)


def sorted_deepest(paths: Iterable[str]) -> list[str]:
    """Return paths with what is deeper in front."""
    return sorted(paths, key=lambda path: (-path.count("/"), path))
