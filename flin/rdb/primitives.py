"""The lengths, strings and numbers of RDB.

A length, big-endian:

    00xxxxxx            6 bits
    01xxxxxx  +1        14 bits
    80  u32             32 bits
    81  u64             64 bits

A string is its length and its bytes, or

    C0 C1 C2            an integer of 1, 2, 4 bytes with sign, little-endian: its decimal text
    C3  length length   compressed with LZF: the compressed and the true size

A score is a double, little-endian, or in the older form a byte (FF -inf, FE inf, FD NaN) or the length of its text.
"""

from __future__ import annotations

import math
import re
import struct
from itertools import repeat
from typing import Final

from flin.errors import LimitError, PayloadError
from flin.rdb import lzf

ID_BYTES: Final = 16
_WIDTHS: Final = {0xC0: 1, 0xC1: 2, 0xC2: 4}
_LZF: Final = 0xC3
_DOUBLE: Final = struct.Struct("<d")
_INT64: Final = struct.Struct("<q")
_ID: Final = struct.Struct(">QQ")
_SPECIAL_SCORES: Final = {0xFF: -math.inf, 0xFE: math.inf, 0xFD: math.nan}
_SCORE: Final = re.compile(rb"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?|[+-]?inf", re.ASCII | re.IGNORECASE)
MOST_SCORE_BYTES: Final = 128
"""No program writes a longer one, and parsing millions of digits would take quadratic time."""


ELEMENT_BYTES: Final = 150
"""An element in memory beside its bytes: a bytes object and its places in a collection, about."""


class Reader:
    """Reads one item after the other from a payload. Everything raises PayloadError if the payload ends too early; a
    string raises LimitError if more than `most_bytes` would be decompressed from one payload, and who decodes elements
    says before what they will take: a byte of a payload may become 80 in memory."""

    def __init__(self, data: bytes, most_bytes: int, at: int = 0) -> None:
        """data: may be anything that is sliced into bytes, a mapped file too. at: where to begin."""
        self._data = data
        self._at = at
        self._most_bytes = most_bytes
        self._decompressed = 0
        self._decoded = 0

    @property
    def at(self) -> int:
        return self._at

    def begin(self) -> None:
        """What follows is another value, with a limit of its own."""
        self._decompressed = self._decoded = 0

    def take_room(self, elements: int, each_bytes: int = ELEMENT_BYTES) -> None:
        """So many elements are about to be decoded. LimitError if all so far take more than the limit."""
        self._decoded += elements * each_bytes
        if self._decoded > self._most_bytes:
            raise LimitError("a decoded value", self._decoded, self._most_bytes)

    @property
    def left_elements(self) -> int:
        """How many there is room for."""
        return (self._most_bytes - self._decoded) // ELEMENT_BYTES

    def bad(self, reason: str) -> PayloadError:
        return PayloadError("payload", self._at, reason)

    def end(self) -> None:
        """PayloadError unless the payload ends here."""
        if self._at != len(self._data):
            raise self.bad(f"{len(self._data) - self._at} bytes follow the value")

    @property
    def is_at_end(self) -> bool:
        return self._at == len(self._data)

    def byte(self) -> int:
        return self.take(1)[0]

    def take(self, size: int) -> bytes:
        start, stop = self._at, self._at + size
        if stop > len(self._data):
            raise self.bad(f"{size} bytes claimed, {len(self._data) - start} left")
        self._at = stop
        return self._data[start:stop]

    def length(self) -> int:
        return self._length(self.byte())

    def _length(self, first: int) -> int:
        if first < 0x40:
            return first
        if first < 0x80:
            return (first & 63) << 8 | self.byte()
        if first == 0x80:
            return int.from_bytes(self.take(4), "big")
        if first == 0x81:
            return int.from_bytes(self.take(8), "big")
        raise self.bad(f"no length begins with {first}")

    def count(self, least: int = 0) -> int:
        """How many items follow. Each takes at least a byte, so a false claim costs nothing."""
        count = self.length()
        if not least <= count <= len(self._data) - self._at:
            raise self.bad(f"{count} elements claimed, {len(self._data) - self._at} bytes left")
        return count

    def string(self) -> bytes:
        first = self.byte()
        if first < 0x40:
            return self.take(first)
        if first in _WIDTHS:
            return b"%d" % int.from_bytes(self.take(_WIDTHS[first]), "little", signed=True)
        if first != _LZF:
            return self.take(self._length(first))
        compressed_size, size = self.length(), self.length()
        self._decompressed += size
        if self._decompressed > self._most_bytes:
            raise LimitError("a decompressed value", self._decompressed, self._most_bytes)
        return lzf.decompress(self.take(compressed_size), size)

    def strings(self, count: int) -> list[bytes]:
        return self._strings(count, 0)[0]

    def scored(self, count: int) -> tuple[list[bytes], tuple[float, ...]]:
        """Strings, and the doubles after each of them."""
        found, tails = self._strings(count, _DOUBLE.size)
        return found, struct.unpack(f"<{count}d", b"".join(tails))

    def _strings(self, count: int, tail_bytes: int) -> tuple[list[bytes], list[bytes]]:
        """Strings, and the `tail_bytes` bytes after each of them."""
        data, at, size = self._data, self._at, len(self._data)
        found, tails = [], []
        for _ in repeat(None, count):
            first = data[at] if at < size else 0xFF
            if first < 0x40:  # short strings are read here: a third of the time of a call for each
                stop = at + 1 + first
                found.append(data[at + 1 : stop])
            else:
                self._at = at
                found.append(self.string())
                stop = self._at
            at = stop + tail_bytes
            if tail_bytes:
                tails.append(data[stop:at])
        self._at = min(at, size)
        if at > size:
            raise self.bad("a string or score reaches beyond the end")
        return found, tails

    def old_double(self) -> float:
        size = self.byte()
        if size in _SPECIAL_SCORES:
            return _SPECIAL_SCORES[size]
        return score(self.take(size))

    def milliseconds(self) -> int:
        number: int = _INT64.unpack(self.take(8))[0]
        return number

    def id(self) -> tuple[int, int]:
        """A stream ID as a pair of lengths."""
        return self.length(), self.length()

    def raw_id(self) -> tuple[int, int]:
        """A stream ID as the 16 bytes that sort like it."""
        return unpack_id(self.take(ID_BYTES))


