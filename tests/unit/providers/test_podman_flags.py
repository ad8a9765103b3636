"""The flags of a node container on different machines."""

from dataclasses import replace

from kubesmith.providers.podman.engine import Host, node_flags, runtime_flags

OLD = Host(cgroup_v2=False, may_raise_limits=False, nofile=20000, nproc=96365)
NEW = Host(cgroup_v2=True, may_raise_limits=True, nofile=1024, nproc=96365)


def test_cgroup_v1_needs_runc_and_does_without_podmans_systemd_mode() -> None:
    assert runtime_flags(OLD) == ["--runtime", "runc"]
    assert "--systemd=false" in node_flags(OLD)
    assert "--env=container=podman" in node_flags(OLD)


def test_cgroup_v2_is_left_to_podman() -> None:
    assert runtime_flags(NEW) == []
    assert "--systemd=always" in node_flags(NEW)
    assert not [flag for flag in node_flags(NEW) if flag.startswith(("--ulimit", "--tmpfs"))]


def test_limits_are_named_only_where_they_cannot_be_raised() -> None:
    assert {"--ulimit=nofile=20000:20000", "--ulimit=nproc=32768:32768"} <= set(node_flags(OLD))
    assert "--ulimit=nproc=1000:1000" in node_flags(replace(OLD, nproc=1000))
    assert not [flag for flag in node_flags(replace(OLD, may_raise_limits=True)) if flag.startswith("--ulimit")]
