#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: node_reset
short_description: Take a cluster off a node, and leave the node as it was before
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Stops and removes what the roles of this collection installed, and what kubeadm, the kubelet, kube-proxy, containerd
    and Calico made on the node. This includes their rules in iptables and nftables, interfaces, routes, mounts and
    cgroups, images and etcd's data.
  - What was there before is known from C(/var/lib/kubesmith/before), which the modules that install write before their
    first change. Files, sysctls and swap get back what they had; nothing else is touched.
  - A reset that was interrupted is finished by the next. A node with nothing of a cluster is left alone.
options:
  authority:
    description:
      - SHA-256 of the CA certificate of the cluster to remove, in hexadecimal.
      - A node that belongs to a cluster with another one is refused. If left out, it is not looked at.
    type: str
    default: ''
  shared_kernel:
    description: The node is a container, and settings of the whole kernel are not its own.
    type: bool
    default: false
  timeout:
    description: Seconds that C(kubeadm reset) may take.
    type: int
    default: 300
attributes:
  check_mode:
    support: full
    description: Says what would be removed.
  diff_mode:
    support: none
    description: Most of it is no text.
"""

EXAMPLES = r"""
- name: Take the cluster off every node
  kubesmith.cluster.node_reset:
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
  sample: ["kubeadm reset", "delete the nftables table ip kube-proxy"]
