"""Workers in parts, and what travels of each part."""

from __future__ import annotations

import io
import json
import zipfile
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from ansible_runner.utils.streaming import unstream_dir
from hypothesis import given
from hypothesis import strategies as st

from kubesmith import job
from kubesmith.controllers import shards, worker
from kubesmith.errors import InputError
from kubesmith.ui import Ui


@given(st.integers(0, 3000), st.integers(1, 64))
def test_every_host_is_in_one_part_and_parts_are_nearly_the_same_size(count: int, places: int) -> None:
    hosts = [f"w{number}" for number in range(count)]
    made = shards.parts(hosts, places)
    assert sorted(host for part in made for host in part) == sorted(hosts)
    sizes = {len(part) for part in made}
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    assert max(sizes, default=0) <= shards.MOST


def unpacked(payload: bytes, folder: Path) -> dict[str, str]:
    stream = io.BytesIO(payload)
    assert "kwargs" in json.loads(stream.readline())
    unstream_dir(stream, json.loads(stream.readline())["zipfile"], str(folder))
    assert json.loads(stream.readline()) == {"eof": True}
    return {file.name: file.read_text() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def metal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> job.Job:
    monkeypatch.setenv("KUBESMITH_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("KUBESMITH_SSH_SOCKETS", raising=False)
    (tmp_path / "id").write_text("PRIVATE KEY\n")
    (tmp_path / "id").chmod(0o600)
    (tmp_path / "known").write_text("192.0.2.1 ssh-ed25519 AAAA\n")
    rows = "".join(f"- {{name: w{n}, address: 192.0.2.{n + 10}}}\n" for n in range(12))
    (tmp_path / "cluster.yml").write_text(
        "plugin: kubesmith.cluster.spec\ncluster: {name: m}\n"
        f"access: {{user: admin, key: {tmp_path}/id, known_hosts: {tmp_path}/known, bastion: jump@192.0.2.9}}\n"
        f"nodes:\n- {{name: cp1, role: control-plane, address: 192.0.2.1}}\n{rows}"
    )
    return job.read(str(tmp_path / "cluster.yml"), Ui(quiet=True))


def test_a_shard_holds_its_hosts_and_the_control_plane_and_reaches_them_from_elsewhere(
    metal: job.Job, tmp_path: Path
) -> None:
    made = shards.make(metal, places=1)
    assert [len(shard.hosts) for shard in made] == [4, 4, 4]
    files = unpacked(made[0].payload, tmp_path / "there")
    inventory = json.loads(files["hosts.json"])
    assert sorted(inventory["kube_node"]["hosts"]) == sorted(made[0].hosts)
    host: dict[str, Any] = inventory["kube_node"]["hosts"]["w0"]
    assert list(inventory["kube_control_plane"]["hosts"]) == ["cp1"]
    assert host["ansible_host"] == "192.0.2.10"
    assert host["ansible_user"] == "admin"
    assert host["ansible_become"] is True
    key = host["ansible_ssh_private_key_file"].removeprefix("{{ inventory_dir }}/")
    assert files[key] == "PRIVATE KEY\n"
    assert (tmp_path / "there" / "inventory" / key).stat().st_mode & 0o777 == 0o600
    assert "-J jump@[192.0.2.9] " in host["ansible_ssh_common_args"]
    assert "UserKnownHostsFile={{ inventory_dir }}/known_hosts" in host["ansible_ssh_common_args"]
    assert files["known_hosts"].startswith("192.0.2.1 ssh-ed25519 AAAA\n")
    assert host["containerd_bundle"] == shards.BUNDLE
    assert str(tmp_path) not in files["hosts.json"], "no path of this machine is of use there"


def test_nothing_of_the_keys_is_shown(metal: job.Job) -> None:
    assert "payload" not in repr(shards.make(metal, places=1)[0])


def test_hosts_entered_by_password_are_refused(metal: job.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBESMITH_SSH_SOCKETS", "/run/x")
    with pytest.raises(InputError, match="entered by password"):
        shards.make(metal, places=1)


def test_a_key_that_is_not_there_is_refused(metal: job.Job, tmp_path: Path) -> None:
    (tmp_path / "id").unlink()
    with pytest.raises(InputError, match="none of SSH's keys is there"):
        shards.make(metal, places=1)


def test_only_what_is_told_or_counted_travels_back() -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("stdout", "secret " * 500)
    event = {"event": "runner_on_ok", "uuid": "u", "counter": 3, "stdout": "secret"}
    event["event_data"] = {"host": "w1", "task": "t", "res": {"changed": True, "invocation": {"token": "secret"}}}
    stream = io.BytesIO()
    stream.write(json.dumps({"status": "starting", "env": {"PASSWORD": "secret"}}).encode() + b"\n")
    stream.write(b"a library says something\n" + json.dumps(event).encode() + b"\n")
    stream.write(json.dumps({"event": "verbose", "uuid": "v", "counter": 4, "stdout": "secret"}).encode() + b"\n")
    stream.write(encoded(archive.getvalue()) + b'{"eof": true}\n')
    stream.seek(0)
    lines = list(worker._lines(stream))
    assert b"secret" not in b"".join(lines)
    assert [sorted(json.loads(line)) for line in lines] == [
        ["status"],
        ["counter", "event", "event_data", "uuid"],
        ["eof"],
    ]
    assert json.loads(lines[1])["event_data"]["res"] == {"changed": True}


def encoded(content: bytes) -> bytes:
    return json.dumps({"zipfile": len(content)}).encode() + b"\n" + b64encode(content)
