"""One control plane: a backup, what is refused, back in place, and back on new machines from the file alone."""

import shutil
import time

import pytest

from kubesmith.backups import key
from restore import objects

SUFFIX = ".tar.gz.age"


@pytest.fixture(scope="module")
def lab(build):
    lab = build("restore-single")
    objects.make(lab)
    return lab


@pytest.fixture(scope="module")
def taken(lab, data):
    """The drill's backup, and what the cluster held."""
    before = objects.told(lab)
    code, answer = lab.json("backup")
    assert code == 0, answer
    return {"id": answer["backup"]["id"], "objects": before, "meta": answer["backup"]}


def test_a_backup_is_whole_private_and_says_what_it_is(lab, taken, data):
    meta = taken["meta"]
    assert (meta["cluster"], meta["node"], meta["reason"]) == ("restore-single", "cp1", "asked for")
    folder = data / "restore-single"
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {"key.txt": 0o600, "backups": 0o700}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (folder / "backups").iterdir())
    raw = (folder / "backups" / f"{taken['id']}{SUFFIX}").read_bytes()
    assert raw.startswith(b"age-encryption.org/v1")
    assert b"kept-secret-word" not in raw
    assert lab.json("backup", "verify", taken["id"])[0] == 0
    listed = lab.json("backup", "list")[1]["backups"]
    assert taken["id"] in [row["id"] for row in listed]
    assert lab.on("cp1", "ls -A /var/lib/kubesmith/backups").split() == sorted(
        [f"{taken['id']}.json", f"{taken['id']}{SUFFIX}"]
    )
    assert "cluster:\n  name: restore-single" in lab.run("backup", "spec", taken["id"]).stdout


def test_what_is_damaged_foreign_or_locked_is_refused_and_nothing_is_touched(lab, taken, data, tmp_path):
    folder = data / "restore-single" / "backups"
    state = objects.told(lab)
    started = lab.on("cp1", "cat /proc/$(pgrep -x etcd)/stat").split()[21]
    raw = (folder / f"{taken['id']}{SUFFIX}").read_bytes()
    cases = {
        "truncated": (raw[: len(raw) // 2], "truncated"),
        "altered": (raw[: len(raw) // 2] + bytes([raw[len(raw) // 2] ^ 255]) + raw[len(raw) // 2 + 1 :], "altered"),
    }
    for name, (content, word) in cases.items():
        file = tmp_path / f"{name}{SUFFIX}"
        file.write_bytes(content)
        done = lab.run("restore", str(file), "--yes")
        assert (done.returncode, word in done.stdout) == (2, True), done.stdout
    other = tmp_path / "other.txt"
    key.make(other)
    done = lab.run("restore", taken["id"], "--yes", "--identity", str(other))
    assert (done.returncode, "encrypted for another key" in done.stdout) == (2, True), done.stdout
    renamed = tmp_path / "cluster.yml"
    renamed.write_text(lab.file.read_text().replace("restore-single", "restore-other"))
    done = lab.run(
        "restore",
        str(folder / f"{taken['id']}{SUFFIX}"),
        "--yes",
        "--identity",
        str(data / "restore-single/key.txt"),
        "--inventory",
        str(renamed),
    )
    assert (done.returncode, "of another cluster" in done.stdout) == (2, True), done.stdout
    done = lab.run("restore", taken["id"])
    assert (done.returncode, "nobody is there to confirm it" in done.stdout) == (2, True), done.stdout
    assert lab.on("cp1", "cat /proc/$(pgrep -x etcd)/stat").split()[21] == started
    assert {name: row[0] for name, row in objects.told(lab).items()} == {name: row[0] for name, row in state.items()}


def test_back_in_place(lab, taken):
    uids = objects.pods(lab)
    objects.kubectl(lab, "-n drill delete configmap kept")
    objects.kubectl(lab, "-n drill create configmap later --from-literal=a=b")
    last = objects.newest(lab)
    began = time.monotonic()
    done = lab.run("restore", taken["id"], "--yes")
    assert done.returncode == 0, done.stdout[-6000:]
    print(f"restore in place, 1 control plane: {time.monotonic() - began:.1f} s, checks included", flush=True)
    now = objects.told(lab)
    lost = {name: row[0] for name, row in taken["objects"].items() if now.get(name, ("",))[0] != row[0]}
    assert lost == {}
    assert "ConfigMap/drill/later" not in now
    assert objects.pods(lab) == uids
    assert objects.newest(lab) > last, "a revision is never given twice"
    objects.works(lab)
    assert lab.on("cp1", "ls -A /var/lib/etcd /var/lib/kubesmith /etc/kubernetes").count("restor") == 0
    reasons = [row["reason"] for row in lab.json("backup", "list")[1]["backups"]]
    assert any(reason.startswith("before the restore of") for reason in reasons)


def test_back_with_the_worker_that_is_still_there(lab):
    before, uids = objects.told(lab), objects.pods(lab)
    code, answer = lab.json("backup")
    assert code == 0
    objects.lose(lab, "cp1")
    began = time.monotonic()
    done = lab.run("restore", answer["backup"]["id"], "--yes")
    assert done.returncode == 0, done.stdout[-6000:]
    print(f"disaster, the control plane alone: {time.monotonic() - began:.1f} s", flush=True)
    now = objects.told(lab)
    assert {key: row[0] for key, row in before.items() if now.get(key, ("",))[0] != row[0]} == {}
    assert objects.pods(lab) == uids
    objects.works(lab)


def test_back_on_new_machines_from_the_file_alone(lab, taken, data, tmp_path):
    before, uids = objects.told(lab), objects.pods(lab)
    code, answer = lab.json("backup")
    assert code == 0
    name = answer["backup"]["id"]
    for file in (f"{name}{SUFFIX}",):
        shutil.copy(data / "restore-single" / "backups" / file, tmp_path)
    shutil.move(data / "restore-single" / "key.txt", tmp_path / "key.txt")
    lab.must("destroy", "--yes")
    shutil.rmtree(data / "restore-single")
    assert not lab.state.exists()
    began = time.monotonic()
    done = lab.run("restore", str(tmp_path / f"{name}{SUFFIX}"), "--identity", str(tmp_path / "key.txt"), "--yes")
    assert done.returncode == 0, done.stdout[-6000:]
    print(f"disaster, 1 control plane and 1 worker on new machines: {time.monotonic() - began:.1f} s", flush=True)
    now = objects.told(lab)
    assert {key: row[0] for key, row in before.items() if now.get(key, ("",))[0] != row[0]} == {}
    assert objects.pods(lab) == uids
    objects.works(lab)
    assert "cp1" in done.stdout
    lab.must("verify", "--wait")
