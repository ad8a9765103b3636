"""What the checks ask of a certificate."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID


def parse(pem: str) -> x509.Certificate:
    """Return the first certificate of a PEM text."""
    return x509.load_pem_x509_certificate(pem.encode())


def days_left(certificate: x509.Certificate) -> int:
    """Return how many whole days the certificate is still valid; negative once it has expired."""
    return (certificate.not_valid_after_utc - datetime.now(UTC)).days


def common_name(certificate: x509.Certificate) -> str:
    """Return the subject's common name."""
    return _first(certificate, NameOID.COMMON_NAME)


def organization(certificate: x509.Certificate) -> str:
    """Return the subject's organisation: the group that the API server sees."""
    return _first(certificate, NameOID.ORGANIZATION_NAME)


def _first(certificate: x509.Certificate, kind: x509.ObjectIdentifier) -> str:
    found = certificate.subject.get_attributes_for_oid(kind)
    return str(found[0].value) if found else ""


def names(certificate: x509.Certificate) -> set[str]:
    """Return the DNS names and addresses that the certificate is for."""
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(address) for address in extension.get_values_for_type(x509.IPAddress)}
    return addresses | set(extension.get_values_for_type(x509.DNSName))


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of the certificate, in hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Tell whether ``authority`` issued and signed the certificate."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def is_authority(certificate: x509.Certificate) -> bool:
    """Tell whether the certificate may sign others."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False
