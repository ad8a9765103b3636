"""Our own security: secrets are planted, the whole tool is used, and they are found nowhere but where they belong."""

import base64
import os
import re
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest
from lifecycle.lab import made

ROOT = Path(__file__).parents[2]
PASSWORD = "planted-registry-password-7c1e"
TOKEN = "plante.d0123456789abcde"
APPLICATION = "planted-application-secret-9b42"
MORE = """\
security: {profile: cis}
runtime:
  registries:
    - upstream: registry.example
      mirrors: [{url: "http://127.0.0.1:9", auth: {username: u, password_env: PLANTED_PASSWORD}}]
"""
BOOTSTRAP = re.compile(rb"\b[a-z0-9]{6}\.[a-z0-9]{16}\b")
#: Where a secret belongs: the administrator's own kubeconfig, and the lab's key of SSH.
HOME = {"kubeconfig", "id_ed25519"}
TEMPORARY = "/run/kubesmith-*.json /run/kubesmith-*.yml /root/.ansible/tmp/* /tmp/ansible* /tmp/kubesmith*"
#: Words that look like a bootstrap token and are none.
NO_TOKEN = re.compile(rb"^[0-9]{6}\.[0-9]{16}$|^abcdef\.0123456789abcdef$")


class Watcher(threading.Thread):
    """Reads the command lines of all processes of this machine, nodes' too, until it is stopped."""

    def __init__(self):
        super().__init__(daemon=True)
        self.seen = set()
        self.ended = threading.Event()

    def run(self):
        while not self.ended.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(path.read_bytes())
                except OSError:
                    continue
            time.sleep(0.02)


def forms(text):
    """Yield what to look for: the value, its lines if it has several, and as base64."""
    lines = [line for line in text.strip().splitlines() if line and not line.startswith("-----")]
    for line in lines:
        yield line.encode()
        yield base64.b64encode(line.encode()).rstrip(b"=")[:-1]
    yield base64.b64encode(text.strip().encode()).rstrip(b"=")[:-2]


