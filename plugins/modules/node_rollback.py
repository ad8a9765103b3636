#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: node_rollback
short_description: Keep what a node is before an upgrade, and bring it back
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Before an upgrade V(saved) keeps the node's programs, units, static pods and configuration; on a control plane also
    a snapshot of etcd, and the objects that kubeadm writes.
  - After one that failed V(restored) puts them back, restarts what works with them, and waits until the old control
    plane serves. etcd keeps its data and is told to go back to its older version; only if it does not come up is the
    snapshot restored, which loses what was written since.
  - What is kept belongs to one upgrade, from one version to another. An interrupted one finds it and does not keep a
    half-upgraded node instead.
options:
  state:
    description:
      - V(saved) keeps the node's state, V(restored) brings it back, V(released) forgets it after the upgrade.
    type: str
    choices: [saved, restored, released]
    required: true
  version:
    description: The version to which the upgrade goes.
    type: str
    required: true
  snapshots:
    description: Folder on a control plane for etcd's snapshots, which outlive the upgrade.
    type: path
    default: /var/lib/kubesmith/snapshots
  snapshot:
    description:
      - Whether etcd writes a snapshot. With several members no node alone can go back to one, so that a backup of the
        cluster does as well; it is only written to be there.
      - The only member always writes one, which V(restored) may need.
    type: bool
    default: true
  keep:
    description: How many snapshots stay; older ones are removed.
    type: int
    default: 3
  timeout:
    description: Seconds that the old control plane may take to serve again.
    type: int
    default: 300
attributes:
  check_mode:
    support: full
    description: Says what would be done.
  diff_mode:
    support: none
    description: There is no content to compare.
"""

EXAMPLES = r"""
- name: Keep what the node is
  kubesmith.cluster.node_rollback:
    state: saved
    version: 1.37.2
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
snapshot:
  description: etcd's snapshot, on a control plane that has etcd.
  type: str
  returned: when there is one
version:
  description: The version of the node's control plane or kubelet that was kept, or was brought back.
  type: str
  returned: always
