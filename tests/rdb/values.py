"""Random values, and what must hold for any bytes before a correct footer."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Final

from hypothesis import strategies as st

from flin.errors import LimitError, PayloadError
from flin.rdb import body, dump, listpack
from flin.rdb.crc64 import crc64
from flin.rdb.primitives import length, raw_id, stream_id, string
from flin.rdb.value import Group, Hash, List, Pending, Set, SortedSet, Stream, StreamEntry, String, Value
from fuzz import restore
from tests.rdb.samples import EMPTY_STREAM, MOST_BYTES, SAMPLES, STREAM

UINT64 = st.integers(0, (1 << 64) - 1)
TEXTS = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([b"0", b"-0", b"007", b"-", b"1-2", b"12", b"-128", b"-129", b"2147483647", b"-2147483649"]),
    st.integers(-(1 << 33), 1 << 33).map(b"%d".__mod__),
    st.sampled_from([63, 64, 127, 4096, 16384]).map(bytes),
)
IDS = st.tuples(st.integers(0, 5) | UINT64, st.integers(0, 5) | UINT64).filter(lambda id_: id_ > (0, 0))
FIELDS = st.one_of(
    st.lists(TEXTS, min_size=2, max_size=6).filter(lambda fields: len(fields) % 2 == 0),
    st.tuples(TEXTS, TEXTS).map(lambda values: [b"a", values[0], b"b", values[1]]),  # the fields of others
)


@st.composite
def groups(draw: st.DrawFn, name: bytes) -> Group:
    consumers = draw(st.dictionaries(TEXTS, st.integers(0, 1 << 50), max_size=3))
    ids = draw(st.sets(IDS, max_size=5)) if consumers else set()
    pending = [
        Pending(id_, draw(st.sampled_from(sorted(consumers))), draw(st.integers(0, 1 << 50)), draw(st.integers(0, 9)))
        for id_ in sorted(ids)
    ]
    return Group(name, draw(IDS), draw(st.none() | st.integers(0, 1 << 62)), consumers, pending)


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    ids = sorted(draw(st.sets(IDS, max_size=6)))
    entries = [StreamEntry(id_, draw(FIELDS)) for id_ in ids]
    last, max_deleted = max([*ids, draw(IDS)]), draw(st.just((0, 0)) | IDS)
    added = len(entries) + draw(st.integers(0, 1 << 40))
    found = [draw(groups(name)) for name in sorted(draw(st.sets(TEXTS, max_size=3)))]
    return Stream(entries, max(last, max_deleted), max_deleted, added, found)


SCORES = st.floats(allow_nan=False)
VALUES: st.SearchStrategy[Value] = st.one_of(
    TEXTS.map(String),
    st.lists(TEXTS, min_size=1).map(List),
    st.sets(TEXTS, min_size=1).map(Set),
    st.dictionaries(TEXTS, SCORES, min_size=1).map(SortedSet),
    st.dictionaries(TEXTS, TEXTS, min_size=1).map(Hash),
    streams(),
)


def maybe_value(data: bytes) -> Value | None:
    """What a body is, None if it is nothing. A value that was read is written and read again: the same."""
    with suppress(PayloadError, LimitError):
        value = body.decode(data, MOST_BYTES)
        assert body.decode(body.encode(value), MOST_BYTES) == value
        return value
    return None


def damaged(data: bytes) -> list[bytes]:
    """Every truncation, a byte more, and every byte with its lowest, highest or all bits turned."""
    found = [data[:size] for size in range(len(data))] + [data + b"\x00"]
    for place, byte in enumerate(data):
        found += (data[:place] + bytes([byte ^ bits]) + data[place + 1 :] for bits in (0x01, 0x80, 0xFF))
    return found


def changed(data: bytes, source: random.Random) -> bytes:
    """One to three places set, counted up or down, removed or added."""
    found = bytearray(data)
    for _ in range(source.randint(1, 3)):
        place = source.randrange(len(found) + 1)
        how = source.randrange(4)
        if how == 0:
            found[place : place + 1] = source.randbytes(1)
        elif how == 1:
            found[place : place + 1] = bytes((byte + source.choice((1, -1))) % 256 for byte in found[place : place + 1])
        elif how == 2:
            del found[place : place + source.randint(1, 3)]
        else:
            found[place:place] = source.randbytes(source.randint(1, 2))
    return bytes(found)


_SMALL: Final = (0, 1, 2, 3, 5, 97, 98, 128, 129, 200)
"""Bytes that often mean something: lengths, texts, small integers of a listpack."""


def random_payloads(source: random.Random) -> list[bytes]:
    """Changed samples, random elements after correct headers, and nodes of streams that are nearly correct."""
    chance = source.random()
    if chance < 0.5:
        return [sealed(changed(source.choice(_BODIES), source))]
    if chance < 0.7:
        inner = bytes(source.choice((*_SMALL, source.randrange(256))) for _ in range(source.randrange(30)))
        return restore.payloads(bytes((0x90, source.choice((9, 10, 11, 12, 13, 14, 16, 17, 18)))) + inner)
    elements: list[bytes | int] = [source.randrange(4), source.choice((0, 0, 1)), 1, b"f", 0]
    for _ in range(source.randrange(4)):
        start, flags = len(elements), source.choice((0, 2, 2, 3, 1))
        elements += flags, source.choice((0, 0, 1)), source.choice((0, 1, 2, 3, -1))
        elements += [source.choice((b"v", 7))] if flags & 2 else [1, b"g", b"h"]
        elements.append(len(elements) - start + source.choice((0, 0, 0, 0, 1)))
    node = string(raw_id((5, 5))) + string(listpack.encode(elements))
    past = stream_id((9, 9)) + stream_id((0, 0)) * 2 + length(9)
    return [sealed(b"\x13\x01" + node + length(source.randrange(4)) + past + length(0))]


def sealed(data: bytes, version: int = dump.VERSION) -> bytes:
    """The data with a footer whose checksum is correct."""
    covered = data + version.to_bytes(2, "little")
    return covered + dump.stored(crc64(covered))


ALL: Final = {
    **SAMPLES,
    "stream": (body.encode(STREAM), STREAM),
    "empty stream": (body.encode(EMPTY_STREAM), EMPTY_STREAM),
}
_BODIES: Final = [data for data, _ in ALL.values()]
