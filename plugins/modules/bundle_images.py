#!/usr/bin/python
# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
from __future__ import annotations

DOCUMENTATION = r"""
module: bundle_images
short_description: Give containerd a bundle's images
version_added: 0.1.0
author: kubesmith maintainers (@kubesmith)
description:
  - Imports the images of a bundle that containerd lacks, by name and digest, into the namespace C(k8s.io).
  - Each is pinned. The kubelet would throw away those that no pod uses when the disk fills, and nobody could pull them
    again.
  - They go in as one archive that is made on the way to C(ctr), from blobs that images share.
  - Blobs that the node cannot see below O(root) are sent over the Ansible connection, only those that it needs.
options:
  bundle:
    description: Folder of the bundle on the controller; its C(bundle.json) says what there is.
    type: path
    required: true
  images:
    description: Image sets, or short names of single images (V(pause)).
    type: list
    elements: str
    required: true
  root:
    description: Where the node sees the bundle, if it does.
    type: path
    default: /var/lib/kubesmith/bundle
  incoming:
    description: Where sent blobs are kept until they are imported.
    type: path
    default: /var/lib/kubesmith/incoming
  timeout:
    description: Seconds that the import may take. A machine that is emulated in software needs a quarter of an hour.
    type: int
    default: 1500
  rows:
    description: Set by the action plugin, the images' rows of the bundle.
    type: list
    elements: dict
  descriptors:
    description: Set by the action plugin, the descriptors of the images' manifests, by digest.
    type: dict
  arch:
    description: Set by the action plugin, the architecture of the bundle.
    type: str
  kubernetes:
    description: Set by the action plugin, the Kubernetes version of the bundle.
    type: str
    default: ""
  folder:
    description: Set by the action plugin, the name of the bundle's folder.
    type: str
    default: ""
  digest:
    description: Set by the action plugin, the digest of the bundle.
    type: str
    default: ""
  pushed:
    description: Set by the action plugin, blobs that were sent, each sha256 with its path.
    type: dict
    default: {}
attributes:
  check_mode:
    support: full
    description: Says what would be imported; without a running containerd, everything.
  diff_mode:
    support: full
    description: Shows the digest of each image before and after.
"""

EXAMPLES = r"""
- name: Import what every node runs
  kubesmith.cluster.bundle_images:
    bundle: ~/.cache/kubesmith/bundle/current
    images: [node]
"""

RETURN = r"""
imported:
  description: References that were imported, or in check mode would be.
  type: list
  elements: str
  returned: always
bytes:
  description: Size of the imported blobs.
  type: int
  returned: when images were imported
sent:
  description: How many blobs the node lacked and got over the connection.
  type: int
  returned: when blobs were sent
"""

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kubesmith.cluster.plugins.module_utils import bundle, files, images, kubeadm
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import CommandError, journal, lock, must, run

CTR = kubeadm.program("ctr")
NAMESPACE = ["--namespace", "k8s.io"]


def present(check_mode: bool) -> tuple[dict[str, str], set[str]]:
    """Return {reference: digest} of containerd's images, and which of them are pinned."""
    listing = run([CTR, *NAMESPACE, "images", "ls"], timeout=60)
    if listing.rc == 0:
        return images.parse_images(listing.out)
    if check_mode:
        return {}, set()
    raise CommandError(f"containerd does not answer: {listing.said}\nIts journal ends with:\n{journal('containerd')}")


LATE = 124  # what timeout(1) returns when it had to end a command


def import_archive(
    rows: Sequence[images.Row],
    descriptors: Mapping[str, images.Row],
    blobs: Mapping[str, Path],
    timeout: int,
    handle: int,
) -> None:
    """Import image ``rows`` from ``blobs`` ({digest: path}); CommandError with what ctr said when it fails.

    ``--local`` costs a third of what the transfer service does, which packs the archive into messages of its own.
    What ctr says goes to a file: a full pipe would stop ctr, and with it the archive that is being written.
    """
    command = ["timeout", str(timeout), CTR, *NAMESPACE, "images", "import", "--local", "--label", images.PIN, "-"]
    reader, writer = os.pipe()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdin=reader, stdout=said, stderr=said, pass_fds=(handle,))
        os.close(reader)
        broken = ""
        try:
            images.write_archive(writer, images.index_json(rows, descriptors), blobs)
        except BrokenPipeError:
            broken = "the import ended early"
        finally:
            os.close(writer)
            code = process.wait()
        if code == LATE:
            raise CommandError(
                f"ctr images import: no end within {timeout} s, which is the option timeout; images that are whole "
                "stay, and the next run goes on with the rest. Is the disk slow, or the machine busy with other work?"
            )
        if code != 0 or broken:
            said.seek(0)
            raise CommandError(f"ctr images import: {said.read().strip()[-2000:] or broken or f'return code {code}'}")


