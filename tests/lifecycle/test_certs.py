"""`certs` tells what ends and what is not in use; `certs renew` puts new ones to use."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from lifecycle.lab import made

PKI = "/etc/kubernetes/pki"
SERVER = f"{PKI}/apiserver.crt"
SIGNED = "/var/lib/kubelet/pki/kubelet-server-current.pem"
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
        SIGNED: "kubelet",
    },
    "w1": {"/var/lib/kubelet/pki/kubelet-client-current.pem": "kubelet", SIGNED: "kubelet"},
}


#: A year, as where the cluster is no lab; kubelets whose certificates the CA signs; a timer that we start ourselves.
MORE = """\
certificates: {days: 365, renewal: yearly, renewal_days: 30}
features: {signed_kubelet_certificates: true}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    for lab in made(tmp_path_factory.mktemp("certs"), "lifecycle-certs"):
        lab.file.write_text(lab.file.read_text() + MORE)
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
    # The kubelet renews those itself.
    own = [key for key in own if not key[1].endswith(("kubelet.conf", "kubelet-server-current.pem"))]
    assert [key for key in own if after[key]["serial"] == before[key]["serial"]] == []
    assert (lab.state / "kubeconfig").read_text() != old
    lab.must("kubectl", "get", "nodes")
    lab.must("verify", "--wait")


FORGED = """
cd $(mktemp -d)
openssl ecparam -name prime256v1 -genkey -noout -out key
openssl req -new -key key -subj "/O=system:nodes/CN=system:node:w1" -addext "subjectAltName=IP:{address}" -out csr
cat >request <<END
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {{name: {name}}}
spec:
  signerName: kubernetes.io/kubelet-serving
  usages: [digital signature, server auth]
  request: $(base64 -w0 csr)
END
kubectl --kubeconfig /etc/kubernetes/kubelet.conf create -f request
"""


def test_a_kubelet_gets_its_own_addresses_signed_and_no_others(lab):
    """With the credentials of w1's kubelet its own address is asked for, then the control plane's."""
    for name, node, verdict in (("own", "w1", "Approved"), ("forged", "cp1", "Denied")):
        address = lab.on("cp1", f"getent hosts {node}").split()[0]
        lab.on("w1", FORGED.format(name=name, address=address))
        ask = (
            f"kubectl --kubeconfig /etc/kubernetes/admin.conf wait csr/{name} --for=condition={verdict} --timeout=150s"
        )
        lab.on("cp1", ask)
    lab.must("kubectl", "-n", "kube-system", "logs", "ds/kube-proxy", "--tail=1")


def test_the_timer_renews_what_ends_soon(lab):
    texts = [lab.on("cp1", f"cat {PKI}/{name}") for name in ("apiserver.crt", "ca.crt", "ca.key")]
    old = named(lab.json("certs")[1])["cp1", SERVER]["serial"]
    lab.on("cp1", f"cat >{SERVER} <<'END'\n{an_hour(*texts)}END\n")
    lab.on("cp1", "systemctl start kubesmith-renewal.service; journalctl -u kubesmith-renewal -n 3 -o cat")
    code, answer = lab.json("certs")
    row = named(answer)["cp1", SERVER]
    assert (code, row["current"], row["days"] > 300) == (0, True, True), answer
    assert row["serial"] != old


def roots(lab, node):
    return lab.on(node, f"grep -c BEGIN {PKI}/ca.crt").strip()


def test_new_authorities_in_stages_and_back(lab):
    before = lab.on("cp1", f"cat {PKI}/ca.crt")
    lab.must("certs", "rotate", "--to", "issue")
    assert (roots(lab, "cp1"), roots(lab, "w1")) == ("2", "2")
    assert lab.on("cp1", f"cat {PKI}/ca.crt") != before
    lab.must("kubectl", "get", "nodes")
    lab.must("certs", "rotate", "--rollback")
    assert lab.on("cp1", f"cat {PKI}/ca.crt") == lab.on("w1", f"cat {PKI}/ca.crt") == before
    assert lab.json("certs")[0] == 0
    assert lab.run("certs", "rotate", "--rollback").returncode == 2
    lab.must("certs", "rotate")
    after = lab.on("cp1", f"cat {PKI}/ca.crt")
    assert after != before
    assert (roots(lab, "cp1"), lab.on("w1", f"cat {PKI}/ca.crt")) == ("1", after)
    assert lab.json("certs")[0] == 0
    lab.must("verify", "--wait")
