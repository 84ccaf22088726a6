"""The slots that a server has itself: is a key its own?

One key is looked up by its checksum. For a column of keys (wire/columns.py) that happens in loops in C: 80 to 120 ns
for each key of 16 bytes, of which the checksum takes 60, where a call for each takes 300. Keys that all begin alike, as
far as the end of their hash tag, need one checksum: 40 ns a key. Other hash tags are cut out first, at once if they
stand at the same place in all keys of the column: 160 ns.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Sequence
from itertools import repeat
from operator import eq, itemgetter
from typing import Final

from flin.net.cluster.slots import BRACE, SLOTS, hash_tag

_CHECKSUMS: Final = 1 << 16
"""Their number. A slot is a checksum modulo the number of slots, so a table of all checksums saves that step."""


class OwnSlots:
    """From `first` to `last`, both included. by_checksum: 1 or 0 for each checksum of a hashed part."""

    __slots__ = ("by_checksum",)

    def __init__(self, first: int, last: int) -> None:
        self.by_checksum = bytes(first <= slot <= last for slot in range(SLOTS)) * (_CHECKSUMS // SLOTS)

    def has_slot(self, slot: int) -> int:
        """1 or 0."""
        return self.by_checksum[slot]

    def has(self, key: bytes) -> int:
        """1 or 0."""
        return self.by_checksum[crc_hqx(hash_tag(key) if BRACE in key else key, 0)]

    def leading(self, columns: Sequence[Sequence[bytes]]) -> int:
        """How many of the first rows name own keys alone, and of one slot. columns: one or more keys of each row. (Keys
        of one slot may have different checksums; such a row counts as if it named several slots.)"""
        first, *others = columns
        if len(first) == 1 and not others:
            return self.has(first[0])
        tag = _common_tag(first)
        if tag and all(_common_tag(column) == tag for column in others):
            return len(first) * self.has(first[0])
        hashed = _hashed(first)
        checksums = [*map(crc_hqx, hashed, repeat(0))]
        found = itemgetter(*checksums, 0)(self.by_checksum)  # of two or more it gives a tuple
        number = len(first) if all(found[:-1]) else found.index(0)
        for column in others:
            other = _hashed(column)
            if other != hashed:  # nearly always the keys of a row have the same hash tag
                end = bytes(map(eq, checksums, map(crc_hqx, other, repeat(0)))).find(0)
                number = min(number, end) if end >= 0 else number
        return number


def keys_in(slot: int, keys: Sequence[bytes]) -> list[bytes]:
    """Those of the keys that have this slot."""
    if not keys:
        return []
    wanted = frozenset(range(slot, _CHECKSUMS, SLOTS))
    checksums = map(crc_hqx, _hashed(keys), repeat(0))
    return [key for key, checksum in zip(keys, checksums, strict=True) if checksum in wanted]


def _common_tag(keys: Sequence[bytes]) -> bytes:
    """The hash tag of all keys, if they begin alike as far as its end; nothing otherwise."""
    key = keys[0]
    begin = key.find(b"{") + 1
    end = key.find(b"}", begin)
    if not 0 < begin < end:
        return b""
    beginning = slice(end + 1)
    alike = key[beginning] == keys[-1][beginning] and len({*map(itemgetter(beginning), keys)}) == 1  # mostly the first
    return key[begin:end] if alike else b""


def _hashed(keys: Sequence[bytes]) -> Sequence[bytes]:
    """The parts of the keys that decide on their slots."""
    joined = b"".join(keys)
    if BRACE not in joined:
        return keys
    number, width = len(keys), len(keys[0])
    begin = joined.find(b"{") + 1
    end = joined.find(b"}", begin)
    if (
        begin < end < width
        and joined.count(b"{") == joined.count(b"}") == number
        and joined[begin - 1 :: width].count(b"{") == joined[end::width].count(b"}") == number
        and set(map(len, keys)) == {width}
    ):
        return [*map(itemgetter(slice(begin, end)), keys)]
    return [*map(hash_tag, keys)]