def sources(wanted: Mapping[str, Any], digests: Sequence[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """Return ({digest: path}, {hexadecimal sha256: path in the bundle}) of blobs at hand and of blobs to be sent."""
    found, missing = {}, {}
    for digest in digests:
        plain = digest.split(":", 1)[1]
        relative = f"images/blobs/sha256/{plain}"
        path = bundle.find(wanted["root"], wanted["incoming"], relative, plain)
        if path is None:
            missing[plain] = relative
        else:
            found[digest] = path
    return found, missing


def work(wanted: Mapping[str, Any], check_mode: bool, handle: int) -> dict[str, Any]:
    """Import what is missing and pin all; return the module's answer, with ``missing`` when the node lacks blobs."""
    bundle.accept(wanted["pushed"], wanted["incoming"])
    before, pinned = present(check_mode)
    todo = images.missing(wanted["rows"], before)
    loose = [row["ref"] for row in wanted["rows"] if row not in todo and row["ref"] not in pinned]
    changes = {row["ref"]: (before.get(row["ref"], "absent"), row["digest"]) for row in todo}
    changes.update(dict.fromkeys(loose, ("not pinned", "pinned")))
    answer = {
        "changed": bool(changes),
        "imported": [row["ref"] for row in todo],
        "diff": files.rows_difference("images", changes),
    }
    if check_mode or not changes:
        return answer
    for ref in loose:
        must([CTR, *NAMESPACE, "images", "label", ref, images.PIN], timeout=60)
    return {**answer, **fetch(wanted, todo, handle)} if todo else answer


def fetch(wanted: Mapping[str, Any], todo: Sequence[images.Row], handle: int) -> dict[str, Any]:
    """Import images; return what the answer says of it, ``missing`` (and no change) when the node lacks blobs."""
    held = set(must([CTR, *NAMESPACE, "content", "ls", "--quiet"], timeout=60).split())
    blobs, missing = sources(wanted, images.needed_blobs(todo, held))
    if missing:
        return {"changed": False, "missing": missing}
    import_archive(todo, wanted["descriptors"], blobs, wanted["timeout"], handle)
    left = images.missing(todo, present(False)[0])
    if left:
        raise CommandError(f"containerd took the archive, but has not {', '.join(row['ref'] for row in left)}")
    size = sum(path.stat().st_size for path in blobs.values())
    for digest in blobs:
        bundle.place(wanted["incoming"], digest.split(":", 1)[1]).unlink(missing_ok=True)
    return {"bytes": size}


def main() -> None:
    """Entry of the module."""
    module = AnsibleModule(
        argument_spec={
            "bundle": {"type": "path", "required": True},
            "images": {"type": "list", "elements": "str", "required": True},
            "root": {"type": "path", "default": bundle.ROOT},
            "incoming": {"type": "path", "default": bundle.INCOMING},
            "timeout": {"type": "int", "default": 1500},
            "rows": {"type": "list", "elements": "dict"},
            "descriptors": {"type": "dict"},
            "arch": {"type": "str"},
            "kubernetes": {"type": "str", "default": ""},
            "folder": {"type": "str", "default": ""},
            "digest": {"type": "str", "default": ""},
            "pushed": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    wanted["root"] = bundle.seen(wanted["root"], wanted["folder"], wanted["digest"])
    try:
        bundle.refuse_other_machine(os.uname().machine, wanted["arch"])
        with lock("images", wanted["timeout"], module.check_mode) as handle:
            module.exit_json(**work(wanted, module.check_mode, handle))
    except (bundle.BundleError, CommandError, OSError) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
