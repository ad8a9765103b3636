# Copyright: kubesmith maintainers
# Apache License 2.0 (see LICENSE or https://www.apache.org/licenses/LICENSE-2.0)
"""Taking secrets out of text: by value, in the forms that a value is written in, and by what looks like one. Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from urllib.parse import quote

PLACE = "<redacted>"
SHORTEST = 8  # characters; a shorter value is a word that stands in other places too
LONGEST = 20000  # characters of a line; the rest is cut off
LINE = 16  # characters; a line of a secret of several lines

# A name that says that its value is private, in any notation: password=x, "token": "x", --password x, API_KEY: x.
_NAME = r"(?:pass(?:word|wd|phrase)?|pwd|secret|token|credentials?|(?:api|access|private|secret|encryption)[-_]?key)"
# Every repetition in front of something else is bounded: the texts are megabytes of other people's logs.
_PATTERNS = [
    (
        r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY-----[^\n]{0,16000}?-----END [A-Z0-9 ]{0,30}PRIVATE KEY-----",
        PLACE,
    ),  # one line
    (r"(client-key-data\\?[\"']?[:=]\s{0,3}\\?[\"']?)[A-Za-z0-9+/=]{16,}", r"\1" + PLACE),
    (r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}", PLACE),  # a service account's token, any JWT
    (r"\b((?:Bearer|Basic)\s{1,3})[A-Za-z0-9+/=._~-]{8,}", r"\1" + PLACE),
    (r"(\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@\"']{0,80}:)[^\s/@\"']{1,200}@", r"\1" + PLACE + "@"),
    (r"(" + _NAME + r"\w{0,40}\\?[\"']?\s{0,3}[=:]\s{0,3}\\?)\"(?:[^\"\\\n]|\\[^\"\n]){4,}\\?\"", r'\1"' + PLACE + '"'),
    (r"(" + _NAME + r"\w{0,40}[\"']?\s{0,3}[=:]\s{0,3})'[^'\n]{4,}'", r"\1'" + PLACE + "'"),
    (r"(" + _NAME + r"(?:_\w{0,40})?=)(?![\"'<])[^\s\"',;&]{4,}", r"\1" + PLACE),
    (r"(--[\w-]{0,40}" + _NAME + r"[ \t]{1,3})(?![-<])[^\s\"']{8,}", r"\1" + PLACE),
    (r"(" + _NAME + r":[ \t]{1,8})(?![\"'<|>{\[])\S{6,}[ \t]*$", r"\1" + PLACE),
    (r"(\"auth\\?\":\s{0,3}\\?\")[A-Za-z0-9+/=]{8,}", r"\1" + PLACE),  # a registry's login as docker writes it
]
PATTERNS = [(re.compile(pattern, re.IGNORECASE), place) for pattern, place in _PATTERNS]
# A line without any of these words matches no pattern; looking for words is a hundred times faster.
HINTS = ("pass", "pwd", "secret", "token", "credential", "key", "bearer", "basic", "eyj", "@", '"auth')
TOKEN = re.compile(r"(?<=\b[a-z0-9]{6})\.[a-z0-9]{16}\b")  # the private part of a bootstrap token of kubeadm
KEY = re.compile(r"-----(?:BEGIN|END) [A-Z0-9 ]{0,30}PRIVATE KEY")
ONE_LINE = PATTERNS[0][0]
BODY = re.compile(
    r"(?:^|[\s\"|>])(?:[A-Za-z0-9+/]{16,}={0,2}|[A-Za-z0-9+/]{1,15}={1,2}|Proc-Type:.*|DEK-Info:.*)[\"\s]*$"
)


class Redactor:
    """Takes the given values, and what looks like a secret, out of texts."""

    def __init__(self, values: Iterable[str]) -> None:
        found = {form for value in values for form in forms(value)}
        self.values = sorted(found, key=lambda form: (-len(form), form))

    def clean(self, text: str) -> str:
        """Return ``text`` without secrets."""
        for value in self.values:
            if value in text:
                text = text.replace(value, PLACE)
        if KEY.search(text):
            text = without_keys(text)
        return TOKEN.sub("." + PLACE, "\n".join(map(without_named, text.split("\n"))))


def without_named(line: str) -> str:
    """Return a line without what stands behind a name or a word that says that it is private."""
    if len(line) > LONGEST:
        line = line[:LONGEST] + "…"
    small = line.lower()
    if any(hint in small for hint in HINTS):
        for pattern, place in PATTERNS:
            line = pattern.sub(place, line)
    return line


def without_keys(text: str) -> str:
    """Return ``text`` without private keys of several lines, also where a log cut off their begin or their end.

    Each line may carry a log's time and stream in front: its last word is looked at.
    """
    lines = text.split("\n")
    for index, line in enumerate(lines):
        if not KEY.search(line) or ONE_LINE.search(line):
            continue
        step = 1 if "BEGIN" in line else -1
        other = index + step
        while 0 <= other < len(lines) and BODY.search(lines[other]):
            lines[other] = PLACE
            other += step
        lines[index] = PLACE
    return "\n".join(lines)


def forms(value: str) -> set[str]:
    """Return how a secret value may be written down: itself, its lines, escaped, as base64; nothing if it is public."""
    value = value.strip()
    if len(value) < SHORTEST or is_public(value):
        return set()
    found = {value, json.dumps(value)[1:-1], quote(value, safe="")}
    lines = [line.strip() for line in value.splitlines()]
    if len(lines) > 1:
        lines = [line for line in lines if len(line) >= LINE and not line.startswith("-----")]
        found |= {*lines, "".join(lines)}
    found |= encoded(value.encode())
    return {form for form in found if len(form) >= SHORTEST}


def encoded(raw: bytes) -> set[str]:
    """Return the base64 of ``raw`` wherever it stands in a longer encoded text: at three alignments, without ends."""
    found = set()
    for before in range(3):
        core = base64.b64encode(bytes(before) + raw).decode().rstrip("=")
        core = core[(0, 2, 3)[before] :]
        end = (len(raw) + before) % 3
        core = core[:-1] if end else core  # the last character of an odd end depends on what follows
        found |= {core, core.replace("+", "-").replace("/", "_")}
    return found


def is_public(value: str) -> bool:
    """Tell whether a value is known to everybody although it lies among secrets."""
    if value.startswith(("-----BEGIN CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----", "ssh-")):
        return True
    return value.startswith("/") and "\n" not in value  # the path of a file that holds the secret


def pem_values(text: str) -> list[str]:
    """Return the private keys of a PEM text, which may hold certificates too."""
    return re.findall(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?-----END [A-Z0-9 ]*PRIVATE KEY-----", text, re.DOTALL)


def named_values(text: str) -> list[str]:
    """Return the values of settings whose names say that they are private, in YAML, TOML, JSON and NAME=VALUE."""
    quoted = _NAME + r"[\w-]{0,40}[\"']?\s*[=:]\s*(?:\"([^\"\n]*)\"|'([^'\n]*)')"
    found = [a or b for a, b in re.findall(quoted, text, re.IGNORECASE)]
    found += re.findall(_NAME + r"\w{0,40}=([^\s\"']+)", text, re.IGNORECASE)
    plain = r"^[\s-]{0,40}[\w.-]{0,40}?" + _NAME + r"\w{0,40}:\s+([^\s\"'|>{\[]+)\s*$"
    found += re.findall(plain, text, re.IGNORECASE | re.MULTILINE)
    return [value for value in found if value not in ("true", "false", "null")]


def basic_values(text: str) -> list[str]:
    """Return what a registry's login holds: each ``auth`` or Authorization, and the password inside."""
    pattern = r"(?:\"auth\"\s*:\s*\"|Basic\s+|\bauth\s*=\s*[\"'])([A-Za-z0-9+/=_-]{8,})"
    found = []
    for value in re.findall(pattern, text):
        found.append(value)
        try:
            plain = base64.b64decode(value + "=" * (-len(value) % 4)).decode()
        except (ValueError, UnicodeDecodeError):
            continue
        found.append(plain.partition(":")[2])
    found += re.findall(r"(?:Bearer\s+|identitytoken\"?\s*[:=]\s*\")([A-Za-z0-9._~+/=-]{8,})", text)
    return found
