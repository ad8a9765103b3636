"""Held packages on a node, from a signed repository on this machine; the nodes reach no other."""

import gzip
import hashlib
import json
import subprocess
import sys

import pytest
from servers.files import Files

from airgap.conftest import GATEWAY, ROOT
from kubesmith import paths

PORT = 5480
NAME = "kubesmith-held"


def package(folder, version):
    """Build a package of one program; return (file's name, bytes, control text)."""
    tree = folder / f"{NAME}-{version}"
    (tree / "usr/bin").mkdir(parents=True)
    (tree / "DEBIAN").mkdir()
    program = tree / "usr/bin" / NAME
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    control = f"Package: {NAME}\nVersion: {version}\nArchitecture: all\nMaintainer: t <t@example.org>\nDescription: x\n"
    (tree / "DEBIAN" / "control").write_text(control)
    target = folder / f"{NAME}_{version}_all.deb"
    subprocess.run(["dpkg-deb", "--build", "-Zgzip", str(tree), str(target)], check=True, capture_output=True)
    return target.name, target.read_bytes(), control


class Repository(Files):
    """An apt repository in the community's layout (everything in one folder), signed by a key of its own."""

    def __init__(self, folder):
        super().__init__(host="0.0.0.0", port=PORT)
        self.home = folder / "gpg"
        self.home.mkdir(mode=0o700)
        self.gpg("--quick-generate-key", "repo@example.org", "rsa2048", "sign")
        self.key = self.gpg("--armor", "--export").decode()
        self.packages = [package(folder, version) for version in ("1.0.0-1", "1.1.0-1", "1.2.0-1")]
        self.publish()

    def gpg(self, *words, data=b""):
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--passphrase", "", *words]
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout

    def publish(self):
        rows = []
        for name, content, control in self.packages:
            digest = hashlib.sha256(content).hexdigest()
            rows.append(f"{control}Filename: {name}\nSize: {len(content)}\nSHA256: {digest}\n")
            self.files[f"/{name}"] = content
        listing = gzip.compress("\n".join(rows).encode(), mtime=0)
        digest = hashlib.sha256(listing).hexdigest()
        plain = "\n".join(rows).encode()
        sums = f" {digest} {len(listing)} Packages.gz\n {hashlib.sha256(plain).hexdigest()} {len(plain)} Packages\n"
        release = f"Origin: test\nSuite: ./\nDate: Mon, 23 Nov 2026 00:00:00 UTC\nSHA256:\n{sums}"
        self.files |= {"/Packages.gz": listing, "/Packages": plain}
        self.files["/InRelease"] = self.gpg("--clearsign", data=release.encode())


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    with Repository(tmp_path_factory.mktemp("repository")) as made:
        yield made
        subprocess.run(["gpgconf", "--homedir", str(made.home), "--kill", "all"], check=False)


@pytest.fixture
def held(site, repository):
    """Return a function that runs the module on w1 and returns its answer."""

    def run(version, key=repository.key, check=False):
        arguments = {"name": NAME, "url": f"http://{GATEWAY}:{PORT}", "key": key, "packages": {NAME: version}}
        arguments["links"] = {NAME: f"/usr/bin/{NAME}"}
        answers = site.folder / "answers"
        words = ["w1", "-i", str(site.file), "-m", "kubesmith.cluster.held_packages", "-a", json.dumps(arguments)]
        command = [sys.executable, "-m", "ansible", "adhoc", *words, "--tree", str(answers)]
        more = {"ANSIBLE_COLLECTIONS_PATH": str(paths.COLLECTIONS)}
        more["ANSIBLE_INVENTORY_ENABLED"] = "kubesmith.cluster.spec"
        done = subprocess.run(
            [*command, *(["--check"] if check else [])],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=site.environment | more,
            timeout=300,
        )
        assert (answers / "w1").exists(), done.stdout + done.stderr
        return json.loads((answers / "w1").read_text())

    return run


def version(site):
    return site.on("w1", f"/usr/local/bin/{NAME}")[1].strip()


def test_the_wanted_version_is_installed_and_held(site, held):
    would = held("1.1.0", check=True)
    assert would["changed"]
    assert site.on("w1", f"test ! -e /usr/bin/{NAME}")[0] == 0
    done = held("1.1.0")
    assert f"{NAME} absent → 1.1.0" in done["actions"], done
    assert version(site) == "1.1.0-1"
    assert site.on("w1", "apt-mark showhold")[1].split() == [NAME]
    assert not held("1.1.0")["changed"]


def test_an_ordinary_upgrade_leaves_it(site, held):
    held("1.1.0")
    _code, said = site.on("w1", "apt-get --yes --no-download upgrade 2>&1 || true")
    assert version(site) == "1.1.0-1", said


def test_up_and_down(site, held):
    assert held("1.2.0")["changed"]
    assert version(site) == "1.2.0-1"
    assert held("1.0.0")["changed"]
    assert version(site) == "1.0.0-1"


def test_a_version_that_is_not_there(held):
    done = held("9.9.9")
    assert f"has no {NAME} 9.9.9; versions known to apt: 1.2.0-1" in done["msg"]


def test_a_package_that_was_changed(site, held, repository):
    held("1.0.0")
    name, good, _control = repository.packages[1]
    repository.files[f"/{name}"] = good[:-1] + bytes([good[-1] ^ 1])
    try:
        site.on("w1", "rm -f /var/cache/apt/archives/*.deb")
        assert "msg" in held("1.1.0")
    finally:
        repository.files[f"/{name}"] = good
    assert version(site) == "1.0.0-1"


def test_a_key_that_did_not_sign(site, held, repository, tmp_path):
    (tmp_path / "gpg").mkdir(mode=0o700)
    base = ["gpg", "--homedir", str(tmp_path / "gpg"), "--batch", "--quiet", "--passphrase", ""]
    subprocess.run([*base, "--quick-generate-key", "other@example.org", "rsa2048", "sign"], check=True)
    other = subprocess.run([*base, "--armor", "--export"], check=True, capture_output=True, text=True).stdout
    subprocess.run(["gpgconf", "--homedir", str(tmp_path / "gpg"), "--kill", "all"], check=False)
    done = held("1.2.0", key=other)
    assert "NO_PUBKEY" in done["msg"] or "signature" in done["msg"].lower() or "signed" in done["msg"], done["msg"]
    assert version(site) != "1.2.0-1"
    held("1.0.0", key=repository.key)
