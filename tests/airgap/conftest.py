"""A lab made from one exported file, without a cache, a compiler or a way out; and a registry beside it.

Slow, and not part of ``make unit``: ``make test-airgap``. KUBESMITH_KEEP=1 leaves the lab for a look.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from servers.http import certificates
from servers.registry import Registry

from kubesmith import paths

ROOT = Path(__file__).parents[2]
NAME = "airgap"
NODES = "10.203.77.0/24"
GATEWAY = "10.203.77.1"
PASSWORD = "Tr0ub4dor-airgap-pull"
#: Programs that would build or fetch something: in front of PATH, they note that they were called, and fail.
FORBIDDEN = ("go", "gcc", "debootstrap", "apt-get", "pip", "curl", "wget")
FILE = f"""\
plugin: kubesmith.cluster.spec
cluster: {{name: {NAME}}}
provider: podman
lab: true
control_planes: 1
workers: 1
network: {{nodes: {NODES}}}
bundle: {{source: file, file: kubesmith.tar.zst}}
runtime:
  registries:
  - upstream: private.example
    mirrors:
    - url: https://{GATEWAY}:5443
      ca: /etc/ssl/lab-ca.pem
      auth: {{username: puller, password_env: AIRGAP_PASSWORD}}
"""
# In the node's own network: nothing leaves but to nodes, pods and services.
BLOCK = f"""
nft -f - <<'END'
table inet airgap {{
  counter lost {{ }}
  chain out {{
    type filter hook output priority -200; policy drop;
    oif lo accept
    ip daddr {{ 127.0.0.0/8, {NODES}, 10.244.0.0/16, 10.96.0.0/12 }} accept
    counter name lost
  }}
  chain forward {{
    type filter hook forward priority -200; policy drop;
    ip daddr {{ {NODES}, 10.244.0.0/16, 10.96.0.0/12 }} accept
  }}
}}
END
"""


class Site:
    """The machine without a network, as far as it can be played here: own caches, own podman storage, no tools."""

    def __init__(self, folder, exported):
        self.folder = folder
        self.exported = exported
        self.file = folder / "cluster.yml"
        self.file.write_text(FILE)
        self.state = folder / "state"
        self.cache = folder / "cache"
        self.called = folder / "called"
        tools = folder / "tools"
        tools.mkdir()
        for tool in FORBIDDEN:
            (tools / tool).write_text(f'#!/bin/sh\necho "{tool} $*" >>{self.called}\nexit 1\n')
            (tools / tool).chmod(0o755)
        storage = folder / "storage.conf"
        storage.write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/podman"\nrunroot = "/run/kubesmith-{NAME}"\n'
        )
        dead = "http://127.0.0.1:9"
        self.environment = os.environ | {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "KUBESMITH_CACHE": str(self.cache),
            "KUBESMITH_STATE": str(self.state),
            "CONTAINERS_STORAGE_CONF": str(storage),
            "AIRGAP_PASSWORD": PASSWORD,
            "GOPROXY": "off",
            "http_proxy": dead,
            "https_proxy": dead,
            "no_proxy": NODES,
        }
        self.environment.pop("KUBESMITH_BUNDLE", None)
        self.said = ""

    def run(self, *words, seconds=1500, **more):
        """Run runner.py there; everything it says is kept."""
        verb, *rest = words  # what follows kubectl's own words would be kubectl's
        command = [sys.executable, "-m", "kubesmith.cli", verb, "--inventory", str(self.file), *rest]
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
            cwd=ROOT,
            env=self.environment | more,
        )
        self.said += done.stdout
        return done

    def podman(self, *words):
        """Run podman in the site's storage."""
        done = subprocess.run(["podman", *words], capture_output=True, text=True, check=False, env=self.environment)
        return done.returncode, done.stdout + done.stderr

    def on(self, node, script):
        """Run a script in a node; return (exit code, output)."""
        return self.podman("exec", f"kubesmith-{NAME}-{node}", "bash", "-euc", script)

    def kubectl(self, *words):
        """Run kubectl on the cluster; return its output, fail the test if it fails."""
        done = self.run("kubectl", *words)
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """The bundle of this machine, with the lab's node image, in one file."""
    target = tmp_path_factory.mktemp("carried") / "kubesmith.tar.zst"
    command = [sys.executable, "-m", "kubesmith.cli", "bundle", "export", str(target), "--with-node-image"]
    subprocess.run(command, check=True, cwd=ROOT)
    return target


@pytest.fixture(scope="session")
def site(tmp_path_factory, exported):
    """The nodes run, and reach nothing but each other and this machine; there is no cluster yet."""
    made = Site(tmp_path_factory.mktemp("site"), exported)
    (made.folder / "kubesmith.tar.zst").hardlink_to(exported)
    ca, _server = certificates(made.folder, GATEWAY)
    try:
        done = made.run("up", "--only", "bundle", "--only", "nodes")
        assert done.returncode == 0, done.stdout
        for node in ("cp1", "w1"):
            code, said = made.on(node, f"{BLOCK}\ncat >/etc/ssl/lab-ca.pem <<'END'\n{ca.read_text()}END\n")
            assert code == 0, said
        yield made
    finally:
        if not os.environ.get("KUBESMITH_KEEP"):
            made.run("destroy", "--yes")
            made.podman("rmi", "--all", "--force")
            shutil.rmtree(f"/run/kubesmith-{NAME}", ignore_errors=True)
            subprocess.run(["umount", str(made.folder / "podman" / "overlay")], capture_output=True, check=False)


@pytest.fixture(scope="session")
def registry(site):
    """A registry on this machine that wants a password; it serves the bundle's images under other names."""
    with Registry(
        (paths.bundle() / "images"),
        login=("puller", PASSWORD),
        certificate=site.folder / "server.pem",
        host="0.0.0.0",
        port=5443,
    ) as made:
        yield made


@pytest.fixture(scope="session")
def cluster(site, registry):
    """The verified cluster."""
    done = site.run("up", "-vv")
    assert done.returncode == 0, done.stdout[-6000:]
    return site