def contents(folder):
    """Yield (name, bytes) of every file below a folder; of an archive, what is in it."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_symlink() or path.name in HOME:
            continue
        yield str(path), path.read_bytes()
        if path.name.endswith((".tar.gz", ".tgz", ".tar")):
            with tarfile.open(path) as archive:
                for member in archive:
                    inside = archive.extractfile(member)
                    if inside is not None:
                        yield f"{path}:{member.name}", inside.read()


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """Use the whole tool on a lab with planted secrets; return what it said, the secrets by name, and the watcher."""
    folder = tmp_path_factory.mktemp("nowhere")
    os.environ["PLANTED_PASSWORD"] = PASSWORD
    watcher = Watcher()
    watcher.start()
    said = []
    try:
        for lab in made(folder, "security-nowhere", more=MORE):
            for words in (("up", "-v", "-v", "-v"), ("verify",), ("certs",), ("cis",), ("status",)):
                said.append(lab.run(*words).stdout)
            lab.on("cp1", f"kubeadm token create {TOKEN} --ttl 1h --kubeconfig /etc/kubernetes/admin.conf")
            watcher.seen.clear()  # that was our own hand
            create = "kubectl --kubeconfig /etc/kubernetes/admin.conf create secret generic planted"
            create += " --from-file=value=/dev/stdin"
            lab.on("cp1", f"printf %s '{APPLICATION}' | {create}")
            for words in (("secrets", "rotate", "-v", "-v"), ("certs", "renew"), ("plan",)):
                said.append(lab.run(*words).stdout)
            # A failing run tells more than a good one: it gathers evidence, and its report quotes it.
            lab.on("w1", "systemctl stop containerd; chmod 0 /usr/local/bin/containerd")
            said.append(lab.run("up", "-v", "-v", "-v", "--only", "converge").stdout)
            said.append(lab.run("gather", "-o", str(folder / "evidence.tar.gz")).stdout)
            secrets = {
                "registry password": PASSWORD,
                "bootstrap token": TOKEN.partition(".")[2],
                "application secret": APPLICATION,
                "service accounts' key": lab.on("cp1", "cat /etc/kubernetes/pki/sa.key"),
                "CA's key": lab.on("cp1", "cat /etc/kubernetes/pki/ca.key"),
                "administrator's key": re.search(
                    r"client-key-data: (\S+)", lab.on("cp1", "cat /etc/kubernetes/admin.conf")
                )[1],
                "encryption key": re.search(
                    r'"secret": "([^"]+)"', lab.on("cp1", "cat /etc/kubernetes/encryption/config.yaml")
                )[1],
                "SSH key": (lab.state / "id_ed25519").read_text(),
            }
            yield lab, folder, said, secrets, watcher
    finally:
        watcher.ended.set()
        os.environ.pop("PLANTED_PASSWORD")


def found(secrets, rows):
    """Return where which secret was found."""
    wanted = {form: name for name, text in secrets.items() for form in forms(text) if len(form) >= 12}
    return sorted({(name, place) for place, raw in rows for form, name in wanted.items() if form in raw})


def test_the_search_finds_what_is_there(used, tmp_path):
    """A search that cannot find anything proves nothing."""
    _lab, _folder, _said, secrets, _watcher = used
    for name, text in secrets.items():
        (tmp_path / "log").write_text(f"x{text}y")
        assert {row[0] for row in found(secrets, contents(tmp_path))} >= {name}
        (tmp_path / "log").write_bytes(b"x" + base64.b64encode(text.strip().encode()) + b"y")
        assert {row[0] for row in found(secrets, contents(tmp_path))} >= {name}


def test_in_no_file_that_is_kept(used):
    lab, folder, _said, secrets, _watcher = used
    rows = [*contents(lab.state), *contents(folder)]
    assert len(rows) > 30
    assert any(name.endswith("report.html") for name, _raw in rows)
    assert any(":" in name for name, _raw in rows), "the gathered archive was looked into"
    assert found(secrets, rows) == []


def test_in_no_cache_of_ours(used):
    _lab, _folder, _said, secrets, _watcher = used
    cache = Path(os.environ.get("KUBESMITH_CACHE", Path.home() / ".cache/kubesmith"))
    rows = [
        (str(path), path.read_bytes()) for path in [cache / "bug.log", *cache.glob("bundle/logs/*")] if path.is_file()
    ]
    assert found(secrets, rows) == []


def test_in_nothing_that_was_said(used):
    _lab, _folder, said, secrets, _watcher = used
    assert all(said)
    assert found(secrets, [(f"command {number}", text.encode()) for number, text in enumerate(said)]) == []


def test_in_no_command_line(used):
    _lab, _folder, _said, secrets, watcher = used
    assert any(b"ansible-playbook" in words for words in watcher.seen), "the watcher saw the runs"
    assert found(secrets, [(words.decode(errors="replace"), words) for words in watcher.seen]) == []


def test_no_token_of_a_run_is_anywhere(used):
    lab, folder, said, _secrets, watcher = used
    rows = [*contents(lab.state), *contents(folder), *(("said", text.encode()) for text in said)]
    rows += [(words.decode(errors="replace"), words) for words in watcher.seen]
    assert [(place, hit) for place, raw in rows for hit in BOOTSTRAP.findall(raw) if not NO_TOKEN.match(hit)] == []


def test_tokens_are_revoked_after_the_join(used):
    lab = used[0]
    names = lab.must(
        "kubectl",
        "get",
        "secrets",
        "-n",
        "kube-system",
        "--field-selector=type=bootstrap.kubernetes.io/token",
        "-o",
        "name",
    )
    assert names.split() == [f"secret/bootstrap-token-{TOKEN[:6]}"]


def test_no_temporary_file_is_left_and_none_was_for_others(used):
    lab = used[0]
    for node in ("cp1", "w1"):
        left = lab.on(node, f"ls -d {TEMPORARY} 2>/dev/null || true")
        assert left == ""
    wide = [
        path
        for path in lab.state.rglob("*")
        if not path.is_symlink() and path.stat().st_mode & 0o077 and path.name != "id_ed25519.pub"
    ]
    private = [
        path
        for path in wide
        if not any(
            parent.stat().st_mode & 0o077 == 0 for parent in path.parents if lab.state in [parent, *parent.parents]
        )
    ]
    assert private == [], "every file is private, or in a folder that is"
    assert lab.state.stat().st_mode & 0o077 == 0


def test_a_node_with_another_host_key_is_not_talked_to(used):
    lab = used[0]
    known = lab.state / "known_hosts"
    text = known.read_text()
    other = subprocess.run(
        [
            sys.executable,
            "-c",
            "import base64,os;print(base64.b64encode(b'\\0\\0\\0\\x0bssh-ed25519\\0\\0\\0 '+os.urandom(32)).decode())",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    known.write_text(re.sub(r"^(\S*w1\S* ssh-ed25519) \S+", rf"\1 {other}", text, flags=re.MULTILINE))
    assert known.read_text() != text
    subprocess.run("rm -f " + str(lab.state / "ssh" / "*"), shell=True, check=True)  # no connection is open any more
    try:
        done = lab.run("cis")
        assert done.returncode == 1
        assert re.search(r"host key|HOST IDENTIFICATION", done.stdout, re.IGNORECASE), done.stdout
    finally:
        known.write_text(text)
