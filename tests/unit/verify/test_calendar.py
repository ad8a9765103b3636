"""When certificates end: from the nodes' files to rows, and to the page."""

from __future__ import annotations

import base64
import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from kubesmith import html, kube
from kubesmith.verify import calendar
from kubesmith.verify.remote import facts


def certificate(name: str, days: float, *, authority: bool = False) -> str:
    """Return a self-signed certificate that ends in so many days, with its key behind it, as the kubelet keeps it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=400))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(authority, None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM).decode() + secret.decode()


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node's root folder, where the script looks instead of /."""

    def found(*patterns: str) -> list[str]:
        return sorted(str(path) for pattern in patterns for path in tmp_path.glob(pattern.lstrip("/")))

    monkeypatch.setattr(facts, "found", found)
    return tmp_path


def put(root: Path, path: str, text: str) -> str:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return str(file)


def test_every_certificate_of_a_node_has_a_row(node: Path) -> None:
    put(node, "etc/kubernetes/pki/etcd/ca.crt", certificate("etcd-ca", 3650.5, authority=True))
    current = put(node, "var/lib/kubelet/pki/kubelet-client-current.pem", certificate("system:node:w1", 364.5))
    put(node, "var/lib/kubelet/pki/kubelet.crt", certificate("w1@1", -1.5))
    inside = base64.b64encode(certificate("kubernetes-admin", 20.5).encode()).decode()
    put(node, "etc/kubernetes/admin.conf", f"users:\n- user:\n    client-certificate-data: {inside}\n")
    put(node, "etc/kubernetes/kubelet.conf", f"users:\n- user:\n    client-certificate: {current}\n")
    put(node, "etc/kubernetes/bootstrap-kubelet.conf", "users:\n- user: {token: abc}\n")
    found = facts.every_certificate()
    rows = calendar.rows({"w1": found})
    assert [(Path(row["path"]).name, row["kind"], row["subject"], row["days"]) for row in rows] == [
        ("kubelet.crt", "certificate", "w1@1", -2),
        ("admin.conf", "kubeconfig", "kubernetes-admin", 20),
        ("kubelet-client-current.pem", "certificate", "system:node:w1", 364),
        ("kubelet.conf", "kubeconfig", "system:node:w1", 364),
        ("ca.crt", "CA", "etcd-ca", 3650),
    ]


def test_what_is_no_certificate_has_no_row() -> None:
    assert calendar.rows({"w1": {"/x.crt": "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"}}) == []
    assert calendar.rows({"w1": {}, "w2": {"/y.crt": ""}}) == []


def test_our_own_kubeconfig_is_read(tmp_path: Path) -> None:
    inside = base64.b64encode(certificate("kubernetes-admin", 9.5).encode()).decode()
    file = tmp_path / "kubeconfig"
    file.write_text(f"users:\n- name: a\n  user: {{client-certificate-data: {inside}}}\n")
    rows = calendar.rows({"this machine": {str(file): kube.client_certificate(file)}})
    assert [(row["kind"], row["days"]) for row in rows] == [("kubeconfig", 9)]


@pytest.mark.parametrize("text", ["", "{", "[]", "users: []", "users: [{user: {client-certificate-data: '%'}}]"])
def test_a_kubeconfig_without_certificate_has_none(text: str, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(text)
    assert kube.client_certificate(file) == ""
    assert kube.client_certificate(tmp_path / "absent") == ""


def test_the_page_shows_what_ends_soon() -> None:
    rows = calendar.rows({"w1": {"/etc/a.crt": certificate("a", 20.5), "/etc/b.crt": certificate("b", 300.5)}})
    report: dict[str, Any] = {"cluster": "lab", "nodes": [], "phases": [], "seconds": 0, "components": []}
    page = html.render(report | {"certificates": rows, "bundle": "", "failure": {}}, [], when="now")
    assert '<td class="num bad">20</td>' in page
    assert '<td class="num ">300</td>' in page
