"""The position of an element in a spread list: an index of 8 bytes, big-endian, and for inserted ones a fraction.

The first element ever pushed has index 2**63; the ends count away from it. An element that LINSERT puts between two
others gets a position between theirs: more bytes after the index, read as the digits of a fraction in base 256. Bytes
compare as such fractions do, as long as none ends in 00, since `x` and `x 00` would be the same number and two keys.
So positions are compared, and sorted by the engine, as plain bytes.
"""

from __future__ import annotations

from typing import Final

from flin.errors import CorruptionError

FIRST_INDEX: Final = 1 << 63
INDEX_BYTES: Final = 8

MOST_FRACTION_BYTES: Final = 32
"""If a longer one would be needed, after some 200 insertions at one place, the list is numbered anew."""


def position(index: int, fraction: bytes = b"") -> bytes:
    return index.to_bytes(INDEX_BYTES, "big") + fraction


def parse_position(suffix: bytes) -> tuple[int, bytes]:
    """(index, fraction)."""
    fraction = suffix[INDEX_BYTES:]
    if len(suffix) < INDEX_BYTES or fraction[-1:] == b"\0" or len(fraction) > MOST_FRACTION_BYTES:
        raise CorruptionError("a key of a list", 0, "it is not an index and a fraction that does not end in 00")
    return int.from_bytes(suffix[:INDEX_BYTES], "big"), fraction


def maybe_between(left: bytes, right: bytes) -> bytes | None:
    """A position between two, left below right; None if its fraction would be longer than 32 bytes.

    It is the shortest possible, and of these the middle one: so one byte suffices for eight insertions at one place,
    and the index of a deleted element is used again before any fraction."""
    for size in range(INDEX_BYTES, INDEX_BYTES + MOST_FRACTION_BYTES + 1):
        # Cut to this size left is rounded down and right is rounded up, so what lies between lies between them whole.
        low = int.from_bytes(left[:size].ljust(size, b"\0"), "big")
        high = int.from_bytes(right[:size].ljust(size, b"\0"), "big") + (len(right) > size)
        middle = (low + high) // 2
        if low < middle < high:
            return middle.to_bytes(size, "big")  # it ends in no 00: without that it would have been found before
    return None