"""

import contextlib
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import (
    before,
    files,
    firewall,
    host,
    host_firewall,
    kubeadm,
    permissions,
    remains,
    survey_traces,
    systemd,
)
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, lock, must, run

UNITS = ("kubelet", "containerd")
UNIT_FILE = "/usr/local/lib/systemd/system/containerd.service"
BIN = "/usr/local/bin"
PROGRAMS = (
    *(f"{BIN}/{name}" for name in ("kubeadm", "kubelet", "kubectl", "containerd", "ctr", "etcdctl", "etcdutl", "age")),
    *(f"{BIN}/containerd-shim-runc-v2", "/usr/local/sbin/runc", "/etc/crictl.yaml", UNIT_FILE),
    *("/usr/local/lib/systemd/system/kubelet.service", "/etc/modules-load.d/kubesmith.conf"),
    *("/usr/local/lib/systemd/system/kubelet.service.d/10-kubeadm.conf", "/etc/sysctl.d/99-zz-kubesmith.conf"),
)
OURS = "/var/lib/kubesmith"


class Reset:
    """Collects what is to be undone, and undoes it unless in check mode."""

    def __init__(self, was: before.Record, wanted: dict[str, Any], check_mode: bool, handle: int) -> None:
        self.was = was
        self.authority = wanted["authority"] or survey_traces.pem_digest(files.read("/etc/kubernetes/pki/ca.crt") or "")
        self.shared_kernel = wanted["shared_kernel"]
        self.timeout = wanted["timeout"]
        self.shared = remains.shared_address(files.read(remains.KEEPALIVED) or "")
        self.check_mode = check_mode
        self.handle = handle
        self.actions: list[str] = []
        self.warnings: list[str] = []

    def do(self, text: str, action: Callable[[], Any]) -> None:
        """Note ``text`` and, outside check mode, run ``action``."""
        self.actions.append(text)
        if not self.check_mode:
            action()

    def everything(self) -> None:
        """Undo it all, what others depend on last."""
        self.kubeconfigs()
        self.programs()
        self.mounts()
        self.network()
        self.firewall()
        self.folders()
        self.own_files()
        if permissions.own_user():
            self.do(f"remove the system user {permissions.ETCD_USER}", permissions.remove_user)
        self.kernel()
        self.swap()

    def kubeconfigs(self) -> None:
        """Take the cluster out of the users' kubeconfigs, as long as there is a kubectl."""
        for path, content in remains.kubeconfigs(self.authority).items():
            action = partial(remains.forget_kubeconfig, path, content, self.authority)
            self.do(f"take the cluster out of {path}", action)

    def programs(self) -> None:
        """Stop the kubelet, kubeadm's pods, whatever else runs in containers, and containerd."""
        if kubeadm.membership() != kubeadm.ABSENT and Path(kubeadm.KUBEADM).exists():
            self.do("kubeadm reset", self.kubeadm_reset)
        for path in sorted(Path(UNIT_FILE).parent.glob("kubesmith-*.timer")):
            self.stop(path.name)
        self.stop("kubelet")
        if remains.processes():
            self.do("end the containers", remains.kill)
        self.stop("containerd")
        if remains.cgroups():
            self.do("remove the pods' cgroups", remains.remove_cgroups)

    def kubeadm_reset(self) -> None:
        """Run kubeadm's own; what it fails at is done here all the same."""
        command = [kubeadm.KUBEADM, "reset", "--force", "--cleanup-tmp-dir", f"--cri-socket={kubeadm.SOCKET}"]
        # The whole cluster goes: no member has to be told that this one leaves.
        skipped = "--skip-phases=preflight,remove-etcd-member"
        result = run([*command, skipped], timeout=self.timeout, pass_fds=(self.handle,))
        if result.rc != 0:
            self.warnings.append(f"kubeadm reset: {kubeadm.first_error(result.said)}")

    def stop(self, unit: str) -> None:
        """Stop and disable a unit of ours."""
        state = systemd.properties(unit)
        if not state["FragmentPath"].startswith("/usr/local/lib/systemd/system/"):
            return
        if state["ActiveState"] not in ("inactive", "failed") or state["UnitFileState"] == "enabled":
            self.do(f"stop and disable {unit}", partial(must, ["systemctl", "disable", "--now", unit], timeout=120))

    def mounts(self) -> None:
        """Unmount what is mounted in the cluster's folders."""
        found = remains.mounted(self.was["mounts"])
        if found:
            self.do(f"unmount {len(found)}: {', '.join(found[:3])}{' …' * (len(found) > 3)}", self.unmount)

    def unmount(self) -> None:
        """Unmount what is there by now: another mount may have been hidden below."""
        for _round in range(5):
            if found := remains.mounted(self.was["mounts"]):
                remains.unmount(found)

    def network(self) -> None:
        """Remove interfaces and routes, and the shared address, which keepalived leaves behind if it is killed."""
        if self.shared and remains.has_address(*self.shared):
            self.do(f"take {' off '.join(self.shared)}", partial(remains.remove_address, *self.shared))
        for name in remains.links(self.was["links"]):
            self.do(f"remove the interface {name}", partial(self.remove_link, name))
        if routes := remains.routes():
            self.do(f"remove {len(routes)} route(s) of Calico", remains.flush_routes)

    def remove_link(self, name: str) -> None:
        """Remove an interface; one that went with its other end is no error."""
        if name in before.links():
            remains.remove_link(name)

    def firewall(self) -> None:
        """Remove our chains, tables and sets, and no other."""
        if host_firewall.is_there():
            self.do("remove the node's firewall", host_firewall.remove)
        was = self.was["firewall"]
        for tool, text in firewall.save().items():
            script = firewall.removal(firewall.parse(text), was["chains"].get(tool, {}))
            if script:
                count = script.count("\n-X ")
                self.do(f"{tool}: remove {count} chain(s)", partial(firewall.carry_out, tool, script))
        for table in firewall.superfluous(was["tables"], firewall.tables()):
            self.do(f"delete the nftables table {table}", partial(firewall.delete_table, table))
        for chain in firewall.unused(was["hooks"], firewall.hooks()):
            self.do(f"delete the empty chain {chain}", partial(firewall.delete_chain, chain))
        for name in firewall.sets():
            if firewall.SETS.match(name) and name not in was["sets"]:
                self.do(f"destroy the set {name}", partial(run, ["ipset", "destroy", name], timeout=30))

    def folders(self) -> None:
        """Remove the folders of the cluster's programs, or what is new in those that were there."""
        for path, listed in self.was["folders"].items():
            now = before.names(path)
            if now is None:
                continue
            if path == OURS:
                new = [name for name in now if name not in (listed or ()) and name != "before"]  # that is needed yet
            elif listed is None:
                self.do(f"remove {path}", partial(remove, path))
                continue
            else:
                new = [name for name in now if name not in listed]
            if new:
                self.do(f"empty {path}", partial(remove, *(f"{path}/{name}" for name in new)))

        for path, mode in self.was["modes"].items():
            if files.mode_of(path) not in (mode, None):
                self.do(f"{path}: mode {mode:04o}", partial(Path(path).chmod, mode))

    def own_files(self) -> None:
        """Give every file that was installed or changed what it had, or nothing."""
        changed = []
        for path, was in self.was["files"].items():
            wanted = {"/etc/hosts": self.hosts, "/etc/fstab": self.fstab}.get(path, partial(self.file, path, was))()
            changed += [path] if wanted else []
        if changed:
            self.actions.append(f"put back {len(changed)} file(s): {', '.join(changed[:3])}{' …' * (len(changed) > 3)}")
        if self.check_mode:
            return
        for path in remains.sorted_deepest(self.was["parents"]):
            with contextlib.suppress(OSError):
                Path(path).rmdir()
        if changed:
            must(["systemctl", "daemon-reload"], timeout=60)
            run(["systemctl", "reset-failed", *UNITS], timeout=30)
            if self.was["online"] == "inactive":
                run(["systemctl", "stop", before.ONLINE], timeout=30)

    def file(self, path: str, was: Any) -> bool:
        """Put a file back; return whether it was another."""
        if before.is_as_before(path, was):
            return False
        if not self.check_mode:
            before.put_back(path, was)
        return True

    def hosts(self) -> bool:
        """Put /etc/hosts back, or take our block out of it if somebody changed it since."""
        was = self.was["files"]["/etc/hosts"]
        now = files.read("/etc/hosts")
        if now is None or host.BEGIN not in now:
            return False
        kept = files.read(Path("/") / before.FOLDER / was["copy"]) if was and "copy" in was else None
        if kept is not None and host.hosts_text(kept, host.block(now)) == now:
            return self.file("/etc/hosts", was)
        if not self.check_mode:
            files.put("/etc/hosts", host.hosts_text(now, {}), files.mode_of("/etc/hosts") or 0o644)
        return True

    def fstab(self) -> bool:
        """Turn the swap lines on again; whatever else was changed since stays."""
        now = files.read("/etc/fstab")
        wanted = host.fstab_with_swap(now or "")
        if now is None or wanted == now:
            return False
        if not self.check_mode:
            files.put("/etc/fstab", wanted, files.mode_of("/etc/fstab") or 0o644)
        return True

    def kernel(self) -> None:
        """Give sysctls the values that they had."""
        for key, value in self.was["sysctls"].items():
            if self.shared_kernel and not (key.startswith("net.") or stands_in(key)):
                continue
            live = files.read(host.sysctl_path(key))
            if live is not None and not host.same_value(live, value):
                self.do(f"{key}: {live.strip()} → {value}", partial(self.set_sysctl, key, value))
        listed = (self.was["modules_file"] or "").splitlines() if not self.shared_kernel else []
        names = [name for name in listed if name and not name.startswith("#")]
        for name in names:
            if name not in self.was["modules"] and name in before.loaded_modules():
                self.do(f"unload {name}", partial(run, ["modprobe", "--remove", name], timeout=30))

    def set_sysctl(self, key: str, value: str) -> None:
        """Set a live sysctl; one that the kernel refuses is a warning."""
        try:
            Path(host.sysctl_path(key)).write_text(value, encoding="ascii")
        except OSError as error:
            self.warnings.append(f"the kernel refused {key} = {value}: {error.strerror}")

    def swap(self) -> None:
        """Turn on again the swap that was on."""
        for unit in self.was["swap_units"]:
            if systemd.properties(unit)["UnitFileState"] == "masked" or self.check_mode:
                self.do(f"unmask {unit}", partial(run, ["systemctl", "unmask", unit], timeout=60))
        active = host.active_swaps(files.read("/proc/swaps") or "")
        for device in self.was["swaps"]:
            if device not in active and not self.shared_kernel:
                self.do(f"swap on: {device}", partial(self.swap_on, device))

    def swap_on(self, device: str) -> None:
        """Turn a swap on; what fails is a warning."""
        result = run(["swapon", device], timeout=60)
        if result.rc != 0:
            self.warnings.append(f"swapon {device}: {result.said}")


