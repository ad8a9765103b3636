"""`certs` tells what ends and what is not in use; `certs renew` puts new ones to use."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from lifecycle.lab import made

PKI = "/etc/kubernetes/pki"
SERVER = f"{PKI}/apiserver.crt"
#: What each node must tell of, and the program that works with it.
WANTED = {
    "cp1": {
        f"{PKI}/ca.crt": "",
        f"{PKI}/etcd/ca.crt": "",
        f"{PKI}/front-proxy-ca.crt": "",
        SERVER: "kube-apiserver",
        f"{PKI}/apiserver-etcd-client.crt": "kube-apiserver",
        f"{PKI}/front-proxy-client.crt": "kube-apiserver",
        f"{PKI}/etcd/server.crt": "etcd",
        f"{PKI}/etcd/peer.crt": "etcd",
        "/etc/kubernetes/admin.conf": "",
        "/etc/kubernetes/scheduler.conf": "kube-scheduler",
        "/etc/kubernetes/controller-manager.conf": "kube-controller-manager",
        "/var/lib/kubelet/pki/kubelet.crt": "kubelet",
    },
    "w1": {"/var/lib/kubelet/pki/kubelet-client-current.pem": "kubelet", "/var/lib/kubelet/pki/kubelet.crt": "kubelet"},
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    for lab in made(tmp_path_factory.mktemp("certs"), "lifecycle-certs"):
        lab.must("up", "--only", "converge")
        yield lab


def an_hour(old, authority, key):
    """Return the certificate ``old`` as PEM, signed anew by the CA so that it ends in an hour."""
    ca = x509.load_pem_x509_certificate(authority.encode())
    seen = x509.load_pem_x509_certificate(old.encode())
    private = serialization.load_pem_private_key(key.encode(), None)
    new = x509.CertificateBuilder(issuer_name=ca.subject, subject_name=seen.subject, public_key=seen.public_key())
    new = new.serial_number(x509.random_serial_number()).not_valid_before(seen.not_valid_before_utc)
    new = new.not_valid_after(datetime.now(UTC) + timedelta(hours=1))
    for extension in seen.extensions:
        new = new.add_extension(extension.value, extension.critical)
    return new.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def named(answer):
    return {(row["node"], row["path"]): row for row in answer["certificates"]}


def test_every_certificate_is_told_with_its_program(lab):
    code, answer = lab.json("certs")
    rows = named(answer)
    assert code == 0, answer
    for node, wanted in WANTED.items():
        assert {path: rows[node, path]["process"] for path in wanted} == wanted
    assert rows["this machine", str(lab.state / "kubeconfig")]["kind"] == "kubeconfig"
    assert all(row["current"] for row in rows.values() if row["process"])
    assert rows["cp1", SERVER]["served_serial"] == rows["cp1", SERVER]["serial"]


def test_the_bound_decides(lab):
    assert lab.json("certs", "--within", "300")[0] == 0
    assert lab.json("certs", "--within", "400")[0] == 1


def test_one_that_ends_in_an_hour_is_named_and_renewed(lab):
    texts = [lab.on("cp1", f"cat {PKI}/{name}") for name in ("apiserver.crt", "ca.crt", "ca.key")]
    lab.on("cp1", f"cat >{SERVER} <<'END'\n{an_hour(*texts)}END\n")
    done = lab.run("certs")
    assert done.returncode == 1
    assert f"cp1: {SERVER}: " in done.stdout, done.stdout

    before = named(lab.json("certs")[1])
    old = (lab.state / "kubeconfig").read_text()
    lab.must("certs", "renew", "--check")
    assert named(lab.json("certs")[1])["cp1", SERVER]["serial"] == before["cp1", SERVER]["serial"]
    lab.must("certs", "renew")
    code, answer = lab.json("certs", "--within", "300")
    after = named(answer)
    assert code == 0, answer
    own = [key for key, row in before.items() if row["kind"] != "CA" and "kubelet-client" not in key[1]]
    own = [key for key in own if not key[1].endswith("kubelet.conf")]  # the kubelet renews that one itself
    assert [key for key in own if after[key]["serial"] == before[key]["serial"]] == []
    assert (lab.state / "kubeconfig").read_text() != old
    lab.must("kubectl", "get", "nodes")
    lab.must("verify", "--wait")
