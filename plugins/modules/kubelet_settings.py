#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: kubelet_settings
short_description: Settings of one node's kubelet
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Keeps a file of settings that the kubelet merges over the configuration of kubeadm (its option C(--config-dir)).
  - A kubelet that runs is restarted when it has other settings. If it does not come up with the new ones, the earlier
    ones are put back, it is restarted with them, and the module fails with the kubelet's own words.
  - On a host that is no node yet, only the file is written; kubeadm starts the kubelet with it.
options:
  settings:
    description: What to merge into KubeletConfiguration; without any, there is no file.
    type: dict
    default: {}
  timeout:
    description: Seconds in which a restarted kubelet must be healthy.
    type: int
    default: 60
attributes:
  check_mode:
    support: full
    description: Says what would be written, and whether the kubelet would be restarted.
  diff_mode:
    support: full
    description: Shows the files' content.
"""

EXAMPLES = r"""
- name: Let a node run more pods
  kubesmith.cluster.kubelet_settings:
    settings: {maxPods: 200}
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
  sample: ["write /etc/kubernetes/kubelet.conf.d/50-kubesmith.conf", "restart kubelet"]
"""

import time
import urllib.error
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.kubesmith.cluster.plugins.module_utils import before, files, kubeadm, kubelet, systemd
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, journal, must

UNIT = "kubelet"


def work(settings: Mapping[str, Any], timeout: int, check_mode: bool) -> dict[str, Any]:
    """Bring the files and the kubelet to what is wanted; return the module's answer."""
    member = kubeadm.membership() == kubeadm.COMPLETE
    state = systemd.properties(UNIT)
    running = kubelet.arguments(state["MainPID"])
    flags = files.read(kubelet.FLAGS)
    folder = kubelet.folder(running, flags or "")
    path = f"{folder or kubeadm.KUBELET_SETTINGS}/{kubelet.NAME}"
    wanted = {path: kubelet.document(settings)}
    if member and settings and not folder:
        wanted[kubelet.FLAGS] = kubelet.with_folder(flags or "", kubeadm.KUBELET_SETTINGS)
    had = {name: files.read(name) for name in wanted}
    changed = [name for name, text in wanted.items() if text != had[name]]
    actions = [f"{'write' if wanted[name] is not None else 'remove'} {name}" for name in changed]
    active = state["ActiveState"] in ("active", "activating") and member
    stale = kubelet.stale(state, running, flags or "", path) if active else ""
    if active and (changed or stale):
        actions.append("restart kubelet" if changed else f"restart kubelet: {stale}")
    if not check_mode:
        if not member:
            Path(path).parent.mkdir(parents=True, exist_ok=True)  # without it the kubelet does not start
        if changed:
            before.note(changed)
            put({name: wanted[name] for name in changed})
        if active and (changed or stale):
            restart(settings, timeout, {name: had[name] for name in changed})
    diff = [files.difference(name, had[name], wanted[name]) for name in changed]
    return {"changed": bool(actions), "actions": actions, "diff": diff}


def put(texts: Mapping[str, Optional[str]]) -> None:
    """Write files, or remove them (None)."""
    for path, text in texts.items():
        if text is None:
            files.remove(path)
        else:
            files.put(path, text, 0o644)


def restart(settings: Mapping[str, Any], timeout: int, had: Mapping[str, Optional[str]]) -> None:
    """Restart the kubelet; CommandError, with the files as they were (``had``), if it does not come up."""
    must(["systemctl", "restart", UNIT], timeout=90)
    if healthy(settings, timeout):
        return
    said = kubelet.complaint(journal(UNIT, 200))
    if not had:
        raise CommandError(f"the kubelet was restarted and is not healthy after {timeout} s: {said}")
    put(had)
    must(["systemctl", "restart", UNIT], timeout=90)
    back = "the earlier ones are back, and it runs" if healthy({}, timeout) else "nor with the earlier ones, now back"
    raise CommandError(f"the kubelet does not run with these settings; {back}: {said}")


def healthy(settings: Mapping[str, Any], timeout: int) -> bool:
    """Wait until the kubelet says that it is healthy; return False after ``timeout`` seconds."""
    address = kubelet.health_address(files.read(kubelet.CONFIG) or "", settings)
    ends = time.monotonic() + timeout
    while time.monotonic() < ends:
        state = systemd.properties(UNIT)
        if state["ActiveState"] == "active" and (address is None or answers(address)):
            return True
        time.sleep(0.3)
    return False


def answers(address: str) -> bool:
    """Tell whether the kubelet's health check says ok."""
    try:
        with open_url(address, timeout=5, use_proxy=False) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "settings": {"type": "dict", "default": {}},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(**work(module.params["settings"], module.params["timeout"], module.check_mode))
    except (CommandError, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
