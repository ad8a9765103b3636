"""What is read of a node for the benchmark, and which modes are put right."""

import os
import pwd

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import permissions, security
from ansible_collections.kubesmith.cluster.plugins.modules import bundle_files

ME = pwd.getpwuid(os.getuid()).pw_name


def process(root, number, *words):
    folder = root / "proc" / str(number)
    folder.mkdir(parents=True)
    (folder / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))


@pytest.fixture
def root(tmp_path, monkeypatch):
    process(tmp_path, 7, "/usr/local/bin/kube-apiserver", "--a=1", "--encryption-provider-config=/etc/enc")
    process(tmp_path, 9)
    pids = {"kube-apiserver": [7], "kubelet": [4]}  # the second has ended meanwhile
    monkeypatch.setattr(security.served, "processes", lambda name: pids.get(name, []))
    (tmp_path / "etc").mkdir()
    return tmp_path


def test_programs_by_their_name(root):
    assert set(security.running(str(root))) == {"kube-apiserver"}
    assert security.running(str(root))["kube-apiserver"][1] == "--a=1"


@pytest.mark.parametrize(
    "text",
    [
        '{"providers": [{"secretbox": {"keys": [{"name": "k", "secret": "c2VjcmV0"}]}}, {"identity": {}}]}',
        "providers:\n  - secretbox:\n      keys:\n      - name: k\n        secret: c2VjcmV0\n  - identity: {}\n",
    ],
)
def test_of_the_keys_only_the_providers_are_kept(root, text):
    (root / "etc/enc").write_text(text)
    seen = security.look([], f"{root}/")
    assert seen["providers"] == ["secretbox", "identity"]
    assert "c2VjcmV0" not in str(seen)


def test_modes_of_what_matches(root):
    (root / "etc/a.conf").write_text("")
    (root / "etc/a.conf").chmod(0o640)
    assert security.modes(["/etc/*.conf", "/nothing/*"], str(root))["/etc/a.conf"][0] == "640"


def test_open_ports(root):
    (root / "proc/net").mkdir()
    rows = [
        "  sl  local_address rem_address   st",
        "   0: 0100007F:2809 00000000:0000 0A",  # 10249, loopback
        "   1: 00000000:280A 00000000:0000 0A",  # 10250, all
        "   2: 0100007F:280A 0100007F:1234 01",  # a connection, not a listener
        "   3: 00000000:0016 00000000:0000 0A",  # none of a cluster's
    ]
    (root / "proc/net/tcp").write_text("\n".join(rows) + "\n")
    (root / "proc/net/tcp6").write_text("head\n 0: 00000000000000000000000000000000:280A 0:0 0A\n")
    assert security.listening(f"{root}/") == {"10249": ["127.0.0.1"], "10250": ["0.0.0.0", "::"]}


def test_what_a_pod_does():
    risky = {
        "hostNetwork": True,
        "containers": [
            {
                "securityContext": {"privileged": True},
                "ports": [{"hostPort": 80}],
                "env": [{"name": "A", "valueFrom": {"secretKeyRef": {}}}],
            }
        ],
        "volumes": [{"hostPath": {}}, {"projected": {"sources": [{"serviceAccountToken": {}}]}}],
    }
    found = security.pod({"metadata": {"name": "a", "namespace": "n"}, "spec": risky})
    assert found["name"] == "n/a"
    wanted = {
        "hostNetwork",
        "privileged",
        "escalation",
        "root",
        "net_raw",
        "hostPath",
        "hostPort",
        "secretEnv",
        "token",
    }
    assert set(found["does"]) == wanted
    strict = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}}
    item = {"metadata": {"name": "a"}, "spec": {"containers": [{"securityContext": strict}]}}
    assert security.pod(item)["does"] == []


def rule(pattern, mode):
    return permissions.Rule(pattern, mode, ME)


def test_only_what_allows_too_much_is_mended(tmp_path, monkeypatch):
    monkeypatch.setitem(permissions.RULES, "standard", (rule("/*.key", 0o600),))
    for name, mode in (("wide.key", 0o644), ("strict.key", 0o400), ("right.key", 0o600), ("other.crt", 0o644)):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(mode)
    (tmp_path / "link.key").symlink_to("other.crt")
    found = list(permissions.wrong("standard", str(tmp_path)))
    assert [row.path.name for row in found] == ["wide.key"]
    assert str(found[0]).endswith(f"wide.key: 0644 {ME}:{ME} → 0600 {ME}:{ME}")
    permissions.mend(found[0])
    assert (tmp_path / "wide.key").stat().st_mode & 0o777 == 0o600
    assert list(permissions.wrong("standard", str(tmp_path))) == []


def test_cis_is_the_stricter_profile():
    patterns = {rule.pattern: rule for rule in permissions.RULES["cis"]}
    for usual in permissions.RULES["standard"]:
        assert patterns[usual.pattern].mode == usual.mode
    assert patterns["/var/lib/etcd"].owner == "etcd"


@pytest.mark.parametrize(
    ("seen", "wanted", "right"),
    [
        (0o644, 0o644, True),
        (0o600, 0o644, True),  # made stricter by an administrator, or by the profile
        (0o700, 0o755, True),
        (0o666, 0o644, False),
        (0o444, 0o644, False),
        (0o644, 0o755, False),
        (0o4755, 0o755, False),
    ],
)
def test_an_installed_file_may_be_stricter(seen, wanted, right):
    assert bundle_files.allows(seen, wanted) is right
