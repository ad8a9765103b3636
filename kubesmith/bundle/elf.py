"""Which shared libraries a program wants: enough of the ELF format to find one that is missing from an image."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from kubesmith.bundle.layers import Entry

MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little endian: amd64 and arm64
PT_LOAD, PT_DYNAMIC = 1, 2
DT_NEEDED, DT_STRTAB = 1, 5


def needed(content: bytes) -> list[str]:
    """Return the names of the libraries that an ELF file is linked to; none for any other file."""
    if not content.startswith(MAGIC):
        return []
    segments = _segments(content)
    dynamic = next((segment for segment in segments if segment[0] == PT_DYNAMIC), None)
    if dynamic is None:
        return []
    entries = list(struct.iter_unpack("<QQ", content[dynamic[1] : dynamic[1] + dynamic[3] // 16 * 16]))
    address = next(value for tag, value in entries if tag == DT_STRTAB)
    strings = _offset(address, segments)
    return [_string(content, strings + value) for tag, value in entries if tag == DT_NEEDED]


def _segments(content: bytes) -> list[tuple[int, int, int, int]]:
    """Return type, file offset, address and file size of each program header."""
    (start,) = struct.unpack_from("<Q", content, 32)
    size, count = struct.unpack_from("<HH", content, 54)
    headers = (struct.unpack_from("<IIQQQQ", content, start + size * number) for number in range(count))
    return [(kind, offset, address, length) for kind, _, offset, address, _, length in headers]


def _offset(address: int, segments: Iterable[tuple[int, int, int, int]]) -> int:
    for kind, offset, start, size in segments:
        if kind == PT_LOAD and start <= address < start + size:
            return address - start + offset
    raise ValueError(f"address {address:#x} is in no segment of the file")


def _string(content: bytes, offset: int) -> str:
    return content[offset : content.index(b"\0", offset)].decode()


def missing_libraries(own: Iterable[Entry], present: Iterable[str]) -> list[str]:
    """Return "PATH needs LIBRARY" for each library that a file of ``own`` wants and no path of ``present`` is named."""
    names = {path.rpartition("/")[2] for path in present}
    return [
        f"{entry.path} needs {library}" for entry in own for library in needed(entry.content) if library not in names
    ]
