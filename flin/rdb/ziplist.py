"""The ziplist: Redis wrote it before the listpack took its place, and still reads it.

    size     u32   of the whole ziplist
    tail     u32   offset of the last entry
    count    u16   of its entries; 65535: not known
    then for each entry
      length of the entry before, 0 for the first: one byte to 253, or FE and a u32
      its kind, by the next byte
        00xxxxxx               a string of x bytes, 6 bits
        01xxxxxx  +1           a string's length, 14 bits, big-endian
        10------  u32          a string's length, big-endian
        C0 D0 E0 F0 FE         an integer of 2, 4, 8, 3, 1 bytes with sign
        F1 to FD               0 to 12
    end      FF

Little-endian unless noted.
"""

from __future__ import annotations

import struct
from typing import Final

from flin.errors import PayloadError
from flin.rdb.listpack import bounded

_HEADER: Final = struct.Struct("<IIH")
_END: Final = 0xFF
_UNKNOWN: Final = 0xFFFF
_BIG: Final = 0xFE
_WIDTHS: Final = {0xC0: 2, 0xD0: 4, 0xE0: 8, 0xF0: 3, 0xFE: 1}


def decode(data: bytes, most_entries: int) -> list[bytes]:
    """The entries, integers as their decimal text. Raises PayloadError; LimitError as soon as there are too many."""
    size = len(data)
    if size <= _HEADER.size or data[-1] != _END:
        raise PayloadError("ziplist", 0, "it has no header or no end")
    claimed_size, tail, count = _HEADER.unpack_from(data)
    if claimed_size != size:
        raise PayloadError("ziplist", 0, f"{claimed_size} bytes claimed, there are {size}")
    found: list[bytes] = []
    append = bounded(found, most_entries)
    at, end = _HEADER.size, size - 1
    last, before = at, 0
    try:
        while at < end:
            last = at
            claimed_before = data[at]
            if claimed_before < _BIG:
                at += 1
            elif claimed_before == _END:
                raise PayloadError("ziplist", at, "it ends before the end")
            else:
                claimed_before = int.from_bytes(data[at + 1 : at + 5], "little")
                at += 5
            if claimed_before != before:
                raise PayloadError("ziplist", last, f"{before} bytes stand before, not {claimed_before}")
            entry, at = _entry(data, at)
            append(entry)
            before = at - last
    except IndexError:
        at = size
    if at != end:
        raise PayloadError("ziplist", at, "an entry reaches beyond the end")
    if tail != last or count not in (_UNKNOWN, len(found)):
        raise PayloadError("ziplist", 4, f"{count} entries claimed, the last at {tail}: {len(found)}, at {last}")
    return found


def _entry(data: bytes, at: int) -> tuple[bytes, int]:
    """The entry, and where it ends; `at` is after the length of the one before."""
    first = data[at]
    at += 1
    if first < 0x40:
        stop = at + first
    elif first < 0x80:
        stop = at + 1 + ((first & 63) << 8 | data[at])
        at += 1
    elif first < 0xC0:
        stop = at + 4 + int.from_bytes(data[at : at + 4], "big")
        at += 4
    elif first in _WIDTHS:
        stop = at + _WIDTHS[first]
        return b"%d" % int.from_bytes(data[at:stop], "little", signed=True), stop
    elif 0xF1 <= first <= 0xFD:
        return b"%d" % (first - 0xF1), at
    else:
        raise PayloadError("ziplist", at - 1, f"no entry is of the kind {first}")
    return data[at:stop], stop
