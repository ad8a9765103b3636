"""Held packages: the files and commands of each package manager."""

import pytest
from ansible_collections.kubesmith.cluster.plugins.module_utils import packages

URL = "https://pkgs.k8s.io/core:/stable:/v1.37/deb"
MADISON = f"""\
   kubelet | 1.37.3-1.1 | {URL}  Packages
   kubelet | 1.37.2-2.1 | {URL}  Packages
   kubelet | 1.37.2-1.1 | {URL}  Packages
   kubelet | 1.37.2-1.1 | https://elsewhere.example  Packages
"""


@pytest.mark.parametrize(
    ("wanted", "url", "found"),
    [
        ("1.37.2", URL, "1.37.2-2.1"),
        ("1.37.2-1.1", URL + "/", "1.37.2-1.1"),
        ("1.37.2", "https://elsewhere.example/", "1.37.2-1.1"),
        ("1.37", URL, ""),
        ("1.37.3", "https://elsewhere.example", ""),
    ],
)
def test_the_version_comes_from_this_repository(wanted, url, found):
    assert packages.apt_version(MADISON, "kubelet", wanted, url) == found


def test_the_key_is_trusted_for_this_repository_alone():
    made = packages.apt_files("kubernetes", URL, "KEY\n")
    assert made["/etc/apt/keyrings/kubernetes.asc"] == "KEY\n"
    source = made["/etc/apt/sources.list.d/kubernetes.sources"]
    assert f"URIs: {URL}/\n" in source
    assert "Signed-By: /etc/apt/keyrings/kubernetes.asc\n" in source
    update = packages.apt_update("kubernetes")
    assert "Dir::Etc::sourcelist=/etc/apt/sources.list.d/kubernetes.sources" in update
    assert "Dir::Etc::sourceparts=-" in update


def test_dnf_keeps_them_from_an_ordinary_update():
    made = packages.rpm_files("kubernetes", "https://x/rpm/", "KEY", ["kubelet", "kubeadm"], "/etc/yum.repos.d")
    text = made["/etc/yum.repos.d/kubernetes.repo"]
    assert "exclude=kubelet kubeadm\n" in text
    assert "gpgcheck=1\nrepo_gpgcheck=1\ngpgkey=file:///etc/pki/rpm-gpg/kubernetes.asc\n" in text
    (command,) = packages.rpm_install("dnf", "kubernetes", {"kubelet": "1.37.2"})
    assert command[-1] == "kubelet-1.37.2"
    assert "--disableexcludes=kubernetes" in command


def test_zypper_locks_them():
    unlock, install, lock = packages.rpm_install("zypper", "kubernetes", {"kubelet": "1.37.2"})
    assert (unlock[-2:], lock[-2:]) == (["removelock", "kubelet"], ["addlock", "kubelet"])
    assert install[-1] == "kubelet=1.37.2"


def test_what_differs_is_told():
    listing = "kubelet hi  1.37.2-1.1\nkubeadm ii  1.37.2-1.1\nkubectl rc  1.36.0-1.1\ncri-tools ii  1.36.0-1.1\n"
    present = packages.dpkg_rows(listing)
    assert present["kubelet"] == ("hold", "1.37.2-1.1")
    assert "kubectl" not in present
    wanted = {"kubelet": "1.37.2", "kubeadm": "1.37.2", "kubectl": "1.37.2", "cri-tools": "1.37.0"}
    told = ["kubeadm is to be held", "kubectl absent → 1.37.2", "cri-tools 1.36.0-1.1 → 1.37.0"]
    assert packages.changes(present, wanted) == told


def test_rpm_tells_what_is_installed():
    assert packages.rpm_rows("kubelet 1.37.2\npackage kubeadm is not installed\n") == {"kubelet": "1.37.2"}


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("-----BEGIN PGP PUBLIC KEY BLOCK-----\n…", ""),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\n…", "is a private key"),
        ("<html>", "is no armoured OpenPGP public key"),
    ],
)
def test_what_is_no_key_is_refused(key, problem):
    assert packages.key_problem(key) == problem
