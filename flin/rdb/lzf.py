"""LZF, the compression of strings in RDB. Flin only reads it.

Compressed data is a chain of parts, each begun by a control byte:

    0 to 31        as many bytes + 1 follow, as they are
    32 to 255      a copy of earlier output: the upper 3 bits are its length - 2 (7: the next byte adds to it), the
                   lower 5 bits and one byte more are how far back it begins, - 1. A copy may reach into itself.
"""

from __future__ import annotations

from typing import Final

from flin.errors import PayloadError

MOST_FOLD: Final = 88
"""The largest factor: three bytes make at most 264, and no larger claim of a payload is believed."""


def decompress(data: bytes, size: int) -> bytes:
    """The `size` bytes that were compressed. Raises PayloadError if there are more or fewer."""
    if size > MOST_FOLD * len(data):
        raise PayloadError("LZF string", 0, f"{len(data)} bytes cannot hold {size}")
    out = bytearray()
    at, end = 0, len(data)
    try:
        while at < end and len(out) <= size:
            control = data[at]
            at += 1
            if control < 32:
                literal = data[at : at + control + 1]
                at += control + 1
                out += literal
                continue
            length = control >> 5
            if length == 7:
                length += data[at]
                at += 1
            length += 2
            start = len(out) - ((control & 31) << 8) - data[at] - 1
            at += 1
            if start < 0:
                raise PayloadError("LZF string", at, "a copy begins before the first byte")
            copied = out[start : start + length]
            if len(copied) < length:  # into itself: it repeats
                copied = (copied * (length // len(copied) + 1))[:length]
            out += copied
    except IndexError:
        at = end + 1
    if at != end or len(out) != size:
        raise PayloadError("LZF string", at, f"{len(out)} bytes where {size} were claimed, or a part is cut off")
    return bytes(out)
