#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: node_repair
short_description: What is wrong with a node's programs, and their restart
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Looks whether containerd and the kubelet run and answer, and whether the kubelet finds a network plug-in.
  - With O(restart), programs are enabled, unmasked and restarted, containerd first where it is what is wrong.
options:
  restart:
    description: Restart the programs, whether the node looks wrong or not.
    type: bool
    default: false
attributes:
  check_mode:
    support: full
    description: Says what would be restarted.
  diff_mode:
    support: none
    description: There is no content to compare.
"""

EXAMPLES = r"""
- name: Look what is wrong
  kubesmith.cluster.node_repair:
"""

RETURN = r"""
reasons:
  description: What was wrong before, a sentence each.
  type: list
  elements: str
  returned: always
  sample: ["kubelet is failed"]
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
"""

import json
from collections.abc import Mapping
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.kubesmith.cluster.plugins.module_utils import files, kubeadm, kubelet, systemd
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, journal, run

UNITS = ("containerd", "kubelet")
NETWORKS = "/etc/cni/net.d"
PLUGINS = "/opt/cni/bin"


def look(root: str = "/") -> dict[str, list[str]]:
    """Return {unit, or "network": what is wrong with it}, nothing for what is well."""
    found = {name: unit_reasons(name, systemd.properties(name)) for name in UNITS}
    if not found["containerd"] and run([kubeadm.program("ctr"), "version"], timeout=15).rc != 0:
        found["containerd"] = ["containerd runs and does not answer"]
    if not found["kubelet"] and not kubelet_answers():
        found["kubelet"] = ["kubelet runs and is not healthy"]
    found["network"] = network_reasons(root)
    return {name: reasons for name, reasons in found.items() if reasons}


def unit_reasons(name: str, state: Mapping[str, str]) -> list[str]:
    """Return what keeps a unit from running."""
    if state["LoadState"] in ("not-found", "masked", "error", "bad-setting"):
        return [f"{name}: its unit is {state['LoadState']}"]
    return [] if state["ActiveState"] == "active" else [f"{name} is {state['ActiveState']}"]


def kubelet_answers() -> bool:
    """Tell whether the kubelet says that it is healthy."""
    address = kubelet.health_address(files.read(kubelet.CONFIG) or "", {})
    if address is None:
        return True
    try:
        with open_url(address, timeout=10, use_proxy=False) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def network_reasons(root: str = "/") -> list[str]:
    """Return what the kubelet lacks to give a pod its network: a configuration, or a program that it names."""
    folder = Path(root) / NETWORKS.strip("/")
    configured = sorted([*folder.glob("*.conflist"), *folder.glob("*.conf")])
    if not configured:
        return [f"network plug-in: {NETWORKS} has no configuration"]
    named = kubelet_plugins(files.read(configured[0]) or "")
    lacking = [name for name in named if not (Path(root) / PLUGINS.strip("/") / name).exists()]
    return [f"network plug-in: {PLUGINS} lacks {', '.join(lacking)}"] if lacking else []


def kubelet_plugins(text: str) -> list[str]:
    """Return the programs that a CNI configuration needs, and the loopback that containerd itself runs."""
    try:
        config = json.loads(text)
    except ValueError:
        return ["loopback"]
    rows = config.get("plugins", [config])
    named = [part.get("type") for row in rows for part in (row, row.get("ipam") or {})]
    return list(dict.fromkeys([*(str(name) for name in named if name), "loopback"]))


def restart(wrong: Mapping[str, list[str]], check_mode: bool) -> list[str]:
    """Restart the kubelet, and containerd before it where that is wrong; return what was done."""
    done = []
    names = [name for name in UNITS if name == "kubelet" or name in wrong]
    for name in names:
        for verb in ("unmask", "enable", "reset-failed", "restart"):
            if verb in ("unmask", "enable") and systemd.properties(name)["UnitFileState"] in ("enabled", "static"):
                continue
            if verb != "reset-failed":
                done.append(f"{verb} {name}")
            if not check_mode:
                command(verb, name)
    return done


def command(verb: str, name: str) -> None:
    """Have systemd do something; CommandError with the journal where a restart fails."""
    result = run(["systemctl", verb, name], timeout=120)
    if result.rc != 0 and verb == "restart":
        raise CommandError(f"{name} does not start: {result.said}\nIts journal ends with:\n{journal(name)}")


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={"restart": {"type": "bool", "default": False}},
        supports_check_mode=True,
    )
    wrong = look()
    reasons = [text for texts in wrong.values() for text in texts]
    actions: list[str] = []
    try:
        if module.params["restart"]:
            actions = restart(wrong, module.check_mode)
    except CommandError as error:
        module.fail_json(msg=str(error), reasons=reasons, actions=actions)
    module.exit_json(changed=bool(actions), reasons=reasons, actions=actions)


if __name__ == "__main__":
    main()