def remove(*paths: str) -> None:
    """Remove files and folders; what is mounted there is emptied and stays."""
    for path in paths:
        if Path(path).is_dir() and not Path(path).is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                files.remove(path)


def stands_in(key: str) -> bool:
    """Tell whether a container has a file of its own in the place of a sysctl of the whole kernel."""
    path = Path(host.sysctl_path(key))
    return path.exists() and path.stat().st_dev != Path("/proc/sys").stat().st_dev


def noted() -> Any:
    """Return what the node was before, None where nothing of a cluster of ours is on it."""
    was = before.read()
    if was is None and systemd.properties("containerd")["FragmentPath"] == UNIT_FILE:
        was = before.unknown(PROGRAMS)
    if was is not None:
        was["modules_file"] = files.read("/etc/modules-load.d/kubesmith.conf")
    return was


def refuse_another(authority: str) -> None:
    """Raise CommandError where the node belongs to a cluster with another CA."""
    seen = survey_traces.pem_digest(files.read("/etc/kubernetes/pki/ca.crt") or "")
    if authority and seen and seen != authority:
        raise CommandError(
            f"this node belongs to another cluster: the SHA-256 of its CA is {seen}, not {authority}; it is not "
            "touched. Name the cluster that it belongs to, or run kubeadm reset on it by hand"
        )


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "authority": {"type": "str", "default": ""},
            "shared_kernel": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    actions: list[str] = []
    try:
        with lock("kubeadm", 60, module.check_mode) as handle:
            refuse_another(module.params["authority"])
            was = noted()
            if was is None and kubeadm.membership() != kubeadm.ABSENT:
                raise CommandError("a cluster that kubesmith did not install is on this node; it is not touched")
            if was is not None:
                todo = Reset(was, module.params, module.check_mode, handle)
                actions = todo.actions
                todo.everything()
                for text in todo.warnings:
                    module.warn(text)
                if before.read() is None:
                    module.warn("what sysctls, swap and /etc/hosts were before the cluster was not noted: they stay")
                if not module.check_mode:
                    before.forget()
                    for path in Path("/run").glob("kubesmith-*.lock"):
                        files.remove(path)
    except (CommandError, OSError) as error:
        module.fail_json(msg=str(error), actions=actions)
    module.exit_json(changed=bool(actions), actions=actions)


if __name__ == "__main__":
    main()
