"""Small values in every form that Redis 7.0 reads, and writers of the forms that are no longer written."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Final

from flin.rdb import listpack
from flin.rdb.primitives import double, length, milliseconds, raw_id, stream_id, string
from flin.rdb.value import Group, Hash, List, Pending, Set, SortedSet, Stream, StreamEntry, String, Value

LONG: Final = b"long " * 20
HUGE: Final = bytes(range(256))

MOST_BYTES: Final = 1 << 26
"""The limit of what is decompressed, and of what elements take: any that no sample reaches."""


def ziplist(entries: Sequence[bytes | int]) -> bytes:
    """A ziplist, with every length of the entry before in as few bytes as possible."""
    found, before, tail = bytearray(), 0, 10
    for entry in entries:
        tail = 10 + len(found)
        head = bytes([before]) if before < 254 else b"\xfe" + struct.pack("<I", before)
        found += head + _ziplist_entry(entry)
        before = 10 + len(found) - tail
    return struct.pack("<IIH", 11 + len(found), tail, min(len(entries), 65535)) + found + b"\xff"


def _ziplist_entry(entry: bytes | int) -> bytes:
    if isinstance(entry, bytes):
        size = len(entry)
        if size < 64:
            return bytes([size]) + entry
        return (struct.pack(">H", 0x4000 | size) if size < 0x4000 else b"\x80" + struct.pack(">I", size)) + entry
    if 0 <= entry <= 12:
        return bytes([0xF1 + entry])
    for kind, width in ((0xFE, 1), (0xC0, 2), (0xF0, 3), (0xD0, 4), (0xE0, 8)):
        if -1 << 8 * width - 1 <= entry < 1 << 8 * width - 1:
            return bytes([kind]) + entry.to_bytes(width, "little", signed=True)
    raise OverflowError


def zipmap(fields: Sequence[tuple[bytes, bytes]], free: int = 0) -> bytes:
    """A zipmap with `free` unused bytes after each value."""
    found = bytes([min(len(fields), 254)])
    for field, value in fields:
        found += _zipmap_length(field) + field + _zipmap_length(value) + bytes([free]) + value + bytes(free)
    return found + b"\xff"


def _zipmap_length(text: bytes) -> bytes:
    return bytes([len(text)]) if len(text) < 254 else b"\xfe" + struct.pack("<I", len(text))


def intset(width: int, members: Sequence[int]) -> bytes:
    return struct.pack("<II", width, len(members)) + b"".join(
        member.to_bytes(width, "little", signed=True) for member in members
    )


def old_score(number: float) -> bytes:
    """A score of type 3."""
    special = {math.inf: b"\xfe", -math.inf: b"\xff"}
    text = b"%.17g" % number
    return special.get(number) or bytes([len(text)]) + text


INTEGERS: Final = (0, 12, 13, -1, 127, -128, 300, -5000, 70000, -(1 << 31), 1 << 40, -(1 << 63))
ELEMENTS: Final[tuple[bytes | int, ...]] = (b"", b"a", b"0x", LONG, HUGE, *INTEGERS)
PAIRS: Final[tuple[bytes | int, ...]] = (b"field", b"", 7, LONG, b"", -70000)
SCORES: Final[tuple[bytes | int, ...]] = (b"a", b"1.5", 7, -3, b"", b"inf", LONG, b"-1e+20", b"zero", b"-0")
SCORED: Final = SortedSet({b"a": 1.5, b"7": -3.0, b"": math.inf, LONG: -1e20, b"zero": 0.0})

HASHED: Final = Hash({b"field": b"", b"7": LONG, b"": b"-70000"})
TEXTS: Final = listpack.texts(ELEMENTS)

LZF_LONG: Final = b"\xc3\x09\x40\x64" + b"\x04long " + b"\xe0\x56\x04"
"""The word "long " twenty times: five bytes, and 95 that repeat them."""

PENDING: Final = [Pending((5, 1), b"one", 1000, 3), Pending((6, 0), b"two", 1001, 1), Pending((9, 9), b"one", 0, 0)]
STREAM: Final = Stream(
    [
        StreamEntry((5, 1), [b"a", b"1", b"b", b"2"]),
        StreamEntry((5, 7), [b"a", b"3", b"b", b"4"]),
        StreamEntry((6, 0), [b"b", b"", b"b", LONG, b"c", b"12345"]),
        StreamEntry((1 << 40, (1 << 64) - 1), [b"a", b"x", b"b", b"y"]),
    ],
    (1 << 40, (1 << 64) - 1),
    (5, 9),
    9,
    [
        Group(b"g", (6, 0), 5, {b"one": 1000, b"two": 2000, b"three": -1}, PENDING),
        Group(b"", (0, 0), None, {}, []),
    ],
)
EMPTY_STREAM: Final = Stream([], (7, 7), (7, 7), 3, [])


def old_stream() -> bytes:
    """STREAM in type 15: it has a deleted entry, and does not say how far its groups have read."""
    entries: list[list[bytes | int]] = [
        [2, 0, 0, 1, 2, 5],
        [2, 0, 6, b"3", 4, 5],
        [3, 0, 8, b"", b"", 5],
        [0, 1, -1, 3, b"b", b"", b"b", LONG, b"c", 12345, 10],
        [2, (1 << 40) - 5, -2, b"x", b"y", 5],
    ]
    node = listpack.encode([4, 1, 2, b"a", b"b", 0, *chain.from_iterable(entries)])
    group = string(b"g") + stream_id((6, 0)) + length(3)
    for id_, _, at, count in PENDING:
        group += raw_id(id_) + milliseconds(at) + length(count)
    group += length(3) + string(b"one") + milliseconds(1000) + length(2) + raw_id((5, 1)) + raw_id((9, 9))
    group += string(b"two") + milliseconds(2000) + length(1) + raw_id((6, 0))
    group += string(b"three") + milliseconds(-1) + length(0)
    first = string(b"") + stream_id((0, 0)) + length(0) + length(0)
    last = string(b"end") + stream_id((1 << 40, (1 << 64) - 1)) + length(0) + length(0)
    head = length(1) + string(raw_id((5, 1))) + string(node) + length(4) + stream_id((1 << 40, (1 << 64) - 1))
    return head + length(3) + group + first + last


OLD_STREAM: Final = Stream(
    STREAM.entries,
    STREAM.last_id,
    (0, 0),
    4,
    [
        Group(b"g", (6, 0), None, {b"one": 1000, b"two": 2000, b"three": -1}, PENDING),
        Group(b"", (0, 0), 0, {}, []),
        Group(b"end", STREAM.last_id, 4, {}, []),
    ],
)


def _quicklist(*nodes: tuple[int, bytes]) -> bytes:
    return length(len(nodes)) + b"".join(length(kind) + string(data) for kind, data in nodes)


_STRINGS: Final[dict[str, tuple[bytes, Value]]] = {
    "string": (b"\x00" + string(LONG), String(LONG)),
    "empty string": (b"\x00\x00", String(b"")),
    "integer of 8 bits": (b"\x00\xc0\x80", String(b"-128")),
    "integer of 16 bits": (b"\x00\xc1\x2c\x01", String(b"300")),
    "integer of 32 bits": (b"\x00\xc2\xff\xff\xff\x7f", String(b"2147483647")),
    "LZF string": (b"\x00" + LZF_LONG, String(LONG)),
    "length of 14 bits": (b"\x00\x41\x00" + HUGE, String(HUGE)),
    "length of 32 bits": (b"\x00\x80\x00\x00\x00\x03abc", String(b"abc")),
    "length of 64 bits": (b"\x00\x81" + bytes(7) + b"\x03abc", String(b"abc")),
}
_OTHERS: Final[dict[str, tuple[bytes, Value]]] = {
    "list": (b"\x01" + length(len(TEXTS)) + b"".join(map(string, TEXTS)), List(TEXTS)),
    "list with LZF": (b"\x01\x02" + LZF_LONG + LZF_LONG, List([LONG, LONG])),
    "list, ziplist": (b"\x0a" + string(ziplist(ELEMENTS)), List(TEXTS)),
    "list, quicklist": (
        b"\x0e" + length(3) + string(ziplist(ELEMENTS)) + string(ziplist([])) + string(ziplist([b"end"])),
        List([*TEXTS, b"end"]),
    ),
    "list, quicklist 2": (
        b"\x12" + _quicklist((2, listpack.encode(ELEMENTS)), (1, LONG), (2, listpack.encode([7]))),
        List([*TEXTS, LONG, b"7"]),
    ),
    "set": (b"\x02\x03" + string(b"a") + string(b"7") + string(b""), Set({b"a", b"7", b""})),
    "set, intset 16": (b"\x0b" + string(intset(2, [-5, 0, 300])), Set({b"-5", b"0", b"300"})),
    "set, intset 32": (b"\x0b" + string(intset(4, [-5, 70000])), Set({b"-5", b"70000"})),
    "set, intset 64": (b"\x0b" + string(intset(8, [-(1 << 63), 1])), Set({b"-9223372036854775808", b"1"})),
    "sorted set": (
        b"\x05" + length(5) + b"".join(string(member) + double(score) for member, score in SCORED.scores.items()),
        SCORED,
    ),
    "sorted set, old": (
        b"\x03" + length(5) + b"".join(string(member) + old_score(score) for member, score in SCORED.scores.items()),
        SCORED,
    ),
    "sorted set, ziplist": (b"\x0c" + string(ziplist(SCORES)), SCORED),
    "sorted set, listpack": (b"\x11" + string(listpack.encode(SCORES)), SCORED),
    "hash": (b"\x04\x03" + b"".join(map(string, listpack.texts(PAIRS))), HASHED),
    "hash, zipmap": (
        b"\x09" + string(zipmap([(b"field", b""), (b"7", LONG), (b"", b"-70000")], free=3)),
        HASHED,
    ),
    "hash, zipmap with long ones": (b"\x09" + string(zipmap([(HUGE, HUGE)])), Hash({HUGE: HUGE})),
    "hash, ziplist": (b"\x0d" + string(ziplist(PAIRS)), HASHED),
    "hash, listpack": (b"\x10" + string(listpack.encode(PAIRS)), HASHED),
    "stream, old": (b"\x0f" + old_stream(), OLD_STREAM),
}
SAMPLES: Final[dict[str, tuple[bytes, Value]]] = {**_STRINGS, **_OTHERS}
"""The bytes before the footer, and their value. The encoder writes type 19."""
