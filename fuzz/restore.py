"""RESTORE's payloads under arbitrary bytes.

Invariant: any bytes decode to a value, which is written and read again as the same one, or raise PayloadError, or
LimitError if more would be decompressed, or take more in memory, than is allowed; nothing is in a value twice, no score
is NaN, a stream's entries, groups and owners add up; the time that it takes is bounded by the number of bytes, not by
what they claim, and the memory by the limit, however many elements the bytes hold.

The first byte of an input chooses what the rest is: a payload as it is, a type with its form before a correct footer
(alone, or within a string, a listpack or a ziplist, so that the decoders of elements are reached), many small elements
with a lie about their number, or changes to a good payload.
"""

from __future__ import annotations

import math
import struct
from itertools import pairwise
from typing import Final

from flin.errors import LimitError, PayloadError
from flin.rdb import body, dump, listpack
from flin.rdb.crc64 import crc64
from flin.rdb.primitives import ELEMENT_BYTES, length, string
from flin.rdb.value import Group, Hash, List, Pending, Set, SortedSet, Stream, StreamEntry, Value

MOST_BYTES: Final = 1 << 16
ALLOWED: Final = (PayloadError, LimitError)


def one_input(data: bytes) -> None:
    for payload in payloads(data):
        _judge(payload)


def payloads(data: bytes) -> list[bytes]:
    """The payloads that an input stands for."""
    kind, rest = data[:1], data[1:]
    if kind < b"\x20":
        return [rest]
    if kind < b"\x60":
        return [_sealed(rest)]
    if kind < b"\xa0":
        type_, inner = rest[:1], rest[1:]
        texts = [string(inner), string(_listpack(inner)), string(_ziplist(inner))]
        return [_sealed(type_ + head + text) for text in texts for head in _HEADS]
    if kind < b"\xc0":
        return [_sealed(_in_stream(rest))]
    if kind < b"\xd8":
        return [_sealed(bomb) for bomb in _bombs(rest)]
    return [_sealed(_changed(_SAMPLE, rest))]


_HEADS: Final = (b"", b"\x01", b"\x01\x02")
"""The bytes before a form that is a string, a node of a list, a node with its kind."""


def _judge(payload: bytes) -> None:
    try:
        value = dump.decode(payload, MOST_BYTES)
    except ALLOWED:
        return
    assert dump.decode(dump.encode(value), 1 << 30) == value
    if isinstance(value, Stream):
        _judge_stream(value)
    elif isinstance(value, SortedSet):
        assert not any(map(math.isnan, value.scores.values()))
    assert _elements(value) * ELEMENT_BYTES <= MOST_BYTES
    assert isinstance(value, Stream) or _size(value) <= MOST_BYTES + 30 * len(payload)


def _judge_stream(stream: Stream) -> None:
    ids = [entry.id for entry in stream.entries]
    assert all(id_ < following for id_, following in pairwise(ids))
    assert stream.last_id >= max([*ids, stream.max_deleted_id])
    assert stream.entries_added >= len(ids)
    assert all(entry.fields and len(entry.fields) % 2 == 0 for entry in stream.entries)
    assert len({group.name for group in stream.groups}) == len(stream.groups)
    for group in stream.groups:
        pending = [found.id for found in group.pending]
        assert all(id_ < following for id_, following in pairwise(pending))
        assert {found.consumer for found in group.pending} <= group.consumers.keys()


def _elements(value: Value) -> int:
    """How many elements it has; of a stream fewer than what its memory is counted for."""
    match value:
        case List(found) | Set(found) | SortedSet(found):
            return len(found)
        case Hash(fields):
            return 2 * len(fields)
        case Stream(entries, _, _, _, groups):
            return len(entries) + sum(len(group.pending) + len(group.consumers) for group in groups)
        case _:
            return 0


def _size(value: Value) -> int:
    """About how many bytes its elements have."""
    return len(body.encode(value))


def _sealed(data: bytes) -> bytes:
    covered = data + b"\x0a\x00"
    return covered + dump.stored(crc64(covered))


def _listpack(data: bytes) -> bytes:
    """A listpack of elements with correct lengths on both sides: as many bytes as each byte says, or an integer."""
    elements: list[bytes | int] = []
    at = 0
    while at < len(data) and len(elements) < 100:
        size = data[at]
        elements.append(data[at + 1 : at + 1 + size] if size < 32 else size - 128)
        at += 1 + (size if size < 32 else 0)
    return listpack.encode(elements)


def _ziplist(data: bytes) -> bytes:
    """The same, of strings alone."""
    entries, before, last, count, at = b"", 0, 10, 0, 0
    while at < len(data) and count < 100:
        size = data[at] % 32
        text = data[at + 1 : at + 1 + size]
        last = 10 + len(entries)
        entries += bytes([before, len(text)]) + text
        before, count, at = 2 + len(text), count + 1, at + 1 + size
    return struct.pack("<IIH", 11 + len(entries), last, count) + entries + b"\xff"


def _in_stream(data: bytes) -> bytes:
    """A stream whose node has these integers and texts; the first bytes are what follows it."""
    tail, elements = data[:12].ljust(12, b"\x00"), data[12:]
    return b"\x13\x01\x10" + bytes(15) + b"\x05" + string(_listpack(elements)) + tail


def _bombs(data: bytes) -> list[bytes]:
    """Up to 4,095 elements of a byte or two, in every form; some other number is claimed if the input says so."""
    count, lie, types = int.from_bytes(data[:2], "big") % 4096, int.from_bytes(data[2:4], "big"), data[4:7]
    packed = listpack.encode([5] * count)
    packed = packed[:4] + struct.pack("<H", lie or count) + packed[6:]
    old = struct.pack("<IIH", 11 + 2 * count, 8 + 2 * count, lie or count)
    old += b"".join([b"\x00\xf1", b"\x02\xf1" * (count - 1)]) if count else b""
    forms = [
        string(packed),
        string(old + b"\xff"),
        string(b"\xfe" + b"\x00\x00\x00" * (count // 2) + b"\xff"),
        string(struct.pack("<II", 2, lie or count) + struct.pack(f"<{count}h", *range(count))),
        b"\xc3" + length(len(data[7:])) + length(lie) + data[7:],
    ]
    plain = length(lie or count) + bytes(count)
    heads = [bytes([type_ % 20]) for type_ in types]
    return [head + more + form for head in heads for form in forms for more in _HEADS] + [
        head + plain for head in heads
    ]


_SAMPLE: Final = body.encode(
    Stream(
        [StreamEntry((5, n), [b"a", b"%d" % n, b"b", b"x" * n]) for n in range(1, 4)],
        (5, 9),
        (5, 4),
        7,
        [
            Group(
                b"g", (5, 2), 2, {b"one": 1, b"two": 2}, [Pending((5, 1), b"one", 3, 4), Pending((5, 2), b"two", 5, 6)]
            )
        ],
    )
)


def _changed(good: bytes, changes: bytes) -> bytes:
    """Bytes replaced, removed and doubled at places that the changes name."""
    for at in range(0, len(changes) - 2, 3):
        how, place, value = changes[at] % 3, changes[at + 1] % (len(good) + 1), changes[at + 2]
        good = {
            0: good[:place] + bytes([value]) + good[place + 1 :],
            1: good[:place] + good[place + value % 8 :],
            2: good[: place + value % 8] + good[place:],
        }[how]
    return good
