"""Checking a bundle: every byte against ``bundle.json``, and the images against what its kubeadm asks for."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kubesmith.bundle.model import FILE, IMAGES, SBOM, Bundle, File, digest_of, load
from kubesmith.bundle.oci import REPOSITORY
from kubesmith.bundle.sbom import serial_number
from kubesmith.bundle.store import STAMP_NS, file_sha256
from kubesmith.bundle.toolchain import host_arch

INDEX = f"{IMAGES}/index.json"
LAYOUT = f"{IMAGES}/oci-layout"
KUBEADM = "bin/kubeadm"


def verify(path: Path, *, trust_times: bool = False) -> list[str]:
    """Return every problem of the bundle in the folder ``path``, each naming its file; none means that it is whole.

    All files are read again; with ``trust_times`` only those that were written to since they were placed, which is
    quick. KubesmithError if ``bundle.json`` is missing or unreadable.
    """
    bundle = load(path)
    changed = _contents(bundle, trust_times)
    problems = [*_head(bundle), *changed, *_strangers(bundle), *_index(bundle), *_sbom(bundle)]
    if not any(problem.startswith(KUBEADM) for problem in changed):
        problems += image_gaps(bundle)
    return problems


def image_gaps(bundle: Bundle) -> list[str]:
    """Return what is missing of the images that the bundle's own kubeadm asks for (``kubeadm config images list``).

    Tags included: kubeadm's defaults for its version, with the repository set to ours. Nothing can be asked of a
    kubeadm for another architecture.
    """
    if bundle.arch != host_arch():
        return []
    kubeadm = bundle.path / KUBEADM
    command = [str(kubeadm), "config", "images", "list", "--image-repository", REPOSITORY]
    command += ["--kubernetes-version", f"v{bundle.kubernetes}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return [f"{KUBEADM} does not run, so its list of images cannot be compared: {error.strerror}"]
    if done.returncode:
        return [f"{KUBEADM} does not list its images: {done.stderr.strip()[-300:]}"]
    present = {image.ref for image in bundle.images()}
    return [
        f"{INDEX}: image {ref} is missing, kubeadm asks for it" for ref in done.stdout.split() if ref not in present
    ]


def _head(bundle: Bundle) -> Iterator[str]:
    data = json.loads((bundle.path / FILE).read_text())
    actual = digest_of(data["components"])
    if actual != bundle.digest:
        yield f"{FILE}: digest is {bundle.digest}, its components give {actual}"


def _contents(bundle: Bundle, trust_times: bool) -> list[str]:
    """Return the problems of files and blobs; the reading is spread over the processors."""
    blobs = sorted({digest for image in bundle.images() for digest in image.blobs})
    with ThreadPoolExecutor() as pool:
        files = pool.map(lambda file: _file(bundle.path, file, trust_times), bundle.files())
        parts = pool.map(lambda digest: _blob(bundle, digest, trust_times), blobs)
        return [problem for problem in [*files, *parts] if problem]


def _sha256(path: Path, wanted: str, trust_times: bool) -> str:
    """Return the file's sha256; with ``trust_times`` the wanted one if the file was not written to since."""
    return wanted if trust_times and path.stat().st_mtime_ns == STAMP_NS else file_sha256(path)


def _file(root: Path, file: File, trust_times: bool) -> str:
    path = root / file.path
    if not path.is_file():
        return f"{file.path}: missing"
    status = path.stat()
    if status.st_size != file.size:
        return f"{file.path}: {status.st_size} bytes, must be {file.size}"
    mode = f"{status.st_mode & 0o7777:04o}"
    if mode != file.mode:
        return f"{file.path}: mode {mode}, must be {file.mode}"
    actual = _sha256(path, file.sha256, trust_times)
    return "" if actual == file.sha256 else f"{file.path}: changed, sha256 is {actual}, must be {file.sha256}"


def _blob_path(digest: str) -> str:
    return f"{IMAGES}/blobs/sha256/{digest.removeprefix('sha256:')}"


def _blob(bundle: Bundle, digest: str, trust_times: bool) -> str:
    place = _blob_path(digest)
    path = bundle.path / place
    wanted = digest.removeprefix("sha256:")
    fault = "missing" if not path.is_file() else "" if _sha256(path, wanted, trust_times) == wanted else "changed"
    if not fault:
        return ""
    users = ", ".join(image.ref for image in bundle.images() if digest in image.blobs)
    return f"{place}: {fault} (part of {users})"


def _strangers(bundle: Bundle) -> Iterator[str]:
    """Yield files that nothing in ``bundle.json`` accounts for."""
    known = {FILE, SBOM, INDEX, LAYOUT}
    known |= {file.path for file in bundle.files()}
    known |= {_blob_path(digest) for image in bundle.images() for digest in image.blobs}
    for path in sorted(bundle.path.rglob("*")):
        place = str(path.relative_to(bundle.path))
        if not path.is_dir() and place not in known:
            yield f"{place}: not part of this bundle"


def _json(bundle: Bundle, place: str) -> Any:
    try:
        return json.loads((bundle.path / place).read_text())
    except (OSError, ValueError):
        return None


def _index(bundle: Bundle) -> Iterator[str]:
    index = _json(bundle, INDEX)
    if index is None:
        yield f"{INDEX}: missing or not JSON"
        return
    named = dict(_references(index.get("manifests", [])))
    wanted = {image.ref: image.digest for image in bundle.images()}
    for ref in sorted(named.keys() | wanted.keys()):
        if named.get(ref) != wanted.get(ref):
            yield f"{INDEX}: {ref} is {named.get(ref, 'missing')}, must be {wanted.get(ref, 'absent')}"
    if _json(bundle, LAYOUT) != {"imageLayoutVersion": "1.0.0"}:
        yield f"{LAYOUT}: missing or of another version"


def _references(manifests: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for manifest in manifests:
        yield manifest.get("annotations", {}).get("io.containerd.image.name", "?"), manifest.get("digest", "?")


def _sbom(bundle: Bundle) -> Iterator[str]:
    document = _json(bundle, SBOM)
    if document is None:
        yield f"{SBOM}: missing or not JSON"
    elif document.get("serialNumber") != serial_number(bundle.digest):
        yield f"{SBOM}: belongs to another bundle (serial number {document.get('serialNumber')})"
