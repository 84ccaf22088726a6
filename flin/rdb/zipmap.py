"""The zipmap: a small hash, as Redis wrote it before 2.6 and still reads it.

    count    u8    of fields; 254 and 255: not known
    then for each field
      length of the field, the field
      length of the value, free u8, the value, as many unused bytes as `free` says
    end      FF

A length is one byte to 253, or FE and a u32, little-endian.
"""

from __future__ import annotations

from typing import Final

from flin.errors import PayloadError
from flin.rdb.listpack import bounded

_END: Final = 255
_BIG: Final = 254


def decode(data: bytes, most_strings: int) -> list[bytes]:
    """Fields and values in turn. Raises PayloadError; LimitError as soon as there are more strings."""
    found: list[bytes] = []
    append = bounded(found, most_strings)
    at, end = 1, len(data) - 1
    if end < 1 or data[end] != _END:
        raise PayloadError("zipmap", max(0, end), "it has no end")
    try:
        while at < end:
            start, at = _text(data, at)
            append(data[start:at])
            start, size = _length(data, at)
            free = data[start]
            at = start + 1 + size
            append(data[start + 1 : at])
            at += free
    except IndexError:
        at = len(data)
    if at != end:
        raise PayloadError("zipmap", at, "a field or value reaches beyond the end")
    if data[0] < _BIG and data[0] * 2 != len(found):
        raise PayloadError("zipmap", 0, f"{data[0]} fields claimed, {len(found) // 2} found")
    return found


def _text(data: bytes, at: int) -> tuple[int, int]:
    """The start and the end of the field whose length is at `at`."""
    start, size = _length(data, at)
    return start, start + size


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Where the text begins, and its length."""
    first = data[at]
    if first < _BIG:
        return at + 1, first
    if first == _END:
        raise PayloadError("zipmap", at, "it ends before the end")
    data[at + 4]  # raises IndexError if the length itself is cut off
    return at + 5, int.from_bytes(data[at + 1 : at + 5], "little")
