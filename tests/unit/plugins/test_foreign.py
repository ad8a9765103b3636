"""Nodes that other hands set up: told by what starts their kubelet, and taken over only when asked."""

from ansible_collections.kubesmith.cluster.plugins.module_utils import kubeadm, node
from ansible_collections.kubesmith.cluster.plugins.module_utils.process import Result
from ansible_collections.kubesmith.cluster.plugins.modules import node_take_over


def units(monkeypatch, path):
    state = {"FragmentPath": path, "MainPID": "0"}
    monkeypatch.setattr(node.systemd, "properties", lambda _name: state)
    monkeypatch.setattr(node, "version", lambda _args: "1.36.3")
    monkeypatch.setattr(node, "run", lambda *_args, **_more: Result(127, "", ""))


def test_our_own_unit_is_not_foreign(monkeypatch):
    units(monkeypatch, f"{kubeadm.OURS}kubelet.service")
    assert node.foreign() == {}


def test_a_packages_unit_is_told_with_its_package(monkeypatch, tmp_path):
    units(monkeypatch, "/lib/systemd/system/kubelet.service")
    monkeypatch.setattr(node, "_program", lambda _pid: "/usr/bin/kubelet")
    lists = tmp_path / "var/lib/dpkg/info"
    lists.mkdir(parents=True)
    (lists / "kubelet.list").write_text("/.\n/usr/bin/kubelet\n")
    (lists / "other:amd64.list").write_text("/usr/bin/kubelet-more\n")
    found = node.foreign(str(tmp_path))
    assert set(found) == {"kubelet", "containerd"}
    assert found["kubelet"] == {
        "path": "/usr/bin/kubelet",
        "version": "1.36.3",
        "unit": "/lib/systemd/system/kubelet.service",
        "package": "kubelet",
    }


def test_only_what_hides_the_bundles_units_is_moved(tmp_path):
    folder = tmp_path / "etc/systemd/system"
    for name, text in {
        "kubelet.service": "[Service]\n",
        "kubelet.service.d/10-kubeadm.conf": "[Service]\n",
        "kubelet.service.d/20-limits.conf": "[Service]\nLimitNOFILE=9\n",
        "containerd.service.d/start.conf": "[Service]\nExecStart=\nExecStart=/opt/containerd\n",
        "other.service": "",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    found = node_take_over.hiding(f"{tmp_path}/")
    assert [path.removeprefix("/etc/systemd/system/") for path in found] == [
        "containerd.service.d/start.conf",
        "kubelet.service",
        "kubelet.service.d/10-kubeadm.conf",
    ]
