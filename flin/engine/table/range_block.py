"""The range block: the range deletes of a table, older than every point in it.

Layout (little-endian):

    count         u32
    ranges        of each: start size u32, stop size u32, start, stop
    checksum      u32, zlib.crc32 over all before it
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from flin.engine.checksum import crc32
from flin.engine.entry import Range
from flin.errors import CorruptionError

_SIZES: Final = struct.Struct("<II")


def encode(ranges: Sequence[Range]) -> bytes:
    parts = [struct.pack("<I", len(ranges))]
    for start, stop in ranges:
        parts += (_SIZES.pack(len(start), len(stop)), start, stop)
    data = b"".join(parts)
    return data + struct.pack("<I", crc32(data))


def decode(data: bytes, path: str, offset: int) -> tuple[Range, ...]:
    """The range deletes. Raises CorruptionError at `offset` of the file."""
    size = len(data) - 4
    if size < 4 or crc32(data[:size]) != int.from_bytes(data[size:], "little"):
        raise CorruptionError(path, offset, "the checksum of a range block is wrong")
    ranges = []
    at = 4
    for _ in range(int.from_bytes(data[:4], "little")):
        if at + _SIZES.size > size:
            raise CorruptionError(path, offset, "a range block ends early")
        start_size, stop_size = _SIZES.unpack_from(data, at)
        at += _SIZES.size + start_size + stop_size
        start, stop = data[at - start_size - stop_size : at - stop_size], data[at - stop_size : at]
        if at > size or start >= stop:
            raise CorruptionError(path, offset, "a range block holds no valid range")
        ranges.append((start, stop))
    if at != size:
        raise CorruptionError(path, offset, "a range block does not have the size that its header says")
    return tuple(ranges)


def find(data: bytes, count: int) -> tuple[Range, ...] | None:
    """The ranges of the block with `count` of them (at least one), wherever it lies in a section whose footer is
    lost."""
    head = struct.pack("<I", count)
    at = data.find(head)
    while at >= 0:
        end = at + 4
        for _ in range(count):
            if end + _SIZES.size > len(data):
                break
            end += _SIZES.size + sum(_SIZES.unpack_from(data, end))
        else:
            try:
                return decode(data[at : end + 4], "", at)
            except CorruptionError:
                pass
        at = data.find(head, at + 1)
    return None
