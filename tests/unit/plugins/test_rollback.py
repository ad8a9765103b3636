"""What is kept before an upgrade and put back; kubeadm's words and configuration for one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import rollback
from ansible_collections.kubesmith.cluster.plugins.modules import kubeadm_upgrade

WANTED = {
    "version": "1.37.2",
    "ignore_preflight_errors": ["X"],
    "patches_folder": "/etc/kubernetes/patches",
    "timeout": 9,
}


def test_files_are_kept_and_put_back_with_mode_and_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program, unit = tmp_path / "usr/local/bin/kubelet", tmp_path / "etc/kubernetes/manifests/etcd.yaml"
    for path, text, mode in ((program, "old", 0o755), (unit, "image: a:1", 0o600)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
    assert rollback.paths(str(tmp_path)) == [program, unit]
    kept = tmp_path / "kept"
    for path in (program, unit):
        rollback.keep(path, kept / "files" / path.relative_to("/"))
    assert all(rollback.same(kept, path) for path in (program, unit))
    new = program.with_name("new")  # as files are replaced: whole
    new.write_text("new")
    new.replace(program)
    unit.write_text("image: a:2")  # as somebody may edit one
    assert not any(rollback.same(kept, path) for path in (program, unit))
    assert rollback.kept(kept) == sorted((program, unit))
    for path in (program, unit):
        rollback.put_back(kept, path)
    assert (program.read_text(), unit.read_text()) == ("old", "image: a:1")
    assert (program.stat().st_mode & 0o777, unit.stat().st_mode & 0o777) == (0o755, 0o600)


def test_what_a_pod_puts_beside_the_plugins_is_not_ours(tmp_path: Path) -> None:
    folder = tmp_path / "opt/cni/bin"
    folder.mkdir(parents=True)
    for name in ("bridge", "calico", "calico-ipam"):
        (folder / name).write_text(name)
    assert [path.name for path in rollback.paths(str(tmp_path))] == ["bridge"]


class Objects:
    """An API server that keeps objects by path."""

    def __init__(self, objects: dict[str, Any]) -> None:
        self.objects = objects
        self.put: list[str] = []

    def find(self, path: str) -> Any:
        return self.objects.get(path)

    def request(self, method: str, path: str, body: Any) -> None:
        assert method == "PUT"
        assert body["metadata"]["resourceVersion"] == self.objects[path]["metadata"]["resourceVersion"]
        self.put.append(path)


def item(data: str, version: str) -> dict[str, Any]:
    notes = {"deployment.kubernetes.io/revision": version, "own": "x"}
    meta = {"name": "a", "namespace": "kube-system", "resourceVersion": version, "uid": version, "annotations": notes}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"a": data}, "status": {"x": version}}


def test_only_objects_that_changed_are_written_back(tmp_path: Path) -> None:
    first, second = rollback.OBJECTS[:2]
    api: Any = Objects({first: item("old", "1"), second: item("same", "1")})
    (tmp_path / "objects.json").write_text(json.dumps(rollback.objects(api)))
    api.objects = {first: item("new", "2"), second: item("same", "2")}
    assert rollback.write_back(tmp_path, api) == [f"write back configmaps/{first.rpartition('/')[2]}"]
    assert api.put == [first]


def test_etcd_goes_back_only_where_the_members_had_agreed_on_more(tmp_path: Path, monkeypatch: Any) -> None:
    manifest = tmp_path / "files/etc/kubernetes/manifests/etcd.yaml"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("    image: kubesmith.internal/etcd:3.6.8-0\n")
    for agreed in ("3.6.0", "3.5.0", ""):
        monkeypatch.setattr(rollback, "etcd_version", lambda agreed=agreed: ("3.7.0", agreed))
        assert rollback.lower_etcd(tmp_path, 1) == []
    answers = iter(("3.7.0", "3.7.0", "3.6.0"))
    monkeypatch.setattr(rollback, "etcd_version", lambda: ("3.7.0", next(answers)))
    calls: list[Any] = []
    monkeypatch.setattr(rollback, "run", lambda words, **_: calls.append(words) or type("R", (), {"rc": 0})())
    assert rollback.lower_etcd(tmp_path, 5) == ["etcd goes back to 3.6"]
    assert calls[0][-3:] == ["downgrade", "enable", "3.6"]


@pytest.mark.parametrize(
    ("cluster", "storage", "found"),
    [("3.7.0", "3.6.0", "3.7.0"), ("3.6.0", "3.7.0", "3.7.0"), ("3.6.0", "unknown", "3.6.0"), ("not_decided", "", "")],
)
def test_the_data_of_etcd_comes_down_after_its_members_agreed(cluster: str, storage: str, found: str) -> None:
    assert rollback.level({"etcdserver": "3.7.0", "etcdcluster": cluster, "storage": storage}) == found


def test_the_old_control_plane_serves_when_etcd_is_the_old_one_too(tmp_path: Path, monkeypatch: Any) -> None:
    folder = tmp_path / "files/etc/kubernetes/manifests"
    folder.mkdir(parents=True)
    (folder / "kube-apiserver.yaml").write_text("    image: kubesmith.internal/kube-apiserver:v1.36.3\n")
    (folder / "etcd.yaml").write_text("    image: kubesmith.internal/etcd:3.6.8-0\n")
    answers = {"/readyz": "ok", "/version": {"gitVersion": "v1.36.3"}}
    monkeypatch.setattr(rollback, "Api", lambda **_more: type("Answering", (), {"get": answers.get}))
    for seen, problem in (("3.7.0", "etcd is 3.7.0, and not 3.6.8"), ("", "etcd is silent, and not 3.6.8")):
        monkeypatch.setattr(rollback, "etcd_version", lambda seen=seen: (seen, ""))
        assert rollback.not_serving(tmp_path) == problem
    monkeypatch.setattr(rollback, "etcd_version", lambda: ("3.6.8", "3.6.0"))
    assert rollback.not_serving(tmp_path) == ""
    answers["/version"] = {"gitVersion": "v1.37.2"}
    assert "the API server is v1.37.2 still" in rollback.not_serving(tmp_path)


@pytest.mark.parametrize(
    ("plane", "configured", "words"),
    [
        (True, "1.36.3", ["upgrade", "apply", "--yes"]),
        (True, "1.37.2", ["upgrade", "node"]),
        (False, "", ["upgrade", "node"]),
    ],
)
def test_the_first_control_plane_carries_the_cluster_along(plane: bool, configured: str, words: list[str]) -> None:
    assert kubeadm_upgrade.command(plane, configured, "1.37.2") == words


def test_kubeadm_pulls_nothing_and_takes_patches_where_there_are_any() -> None:
    made = kubeadm_upgrade.configuration(WANTED, has_patches=True)
    assert made["apply"]["kubernetesVersion"] == "v1.37.2"
    assert made["timeouts"] == {"upgradeManifests": "9s"}
    for part in ("apply", "node"):
        assert made[part]["imagePullPolicy"] == "Never"
        assert made[part]["patches"] == {"directory": "/etc/kubernetes/patches"}
    assert "patches" not in kubeadm_upgrade.configuration(WANTED, has_patches=False)["node"]


def test_the_kept_configuration_of_kubeadm_follows(tmp_path: Path) -> None:
    file = tmp_path / "kubeadm.yml"
    wanted = {**WANTED, "config": str(file)}
    assert kubeadm_upgrade.follow(wanted, check_mode=False) == []
    file.write_text("kind: ClusterConfiguration\nkubernetesVersion: v1.36.3\n")
    assert kubeadm_upgrade.follow(wanted, check_mode=True) and "1.36.3" in file.read_text()
    assert kubeadm_upgrade.follow(wanted, check_mode=False)
    assert file.read_text() == "kind: ClusterConfiguration\nkubernetesVersion: v1.37.2\n"
    assert kubeadm_upgrade.follow(wanted, check_mode=False) == []
