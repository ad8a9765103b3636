"""The certificates with which scheduler, controllers and ``up --controllers`` know one another."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kubesmith import paths
from kubesmith.errors import InputError

CA, CERTIFICATE, KEY = "ca.pem", "cert.pem", "key.pem"
FILES = (CA, CERTIFICATE, KEY)
DAYS = 365


def make(folder: Path) -> None:
    """Write a CA, a certificate of its and the certificate's key into ``folder``; InputError where there are some.

    The CA's own key is forgotten: it signs this one certificate, so that who has its key, and nobody else, is trusted.
    """
    there = [name for name in FILES if (folder / name).exists()]
    if there:
        raise InputError(f"{folder} holds {', '.join(there)} already", fix="name another folder, or remove that one")
    paths.make_private(folder)
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _which in range(2))
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubesmith controllers")])
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubesmith controller")])
    ca = _builder(issuer, issuer, ca_key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    own = _builder(subject, issuer, key).add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    _write(folder / CA, ca.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    _write(folder / CERTIFICATE, own.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    _write(folder / KEY, key.private_bytes(*form))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
    )


def _write(file: Path, content: bytes) -> None:
    file.touch(mode=0o600)
    file.write_bytes(content)


def require(folder: Path) -> Path:
    """Return ``folder`` if it holds all three files; InputError says how they are made."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"{folder} has no {', '.join(missing)}: controllers speak TLS only",
            fix=f"python3 runner.py controllers certificates --tls {folder}, then the same files on every controller",
        )
    return folder