"""

import json
import shutil
import time
from pathlib import Path
from typing import Any, Optional

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import etcd, kubeadm, node, rollback, upgrade
from ansible_collections.kubesmith.cluster.plugins.module_utils.kube_api import Api, ApiError
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, lock, must


class Save:
    """What is kept of this node for one upgrade."""

    def __init__(self, wanted: dict[str, Any], check_mode: bool) -> None:
        self.wanted = wanted
        self.check_mode = check_mode
        self.root = Path(upgrade.SAVED)
        self.actions: list[str] = []
        self.snapshot = ""

    def found(self) -> Optional[Path]:
        """Return the folder of this upgrade, None if nothing is kept for it."""
        folders = sorted(self.root.glob(f"[0-9]*_{self.wanted['version']}"))
        return folders[0] if folders else None

    def save(self) -> str:
        """Keep the node's state, unless this upgrade kept it already; return its version."""
        old = self.found()
        if old:
            return self._known(old)
        version = running()
        target = self.root / f"{version}_{self.wanted['version']}"
        self.actions.append(f"keep what the node is at {version}")
        if self.check_mode:
            return version
        shutil.rmtree(self.root, ignore_errors=True)  # of another upgrade, which came to its end
        new = self.root / ".new"
        new.mkdir(parents=True, mode=0o700)
        for path in rollback.paths():
            rollback.keep(path, new / "files" / path.relative_to("/"))
        if kubeadm.control_plane() == kubeadm.COMPLETE:
            (new / "objects.json").write_text(json.dumps(rollback.objects(Api(server=upgrade.local_server()))))
            (new / "objects.json").chmod(0o600)
            if "etcd" in kubeadm.static_pods():
                members = [member.name for member in etcd.members()]  # the manifest of the first names only itself
                (new / "members.json").write_text(json.dumps(members))
                if self.wanted["snapshot"] or len(members) == 1:
                    self._snapshot(new / "etcd.db", version)
        new.rename(target)
        return version

    def _known(self, folder: Path) -> str:
        if (folder / "etcd.db").exists():
            self.snapshot = str(folder / "etcd.db")
        return folder.name.partition("_")[0]

    def _snapshot(self, target: Path, version: str) -> None:
        """Have etcd write a snapshot; it stays among the last few when the upgrade is done."""
        must([*upgrade.ETCDCTL, f"--endpoints={upgrade.ETCD}", "snapshot", "save", str(target)], timeout=600)
        folder = Path(self.wanted["snapshots"])
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = folder / f"upgrade-{version}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.db"
        rollback.keep(target, kept)
        for path in (target, kept):
            path.chmod(0o600)
        for path in sorted(folder.glob("upgrade-*.db"), key=lambda path: path.stat().st_mtime)[: -self.wanted["keep"]]:
            path.unlink()
        self.snapshot = str(kept)
        self.actions.append(f"snapshot of etcd: {kept}")

    def release(self) -> str:
        """Forget what was kept."""
        if self.root.exists():
            self.actions.append("forget what was kept for a rollback")
            if not self.check_mode:
                shutil.rmtree(self.root)
        return running()

    def restore(self) -> str:
        """Bring the node back; return the version that it has then. CommandError where it does not come up."""
        folder = self.found()
        if folder is None:
            return running()
        version = folder.name.partition("_")[0]
        changed = [path for path in rollback.kept(folder) if not rollback.same(folder, path)]
        added = [path for path in rollback.paths() if not (folder / "files" / path.relative_to("/")).exists()]
        self.actions += [f"put back {path}" for path in changed] + [f"remove {path}" for path in added]
        if self.check_mode:
            return version
        plane = (folder / "objects.json").exists()
        if plane and "etcd" in rollback.components(changed):
            self.actions += rollback.lower_etcd(folder, self.wanted["timeout"])
        for path in changed:
            rollback.put_back(folder, path)
        for path in added:
            path.unlink()
        self._restart(changed)
        if plane:
            self._serve(folder, rollback.components(changed))
            self.actions += rollback.write_back(folder, Api(server=upgrade.local_server()))
        shutil.rmtree(self.root)
        return version

    def _restart(self, changed: list[Path]) -> None:
        """Restart what works with files that were put back."""
        names = {path.name for path in changed}
        if any(path.suffix == ".service" or path.parent.suffix == ".d" for path in changed):
            must(["systemctl", "daemon-reload"], timeout=60)
        for unit, theirs in rollback.UNITS.items():
            if names & theirs:
                self.actions.append(f"restart {unit}")
                must(["systemctl", "restart", unit], timeout=180)

    def _serve(self, folder: Path, changed: set[str]) -> None:
        """Wait until the old control plane serves; restore etcd's snapshot if it does not come up without."""
        timeout = self.wanted["timeout"]
        problem = rollback.wait_for(folder, timeout)
        if problem and "etcd" in changed and (folder / "etcd.db").exists():
            self.actions.append("restore the snapshot of etcd")
            rollback.restore_etcd(folder, timeout)
            problem = rollback.wait_for(folder, timeout)
        if problem:
            raise CommandError(f"the old control plane was put back, and does not serve: {problem}")


def running() -> str:
    """Return the version that the node is at: its API server's, else its kubelet's."""
    image = upgrade.static_images().get("kube-apiserver", "")
    return upgrade.tag(image).removeprefix("v") or node.version(node.VERSION_COMMANDS["kubelet"])


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["saved", "restored", "released"], "required": True},
            "version": {"type": "str", "required": True},
            "snapshot": {"type": "bool", "default": True},
            "snapshots": {"type": "path", "default": "/var/lib/kubesmith/snapshots"},
            "keep": {"type": "int", "default": 3},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    save = Save(module.params, module.check_mode)
    work = {"saved": save.save, "restored": save.restore, "released": save.release}[module.params["state"]]
    try:
        with lock("kubeadm", module.params["timeout"] * 5, module.check_mode):
            version = work()
    except (CommandError, ApiError, OSError) as error:
        module.fail_json(msg=str(error), actions=save.actions)
    module.exit_json(changed=bool(save.actions), actions=save.actions, version=version, snapshot=save.snapshot)


if __name__ == "__main__":
    main()