def unpack_id(data: bytes) -> tuple[int, int]:
    """The stream ID in 16 bytes."""
    milliseconds, sequence = _ID.unpack(data)
    return milliseconds, sequence


def score(text: bytes) -> float:
    """A score given as text. Raises PayloadError if it is no number."""
    if len(text) > MOST_SCORE_BYTES or not _SCORE.fullmatch(text):
        raise PayloadError("score", 0, f"{text[:MOST_SCORE_BYTES]!r} is no number")
    return float(text)


# Writing.


def length(number: int) -> bytes:
    """A length of up to 64 bits, as short as it can be."""
    if number < 0x40:
        return bytes((number,))
    if number < 0x4000:
        return bytes((0x40 | number >> 8, number & 0xFF))
    if number < 1 << 32:
        return struct.pack(">BI", 0x80, number)
    return struct.pack(">BQ", 0x81, number)


def string(data: bytes) -> bytes:
    """A string, never compressed. One that looks like an integer of 32 bits becomes one, as in Redis."""
    size = len(data)
    if size <= 11 and data[-1:].isdigit() and (integer := _maybe_integer(data)):
        return integer
    if size < 0x40:
        return b"%c%b" % (size, data)
    return length(size) + data


def _maybe_integer(data: bytes) -> bytes | None:
    if not data.lstrip(b"-").isdigit() or data.rfind(b"-") > 0:
        return None
    number = int(data)
    if b"%d" % number != data:  # 007, -0
        return None
    for first, width in _WIDTHS.items():
        if -1 << 8 * width - 1 <= number < 1 << 8 * width - 1:
            return bytes((first,)) + number.to_bytes(width, "little", signed=True)
    return None


def double(number: float) -> bytes:
    """A score."""
    return _DOUBLE.pack(number)


def milliseconds(number: int) -> bytes:
    """A point in time."""
    return _INT64.pack(number)


def stream_id(pair: tuple[int, int]) -> bytes:
    """A stream ID as a pair of lengths."""
    return length(pair[0]) + length(pair[1])


def raw_id(pair: tuple[int, int]) -> bytes:
    """A stream ID as the 16 bytes that sort like it."""
    return _ID.pack(*pair)
