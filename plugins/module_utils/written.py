# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What kubeadm wrote on a node when we had it do so, kept on the node: what somebody edits by hand afterwards shows.

Static pods' manifests and the kubelet's configuration follow from kubeadm's own templates, so that nobody but kubeadm
can say what they should be. Where nothing was kept (a cluster of an older version, or of other hands) nothing is told.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

from ansible_collections.kubesmith.cluster.plugins.module_utils import files, kubeadm, kubelet, redaction

FOLDER = "var/lib/kubesmith/written"
WATCHED = (*(f"/etc/kubernetes/manifests/{name}.yaml" for name in kubeadm.CONTROL_PLANE), kubelet.CONFIG)


def keep(root: str = "/") -> None:
    """Keep the files as they are: kubeadm has just written them all."""
    for path in WATCHED:
        text = files.read(root + path)
        if text is None:
            files.remove(copy_of(path, root))
        else:
            _keep(path, text, root)


def forget(root: str = "/") -> None:
    """Forget what was kept: kubeadm is about to write anew, and may be stopped before that is noted."""
    shutil.rmtree(Path(root) / FOLDER, ignore_errors=True)


@contextmanager
def ours(path: str, root: str = "/") -> Iterator[None]:
    """Change one of the files in the body. What somebody had edited in it before stays told."""
    was = files.read(copy_of(path, root))
    same = was is not None and was == files.read(root + path)
    yield
    text = files.read(root + path)
    if same and text is not None:
        _keep(path, text, root)


def edited(root: str = "/") -> list[dict[str, str]]:
    """Return {path, copy, before, after} of each file that is not as it was kept: ``before`` is what is there now.

    A file that is not there any more is an empty text. What is private in one is left out of both.
    """
    found = []
    for path in WATCHED:
        copy = copy_of(path, root)
        after, before = _text(copy), _text(root + path)
        if after is not None and before != after:
            texts = {"before": _shown(before or ""), "after": _shown(after)}
            found.append({"path": path, "copy": f"/{copy.relative_to(root)}", **texts})
    return found


def copy_of(path: str, root: str = "/") -> Path:
    """Return where the copy of a file is kept."""
    return Path(root) / FOLDER / path.strip("/").replace("/", "%")


def _keep(path: str, text: str, root: str) -> None:
    (Path(root) / FOLDER).mkdir(mode=0o700, parents=True, exist_ok=True)
    files.put(copy_of(path, root), text, 0o600)


def _text(path: files.AnyPath) -> Optional[str]:
    try:
        return files.read(path)
    except OSError:  # somebody made a folder of it, for instance
        return ""


def _shown(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()  # an answer of a module is JSON
    return "".join(redaction.without_named(line) + "\n" for line in text.splitlines())
