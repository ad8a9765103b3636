#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: certificates_renew
short_description: New certificates for a node, and its programs work with them
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - On a control plane C(kubeadm certs renew all), which the existing CAs sign; then each static pod that works with an
    older certificate is restarted, one after the other, and waited for until it shows the new one.
  - On every node the kubelet's own serving certificate, where it signed it itself. Its client certificate the kubelet
    renews without help.
  - CAs are not renewed.
options:
  timeout:
    description: Seconds that a restarted program may take until it works with its new certificate.
    type: int
    default: 180
attributes:
  check_mode:
    support: full
    description: Says what would be done.
  diff_mode:
    support: none
    description: There is no content to compare.
"""

EXAMPLES = r"""
- name: Renew certificates, one control plane after the other
  kubesmith.cluster.certificates_renew:
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
  sample: ["kubeadm certs renew all", "restart etcd"]
"""

import contextlib
import os
import signal
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import kubeadm, served
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


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(argument_spec={"timeout": {"type": "int", "default": 180}}, supports_check_mode=True)
    timeout, check_mode = module.params["timeout"], module.check_mode
    try:
        with lock("kubeadm", timeout, check_mode) as handle:
            if kubeadm.membership() != kubeadm.COMPLETE:
                raise CommandError("this host is no member of a cluster: run up first")
            actions = []
            if kubeadm.control_plane() == kubeadm.COMPLETE:
                actions += control_plane(check_mode, timeout, handle)
            actions += kubelet(check_mode, timeout)
    except (CommandError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(actions), actions=actions)


if __name__ == "__main__":
    main()
