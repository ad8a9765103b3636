"""kubeadm init made to fail in five ways: the cause and the remedy come first, and after the remedy ``up`` finishes."""

import pytest

# A drop-in of the site moves containerd to a configuration of its own: what our role writes is then of no effect.
MOVED = """
mkdir -p /etc/containerd/site /opt/site /etc/systemd/system/containerd.service.d
sed "{change}" /etc/containerd/config.toml >/etc/containerd/site/config.toml
cat >/etc/systemd/system/containerd.service.d/50-site.conf <<END
[Service]
ExecStart=
ExecStart=/usr/local/bin/containerd --config /etc/containerd/site/config.toml
END
cat >/opt/site/runc <<END
#!/bin/sh
exec /usr/local/sbin/runc --systemd-cgroup "\\$@"
END
chmod 755 /opt/site/runc
systemctl daemon-reload
systemctl restart containerd
"""
MOVED_BACK = "systemctl revert containerd; systemctl daemon-reload; systemctl restart containerd"
# name → (what plants it on the control plane, the title that must be named, what the screen must show, its remedy)
FAULTS = {
    "api port taken": (
        "systemd-run --unit=squatter /usr/bin/python3 -m http.server 6443",
        "Port 6443 of the API server is taken",
        ["python3", "ss -ltnp"],
        "systemctl stop squatter",
    ),
    "pause image missing": (
        MOVED.format(change="s|^sandbox = .*|sandbox = 'registry.site.internal/pause:3.10'|"),
        "The pause image is missing",
        ["registry.site.internal/pause:3.10", "systemctl cat containerd"],
        MOVED_BACK,
    ),
    # The kubelet asks containerd for its driver; a program in runc's place, as vendors ship them, may know better.
    "wrong cgroup driver": (
        MOVED.format(change="s|^SystemdCgroup = true|SystemdCgroup = false\\nBinaryName = '/opt/site/runc'|"),
        "different cgroup drivers",
        ["expected cgroupsPath", "SystemdCgroup"],
        MOVED_BACK,
    ),
    "disk full on /var/lib/etcd": (
        "mount -t tmpfs -o size=16m,mode=700 tmpfs /var/lib/etcd",
        "A disk is full",
        ["/var/lib/etcd", "df -h"],
        "mount -o remount,size=1g /var/lib/etcd",
    ),
    "kubelet unit broken": (
        """
mkdir -p /etc/systemd/system/kubelet.service.d
cat >/etc/systemd/system/kubelet.service.d/99-site.conf <<END
[Service]
Environment="KUBELET_EXTRA_ARGS=--no-such-flag=1"
END
systemctl daemon-reload
""",
        "The kubelet's unit is broken",
        ["no-such-flag", "systemctl revert kubelet"],
        "systemctl revert kubelet; systemctl daemon-reload",
    ),
}


@pytest.fixture(scope="module")
def prepared(lab):
    """The lab with containerd and images on it, which a fault may need to be planted."""
    code, said = lab.up()
    assert code == 0, said
    return lab


@pytest.mark.parametrize("name", FAULTS)
def test_the_cause_is_named_first_and_its_remedy_helps(prepared, name):
    plant, title, shown, remedy = FAULTS[name]
    prepared.forget_cluster()
    prepared.on("cp1", plant)
    try:
        code, said = prepared.up(fails=True)
    finally:
        prepared.on("cp1", remedy)
    print(said)
    assert code == 1
    why = next(line for line in said.splitlines() if line.startswith("Why"))
    assert title in why
    below = said[said.index("Failed  ") :]
    assert "What to do" in below
    assert [text for text in shown if text not in below] == []
    code, said = prepared.up()
    assert code == 0, said
