#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: held_packages
short_description: Packages of one repository, at one version, held
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Adds a repository in the layout of C(pkgs.k8s.io) (C(Suites) is V(/)), installs packages from it at the wanted
    version and holds them, so that no ordinary update of the system changes them.
  - With apt; with dnf and zypper as their projects describe it (not run in this project's tests).
  - The repository's key is trusted for this repository alone. No other list of packages is read.
options:
  name:
    description: Name of the repository's files.
    type: str
    default: kubernetes
  url:
    description: Address of the repository.
    type: str
    required: true
  key:
    description: The repository's public key, armoured.
    type: str
    required: true
  packages:
    description: Each package with its version, such as V(1.37.2), or with its revision V(1.37.2-1.1).
    type: dict
    required: true
  links:
    description: Programs of these packages, each with its path; C(/usr/local/bin) gets a link to each.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: Says what would change.
  diff_mode:
    support: full
    description: Shows the repository's files, and versions before and after.
"""

EXAMPLES = r"""
- name: Install kubeadm and kubelet from the community's repository
  kubesmith.cluster.held_packages:
    url: https://pkgs.k8s.io/core:/stable:/v1.37/deb/
    key: "{{ lookup('ansible.builtin.file', 'kubernetes.asc') }}"
    packages: {kubelet: 1.37.2, kubeadm: 1.37.2, kubectl: 1.37.2}
    links: {kubeadm: /usr/bin/kubeadm}
"""

RETURN = r"""
actions:
  description: What was done, or in check mode would be.
  type: list
  elements: str
  returned: always
  sample: ["kubelet absent → 1.37.2"]
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import files, packages
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, must, run

MANAGERS = {"apt-get": "apt", "dnf": "dnf", "zypper": "zypper"}
RPM_FOLDERS = {"dnf": "/etc/yum.repos.d", "zypper": "/etc/zypp/repos.d"}
MINUTES = 600  # seconds that a package manager may take


def manager() -> str:
    """Return the package manager's name; CommandError if there is none that we know."""
    for program, name in MANAGERS.items():
        if shutil.which(program):
            return name
    raise CommandError(f"none of {', '.join(MANAGERS)} is on this machine")


def present(kind: str, wanted: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return {package: (install or hold, version)} of what is installed of ``wanted``."""
    if kind == "apt":
        form = "${Package} ${db:Status-Abbrev} ${Version}\n"
        return packages.dpkg_rows(run(["dpkg-query", "-W", "-f", form, *wanted]).out)
    rows = packages.rpm_rows(run(["rpm", "-q", "--qf", "%{NAME} %{VERSION}\n", *wanted]).out)
    return {name: ("hold", version) for name, version in rows.items()}  # held by the repository's file, or a lock


def install_apt(name: str, url: str, wanted: Mapping[str, str]) -> None:
    """Install the wanted versions from the repository and hold them."""
    must(packages.apt_update(name), timeout=MINUTES)
    versions = {}
    for package, version in wanted.items():
        listed = must(["apt-cache", "madison", package])
        versions[package] = packages.apt_version(listed, package, version, url)
        if not versions[package]:
            known = ", ".join(line.split("|")[1].strip() for line in listed.splitlines()[:5] if "|" in line) or "none"
            raise CommandError(f"{url} has no {package} {version}; versions known to apt: {known}")
    must(packages.apt_install(versions), timeout=MINUTES, env={"DEBIAN_FRONTEND": "noninteractive"})
    must(["apt-mark", "hold", *wanted])


def install_rpm(kind: str, name: str, wanted: Mapping[str, str]) -> None:
    """Install the wanted versions from the repository and hold them."""
    for command in packages.rpm_install(kind, name, wanted):
        if "removelock" in command:
            run(command, timeout=MINUTES)  # there may be none yet
        else:
            must(command, timeout=MINUTES)


def set_links(wanted: Mapping[str, str], check_mode: bool) -> list[str]:
    """Make the links that are not there; return each in words."""
    found = []
    for name, target in wanted.items():
        link = Path("/usr/local/bin") / name
        if link.is_symlink() and str(link.readlink()) == target:
            continue
        found.append(f"{link} → {target}")
        if not check_mode:
            link.unlink(missing_ok=True)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
    return found


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "default": "kubernetes"},
            "url": {"type": "str", "required": True},
            "key": {"type": "str", "required": True, "no_log": False},
            "packages": {"type": "dict", "required": True},
            "links": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    name, url, key = (module.params[word] for word in ("name", "url", "key"))
    wanted = {package: str(version) for package, version in module.params["packages"].items()}
    if problem := packages.key_problem(key):
        module.fail_json(msg=f"the key of the repository {url} {problem}")
    try:
        kind = manager()
        made = (
            packages.apt_files(name, url, key)
            if kind == "apt"
            else packages.rpm_files(name, url, key, wanted, RPM_FOLDERS[kind])
        )
        stale = {path: text for path, text in made.items() if files.read(path) != text}
        before = present(kind, wanted)
        actions = [f"{path} written" for path in stale] + packages.changes(before, wanted)
        diff = [files.difference(path, files.read(path), text) for path, text in stale.items()]
        rows = {package: (before.get(package, ("", "absent"))[1], wanted[package]) for package in wanted}
        diff += files.rows_difference("packages", {p: row for p, row in rows.items() if not packages.fits(*row)})
        if not module.check_mode:
            for path, text in stale.items():
                files.put(path, text, 0o644)
            if actions and kind == "apt":
                install_apt(name, url, wanted)
            elif actions:
                install_rpm(kind, name, wanted)
        actions += set_links(module.params["links"], module.check_mode)
    except (CommandError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(actions), actions=actions, diff=diff)


if __name__ == "__main__":
    main()
