"""What kubeadm wrote is kept on the node, and an edit by hand shows against it."""

from pathlib import Path

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import rollback, written

API = "/etc/kubernetes/manifests/kube-apiserver.yaml"
MANAGER = "/etc/kubernetes/manifests/kube-controller-manager.yaml"
KUBELET = "/var/lib/kubelet/config.yaml"


@pytest.fixture
def root(tmp_path: Path) -> str:
    for path in (API, MANAGER, KUBELET):
        put(str(tmp_path), path, "a: 1\nb: 2\n")
    put(str(tmp_path), "/etc/kubernetes/manifests/kubesmith-balancer.yaml", "x\n")
    return str(tmp_path)


def put(root: str, path: str, text: str) -> None:
    target = Path(root + path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def told(root: str) -> list[str]:
    return [row["path"] for row in written.edited(root)]


def test_where_nothing_was_kept_nothing_is_told(root: str) -> None:
    put(root, API, "other\n")
    assert written.edited(root) == []


def test_exactly_the_edited_files_are_told(root: str) -> None:
    written.keep(root)
    assert told(root) == []
    put(root, API, "a: 1\nb: 3\n")
    Path(root + KUBELET).unlink()
    put(root, "/etc/kubernetes/manifests/kubesmith-balancer.yaml", "ours, and the role's to correct\n")
    api, kubelet = written.edited(root)
    assert (api["path"], api["before"], api["after"]) == (API, "a: 1\nb: 3\n", "a: 1\nb: 2\n")
    assert Path(root + api["copy"]).read_text() == "a: 1\nb: 2\n"
    assert (kubelet["path"], kubelet["before"]) == (KUBELET, "")


def test_copies_are_roots_and_passwords_stay_there(root: str) -> None:
    put(root, API, "- name: HTTP_PROXY\n  value: http://me:hunter22@proxy:3128\n")
    written.keep(root)
    put(root, API, "- name: HTTP_PROXY\n  value: http://me:hunter23@proxy:3128\n")
    (row,) = written.edited(root)
    assert "hunter" not in row["before"] + row["after"]
    copy = Path(root + row["copy"])
    assert (copy.stat().st_mode & 0o777, copy.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_what_is_written_anew_is_kept_anew(root: str) -> None:
    written.keep(root)
    put(root, API, "a: 2\n")
    Path(root + MANAGER).unlink()
    written.keep(root)
    assert told(root) == []
    written.forget(root)
    put(root, API, "a: 3\n")
    assert told(root) == []


def test_a_change_of_ours_does_not_hide_one_by_hand(root: str) -> None:
    written.keep(root)
    with written.ours(MANAGER, root):
        put(root, MANAGER, "a: 1\nb: 9\n")
    assert told(root) == []
    put(root, MANAGER, "a: 1\nb: 9\nby: hand\n")
    with written.ours(MANAGER, root):
        put(root, MANAGER, "a: 1\nb: 2\nby: hand\n")
    assert told(root) == [MANAGER]


@pytest.mark.parametrize("odd", [b"\xff\xfe\n", None])
def test_odd_content_is_told_too(root: str, odd: bytes | None) -> None:
    written.keep(root)
    Path(root + API).unlink()
    if odd is None:
        Path(root + API).mkdir()
    else:
        Path(root + API).write_bytes(odd)
    (row,) = written.edited(root)
    assert row["path"] == API
    row["before"].encode()


def test_a_rollback_brings_back_what_was_kept_too(root: str) -> None:
    written.keep(root)
    assert written.copy_of(API, root) in rollback.paths(root)
