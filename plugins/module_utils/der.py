# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""What of a certificate, or of a request for one, a node must read by itself: Python's own library has no X.509.

Only DER is read, and whatever is not exactly as RFC 5280 and RFC 2986 have it is an error: who asks then refuses.
"""

from __future__ import annotations

import base64
import calendar
import ipaddress
import re
import time
from collections.abc import Iterator

BODY = re.compile(r"-----BEGIN ([A-Z ]+)-----(.*?)-----END \1-----", re.DOTALL)
SEQUENCE, SET, INTEGER, OID, OCTETS, BOOLEAN = 0x30, 0x31, 0x02, 0x06, 0x04, 0x01
STRINGS = (0x0C, 0x13, 0x16)  # UTF8String, PrintableString, IA5String
UTC_TIME, GENERAL_TIME = 0x17, 0x18
COMMON_NAME, ORGANIZATION = bytes.fromhex("550403"), bytes.fromhex("55040a")
EXTENSION_REQUEST, ALT_NAME = bytes.fromhex("2a864886f70d01090e"), bytes.fromhex("551d11")
DNS, ADDRESS = 0x82, 0x87


class DerError(ValueError):
    """What was given is not what it should be."""


class Request:
    """What a certificate request asks for: subject as [(OID, text)], DNS names and addresses of its subject."""

    def __init__(self, subject: list[tuple[bytes, str]], dns: list[str], addresses: list[str]) -> None:
        self.subject = subject
        self.dns = dns
        self.addresses = addresses


def body(pem: str, kind: str) -> bytes:
    """Return the DER of the first block of a PEM text; DerError if it is none of ``kind``."""
    found = BODY.search(pem)
    if not found or found.group(1) != kind:
        raise DerError(f"it is no {kind}")
    try:
        return base64.b64decode("".join(found.group(2).split()), validate=True)
    except ValueError as error:
        raise DerError(f"its base64 is wrong: {error}") from error


def take(data: bytes, wanted: int | None = None) -> tuple[int, bytes, bytes]:
    """Return (tag, content, what follows) of the first element; DerError if its tag is not ``wanted``."""
    if len(data) < 2:
        raise DerError("it ends too early")
    tag, length, start = data[0], data[1], 2
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4 or len(data) < 2 + count:
            raise DerError("a length is wrong")
        length, start = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
        if length < 0x80 or length >> 8 * (count - 1) == 0:
            raise DerError("a length is not as short as it can be")
    if len(data) < start + length:
        raise DerError("it ends too early")
    if wanted is not None and tag != wanted:
        raise DerError(f"tag {tag:#04x} stands where {wanted:#04x} should")
    return tag, data[start : start + length], data[start + length :]


def items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (tag, content) of the elements one after the other."""
    while data:
        tag, content, data = take(data)
        yield tag, content


def whole(data: bytes, wanted: int) -> bytes:
    """Return the content of the only element; DerError if something follows."""
    _tag, content, rest = take(data, wanted)
    if rest:
        raise DerError("something follows its end")
    return content


def request(pem: str) -> Request:
    """Return what a PEM certificate request asks for."""
    info = take(whole(body(pem, "CERTIFICATE REQUEST"), SEQUENCE), SEQUENCE)[1]
    _version, rest = _after(info, INTEGER)
    name, rest = _after(rest, SEQUENCE)
    _key, rest = _after(rest, SEQUENCE)
    dns: list[str] = []
    addresses: list[str] = []
    for data in _extensions(whole(rest, 0xA0)) if rest else ():
        oid, value = _extension(data)
        if oid == ALT_NAME:
            _alternatives(whole(value, SEQUENCE), dns, addresses)
    return Request(_subject(name), dns, addresses)


def _after(data: bytes, wanted: int) -> tuple[bytes, bytes]:
    _tag, content, rest = take(data, wanted)
    return content, rest


def _subject(name: bytes) -> list[tuple[bytes, str]]:
    found = []
    for tag, group in items(name):
        if tag != SET:
            raise DerError("its subject is not made of sets")
        for inner, pair in items(group):
            if inner != SEQUENCE:
                raise DerError("its subject is not made of pairs")
            oid, value = _after(pair, OID)
            kind, text, rest = take(value)
            if kind not in STRINGS or rest:
                raise DerError("a part of its subject is no text")
            found.append((oid, text.decode("utf-8")))
    return found


def _extensions(attributes: bytes) -> Iterator[bytes]:
    for tag, attribute in items(attributes):
        if tag != SEQUENCE:
            raise DerError("its attributes are not sequences")
        oid, values = _after(attribute, OID)
        if oid == EXTENSION_REQUEST:
            for _tag, extension in items(whole(whole(values, SET), SEQUENCE)):
                yield extension


def _extension(data: bytes) -> tuple[bytes, bytes]:
    oid, rest = _after(data, OID)
    if rest[:1] == bytes([BOOLEAN]):
        rest = take(rest)[2]
    return oid, whole(rest, OCTETS)


def _alternatives(names: bytes, dns: list[str], addresses: list[str]) -> None:
    for tag, value in items(names):
        if tag == DNS:
            dns.append(value.decode("ascii"))
        elif tag == ADDRESS and len(value) in (4, 16):
            addresses.append(str(ipaddress.ip_address(value)))
        else:
            raise DerError(f"it asks for a name of kind {tag:#04x}, which is neither DNS nor an address")


def ends(pem: str) -> float:
    """Return when a PEM certificate ends, in seconds since the epoch."""
    inner = take(whole(body(pem, "CERTIFICATE"), SEQUENCE), SEQUENCE)[1]
    if inner[:1] == b"\xa0":
        inner = take(inner)[2]
    for wanted in (INTEGER, SEQUENCE, SEQUENCE):  # serial number, signature's algorithm, issuer
        inner = take(inner, wanted)[2]
    validity = take(inner, SEQUENCE)[1]
    kind, text, _rest = take(take(validity)[2])
    if kind not in (UTC_TIME, GENERAL_TIME):
        raise DerError("its validity is no time")
    words = text.decode("ascii")
    if kind == UTC_TIME:  # two digits of the year, from 1950 to 2049
        words = ("19" if words[:2] >= "50" else "20") + words
    return float(calendar.timegm(time.strptime(words, "%Y%m%d%H%M%SZ")))
