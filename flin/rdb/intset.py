"""The intset: a small set of integers, sorted.

    width    u32   2, 4 or 8 bytes
    count    u32
    members  count x signed integers of that width, ascending

All little-endian.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Final

from flin.errors import PayloadError

_HEADER: Final = struct.Struct("<II")
_CODES: Final = {2: "h", 4: "i", 8: "q"}


def claimed(data: bytes) -> int:
    """How many members it says that it has; `decode` refuses a false claim."""
    return int.from_bytes(data[4:8], "little")


def decode(data: bytes) -> tuple[int, ...]:
    """The members, at least one. Raises PayloadError."""
    if len(data) < _HEADER.size:
        raise PayloadError("intset", 0, "its header is cut off")
    width, count = _HEADER.unpack_from(data)
    if width not in _CODES or not count or len(data) != _HEADER.size + width * count:
        raise PayloadError("intset", 0, f"{count} members of {width} bytes in {len(data)}")
    members = struct.unpack_from(f"<{count}{_CODES[width]}", data, _HEADER.size)
    if not all(member < following for member, following in pairwise(members)):
        raise PayloadError("intset", _HEADER.size, "its members do not ascend")
    return members
