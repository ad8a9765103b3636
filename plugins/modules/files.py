#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: files
short_description: Write several small files in one call
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Gives each file its content and mode, whole or not at all, and can remove files of ours that are no longer wanted.
  - All files are validated before the first one is replaced.
options:
  files:
    description: The files.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Absolute path on the host; its folder is made.
        type: path
        required: true
      content:
        description: The whole content.
        type: str
        required: true
      mode:
        description: Octal permission bits.
        type: str
        default: "0644"
      validate:
        description: A command that must succeed on the new file before it takes its place; C(%s) stands for its path.
        type: str
  purge:
    description:
      - Patterns of files to remove unless they are in O(files).
      - Only a file that holds O(marker) is removed, so that what someone else wrote stays.
    type: list
    elements: str
    default: []
  marker:
    description: Text by which a file of ours is known.
    type: str
    default: Managed by kubesmith
attributes:
  check_mode:
    support: full
    description: Says what would change. A validator that is not installed yet is passed over.
  diff_mode:
    support: full
    description: Shows each file before and after.
"""

EXAMPLES = r"""
- name: Configure containerd
  kubesmith.cluster.files:
    files:
      - path: /etc/containerd/config.toml
        content: "{{ lookup('ansible.builtin.template', 'config.toml.j2') }}"
        validate: /usr/local/bin/containerd --config %s config dump
    purge: [/etc/containerd/certs.d/*/hosts.toml]
"""

RETURN = r"""
changed_files:
  description: Files that were written or removed, or in check mode would be.
  type: list
  elements: str
  returned: always
"""

import shlex
import tempfile
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import before, files
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, run


def differs(row: Mapping[str, Any]) -> bool:
    """Tell whether a file's content or mode is not as wanted."""
    return files.read(row["path"]) != row["content"] or files.mode_of(row["path"]) != int(row["mode"], 8)


def validate(row: Mapping[str, Any], check_mode: bool) -> None:
    """Run a file's validator on its new content; CommandError if it objects."""
    if not row["validate"]:
        return
    with tempfile.NamedTemporaryFile("w", suffix=Path(row["path"]).name, encoding="utf-8") as trial:
        trial.write(row["content"])
        trial.flush()
        command = [part.replace("%s", trial.name) for part in shlex.split(row["validate"])]
        result = run(command, timeout=60)
    if result.rc == 127 and check_mode:
        return
    if result.rc != 0:
        raise CommandError(f"{row['path']} is not valid, the old one stays: {result.err.strip() or result.out.strip()}")


def unwanted(patterns: Sequence[str], wanted: Container[str], marker: str) -> list[str]:
    """Return files that match ``patterns``, are not in ``wanted`` and hold ``marker``."""
    found = sorted(str(path) for pattern in patterns for path in Path("/").glob(pattern.lstrip("/")))
    return [path for path in found if path not in wanted and marker in (files.read(path) or "")]


def main() -> None:
    """Entry of the module."""
    row = {
        "path": {"type": "path", "required": True},
        "content": {"type": "str", "required": True},
        "mode": {"type": "str", "default": "0644"},
        "validate": {"type": "str"},
    }
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "list", "elements": "dict", "required": True, "options": row},
            "purge": {"type": "list", "elements": "str", "default": []},
            "marker": {"type": "str", "default": "Managed by kubesmith"},
        },
        supports_check_mode=True,
    )
    rows = [row for row in module.params["files"] if differs(row)]
    gone = unwanted(module.params["purge"], {row["path"] for row in module.params["files"]}, module.params["marker"])
    diff = [files.difference(row["path"], files.read(row["path"]), row["content"]) for row in rows]
    diff += [files.difference(path, files.read(path), None) for path in gone]
    try:
        for row in rows:
            validate(row, module.check_mode)
        if not module.check_mode:
            before.note([row["path"] for row in rows])
            for row in rows:
                files.put(row["path"], row["content"], int(row["mode"], 8))
            for path in gone:
                files.remove(path)
    except (CommandError, OSError) as error:
        module.fail_json(msg=str(error))
    changed = [row["path"] for row in rows] + gone
    module.exit_json(changed=bool(changed), changed_files=changed, diff=diff)


if __name__ == "__main__":
    main()
