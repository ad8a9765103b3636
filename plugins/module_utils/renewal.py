# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""New certificates for a node, and its programs work with them: what the module does, and the node's timer."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.kubesmith.cluster.plugins.module_utils import der, kubeadm, served
from ansible_collections.kubesmith.cluster.plugins.module_utils import etcd_data as etcd
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import Api, ApiError
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, lock, must, run

ORDER = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
HEALTHY = {"kube-controller-manager": 10257, "kube-scheduler": 10259}
KUBELET = [Path("/var/lib/kubelet/pki") / name for name in ("kubelet.crt", "kubelet.key")]


def outdated(user: str) -> list[str]:
    """Return the files that a program works with in an older version."""
    return [row["path"] for row in served.rows() if row["user"] == user and not row["current"]]


def restart_pod(name: str, timeout: int) -> None:
    """End a static pod's program, and wait until the kubelet has started it with what is on the disk."""
    for pid in served.processes(name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    wait(name, timeout)


def wait(user: str, timeout: int) -> None:
    """Wait until a program works with the certificates on the disk and answers; CommandError if it does not."""
    ends = time.monotonic() + timeout
    while (old := outdated(user)) or not answers(user):
        if time.monotonic() > ends:
            why = f"it still works with an older {', '.join(old)}" if old else "it does not answer"
            raise CommandError(f"{user} was restarted to use its new certificates, and after {timeout} s {why}")
        time.sleep(0.5)


def answers(user: str) -> bool:
    """Tell whether a program does its work again."""
    if user in HEALTHY:
        return bool(served.handshake("127.0.0.1", HEALTHY[user]))
    if user != "kube-apiserver":
        return True
    try:
        return bool(Api(timeout=5).get("/readyz") == "ok")
    except ApiError:
        return False


def control_plane(check_mode: bool, timeout: int, handle: int) -> list[str]:
    """Renew what kubeadm made; return what was done."""
    actions = ["kubeadm certs renew all"]
    if not check_mode:
        result = run([kubeadm.KUBEADM, "certs", "renew", "all"], timeout=timeout, pass_fds=(handle,))
        if result.rc != 0:
            raise CommandError(kubeadm.explain("kubeadm certs renew all failed", result))
    for name in ORDER:
        if name not in kubeadm.static_pods():  # etcd may be elsewhere
            continue
        if check_mode or outdated(name):
            actions.append(f"restart {name}")
            if not check_mode:
                restart_pod(name, timeout)
    return actions


def kubelet(check_mode: bool, timeout: int) -> list[str]:
    """Have the kubelet sign itself a new serving certificate, where it signs it itself; return what was done."""
    if served.endpoint(str(KUBELET[0])) is None or not KUBELET[0].exists():
        return []
    if not check_mode:
        old = served.certificate(str(KUBELET[0]))
        for path in KUBELET:
            path.unlink(missing_ok=True)
        must(["systemctl", "restart", "kubelet"], timeout=timeout)
        ends = time.monotonic() + timeout
        while (new := served.handshake("127.0.0.1", 10250)) in ("", old):
            if time.monotonic() > ends:
                said = "the old one" if new else "none"
                raise CommandError(f"the kubelet shows {said} {timeout} s after it was to make a new certificate")
            time.sleep(0.3)
    return ["new serving certificate of the kubelet", "restart kubelet"]


def renew(check_mode: bool, timeout: int, handle: int) -> list[str]:
    """Renew everything on this node; return what was done, or in check mode would be."""
    if kubeadm.membership() != kubeadm.COMPLETE:
        raise CommandError("this host is no member of a cluster: run up first")
    actions = control_plane(check_mode, timeout, handle) if kubeadm.control_plane() == kubeadm.COMPLETE else []
    return actions + kubelet(check_mode, timeout)


def due(days: float) -> list[str]:
    """Return the files whose certificate ends within so many days and is renewed by ``renew``; CAs are not."""
    found = []
    for row in served.rows():
        own = row["path"] not in served.RELOADED and not row["path"].endswith("ca.crt")
        if own and der.ends(row["pem"]) - time.time() < days * 86400:
            found.append(str(row["path"]))
    return found


def main(words: Sequence[str]) -> int:
    """Renew what ends soon; what a node's timer runs. One control plane at a time: the others must be whole."""
    try:
        settings: dict[str, Any] = json.loads(Path(words[0]).read_text(encoding="utf-8"))
        ending = due(settings["within"])
        if not ending:
            print(f"no certificate ends within {settings['within']} days")
            return 0
        if Path(etcd.MANIFEST).exists():
            etcd.ctl("endpoint", "health", "--cluster", timeout=30)
        with lock("kubeadm", 600) as handle:
            actions = renew(False, 300, handle)
    except (CommandError, ApiError, OSError, ValueError, LookupError) as error:
        print(f"certificates were not renewed: {error}", file=sys.stderr)
        return 1
    print(f"{', '.join(ending)} ended soon: {', '.join(actions)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
