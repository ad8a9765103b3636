# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""The pin of a CA, by which a joining node knows its cluster: sha256 of the certificate's public key. Pure."""

from __future__ import annotations

import hashlib
import ssl

SEQUENCE = 0x30
VERSION = 0xA0
FIELDS_BEFORE_KEY = 5  # serial number, signature algorithm, issuer, validity, subject


def pin(pem: str) -> str:
    """Return ``sha256:…`` of the first certificate in ``pem``, as ``kubeadm join`` wants it.

    A node has no X.509 parser in Python's own library, but the public key is a fixed place in the DER encoding
    (RFC 5280, 4.1): after the optional version and five further fields. Raises ValueError for what is no certificate.
    """
    end = "-----END CERTIFICATE-----"
    first = pem[pem.index("-----BEGIN CERTIFICATE-----") : pem.index(end) + len(end)]
    der = ssl.PEM_cert_to_DER_cert(first)
    fields = _inside(der, _inside(der, 0))
    if der[fields] == VERSION:
        fields = _after(der, fields)
    for _field in range(FIELDS_BEFORE_KEY):
        fields = _after(der, fields)
    if der[fields] != SEQUENCE:
        raise ValueError("no public key where a certificate has it")
    return "sha256:" + hashlib.sha256(der[fields : _after(der, fields)]).hexdigest()


def _element(der: bytes, at: int) -> tuple[int, int]:
    """Return where the content of the element at ``at`` begins and how long it is."""
    length = der[at + 1]
    if length < 0x80:
        return at + 2, length
    size = length & 0x7F
    return at + 2 + size, int.from_bytes(der[at + 2 : at + 2 + size], "big")


def _inside(der: bytes, at: int) -> int:
    if der[at] != SEQUENCE:
        raise ValueError("this is no certificate")
    return _element(der, at)[0]


def _after(der: bytes, at: int) -> int:
    return sum(_element(der, at))
