"""Signatures of releases: Sigstore's certificates, by pinned authorities and identities, and OpenPGP by pinned keys."""

from __future__ import annotations

import base64
import binascii
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID

from kubesmith.bundle.fetch import UntrustedError

#: Where Fulcio notes who vouched for the identity: as plain text, and since 2023 as a DER string.
ISSUER_V1 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
ISSUER_V2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
FIX = "Do not use it. If a mirror of yours is the source, see what it serves; else try again later."


@dataclass(frozen=True)
class Signer:
    """Who must have signed: the e-mail address (or URI) in the certificate, and who vouched for it."""

    identity: str
    issuer: str


def authorities(pem: bytes) -> list[x509.Certificate]:
    """Return the certificates of the authorities that may vouch for a signer."""
    return x509.load_pem_x509_certificates(pem)


@dataclass(frozen=True)
class Signed:
    """What a signer leaves beside a file: a signature in base64, and the certificate of the key that made it."""

    signature: bytes
    certificate: bytes


def sigstore(what: str, digest: str, signed: Signed, signer: Signer, trusted: Sequence[x509.Certificate]) -> None:
    """Check that ``signer`` signed the bytes with sha256 ``digest``; UntrustedError says what is wrong.

    The certificate lives for minutes, and is judged by the time at which it was given out. Neither the transparency log
    nor a time stamp is asked: a signer's key that was stolen during those minutes would not be noticed.
    """
    leaf = _certificate(what, signed.certificate)
    _chain(what, leaf, trusted)
    found = _identities(leaf)
    if signer.identity not in found:
        raise UntrustedError(
            f"{what} was signed by {', '.join(found) or 'nobody with a name'}, must be {signer.identity}", fix=FIX
        )
    if _issuer(leaf) != signer.issuer:
        raise UntrustedError(
            f"{what}: {_issuer(leaf) or 'nobody'} vouched for its signer, must be {signer.issuer}", fix=FIX
        )
    key = leaf.public_key()
    try:
        raw = base64.b64decode(signed.signature)
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise UntrustedError(f"{what}: its signer's key is no key of an elliptic curve", fix=FIX)
        key.verify(raw, bytes.fromhex(digest), ec.ECDSA(Prehashed(SHA256())))
    except (InvalidSignature, binascii.Error) as error:
        raise UntrustedError(f"{what}: the signature does not fit it", fix=FIX) from error


def _certificate(what: str, text: bytes) -> x509.Certificate:
    """Read a certificate in PEM, or in PEM that is in base64 again, as cosign writes it."""
    try:
        pem = text if text.lstrip().startswith(b"-----") else base64.b64decode(text)
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise UntrustedError(f"{what}: the certificate of its signature cannot be read", fix=FIX) from error


def _chain(what: str, leaf: x509.Certificate, trusted: Sequence[x509.Certificate]) -> None:
    """Walk from ``leaf`` up to a trusted certificate that signed itself, all of them valid when the leaf was made."""
    at = leaf.not_valid_before_utc
    if not _for_code(leaf):
        raise UntrustedError(f"{what}: the certificate of its signature is not one for signing code", fix=FIX)
    current = leaf
    for _ in range(len(trusted) + 1):
        above = [
            ca for ca in trusted if _issued(current, ca) and ca.not_valid_before_utc <= at <= ca.not_valid_after_utc
        ]
        if not above:
            break
        current = above[0]
        if current.issuer == current.subject:
            return
    raise UntrustedError(f"{what}: no pinned authority vouches for the certificate of its signature", fix=FIX)


def _issued(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
        return ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False


def _for_code(leaf: x509.Certificate) -> bool:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.CODE_SIGNING in usage


def _identities(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    kinds = (x509.RFC822Name, x509.UniformResourceIdentifier)
    return [str(name.value) for name in names if isinstance(name, kinds)]


def _issuer(leaf: x509.Certificate) -> str:
    for oid, skipped in ((ISSUER_V2, 2), (ISSUER_V1, 0)):
        try:
            value = leaf.extensions.get_extension_for_oid(oid).value
        except x509.ExtensionNotFound:
            continue
        if isinstance(value, x509.UnrecognizedExtension):
            return value.value[skipped:].decode(errors="replace")
    return ""


def openpgp(what: str, file: Path, signature: bytes, keyring: Path) -> None:
    """Check the detached signature of ``file`` by a key in ``keyring`` (armoured); UntrustedError if not."""
    with tempfile.TemporaryDirectory() as folder:
        keys, signed = Path(folder) / "keys.gpg", Path(folder) / "signature.asc"
        keys.write_bytes(b"".join(dearmoured(keyring.read_text())))
        signed.write_bytes(signature)
        command = ["gpgv", "--homedir", folder, "--keyring", str(keys), str(signed), str(file)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        except FileNotFoundError as error:
            raise UntrustedError(
                f"{what}: gpgv is missing, so its signature cannot be checked", fix="sudo apt-get install -y gpgv"
            ) from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1].removeprefix("gpgv: ")
        raise UntrustedError(f"{what}: its signature is not one of the pinned keys in {keyring.name}: {last}", fix=FIX)


def dearmoured(text: str) -> list[bytes]:
    """Return the binary keys of a text with armoured ones, whatever stands between them."""
    found, lines, inside = [], [""], False
    for line in text.splitlines():
        if line.startswith("-----BEGIN PGP PUBLIC KEY BLOCK"):
            lines, inside = [], True
        elif line.startswith("-----END PGP PUBLIC KEY BLOCK"):
            found.append(base64.b64decode("".join(lines)))
            inside = False
        elif inside and line and ":" not in line and not line.startswith("="):
            lines.append(line.strip())
    return found
