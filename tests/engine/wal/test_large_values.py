"""A replay to pointers says what a plain replay says, and each pointer names its value."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from flin.engine.entry import TOMBSTONE, Entry, Pointer, maybe_pointer, read_pointer
from flin.engine.memtable import Memtable
from flin.engine.wal.frames import HEADER_BYTES, SegmentHeader, encode_commit, encode_delete, encode_header, encode_put
from flin.engine.wal.large_values import LargeValues, value_checksum
from flin.engine.wal.replay import replay

NUMBER, THRESHOLD = 1 << 20, 8
HEADER = SegmentHeader(b"i" * 16, NUMBER, b"saltsalt", 5000, 1, 0, 0, 0)

KEYS = st.one_of(st.binary(max_size=4), st.integers(0, 20).map(lambda number: b"%02d" % number))
VALUES = st.one_of(st.binary(max_size=20), st.integers(0, 300).map(lambda size: b"v" * size))
ENTRIES: st.SearchStrategy[Entry] = st.one_of(
    VALUES,
    st.just(TOMBSTONE),
    st.tuples(VALUES, st.integers(-5, 5), st.integers(1, 9)),
)
RANGES = st.lists(st.tuples(st.just(b"a"), st.sampled_from([b"b", b"b" * 30])), max_size=2)
COMMITS = st.one_of(
    st.tuples(st.just("put"), KEYS, VALUES),
    st.tuples(st.just("puts"), st.integers(2, 40), st.integers(0, 40)),  # many of one shape: columns
    st.tuples(st.just("delete"), KEYS, st.none()),
    st.tuples(st.just("commit"), RANGES, st.dictionaries(KEYS, ENTRIES, min_size=1, max_size=8)),
)


def segment(commits: list[Any]) -> bytes:
    data = bytearray(encode_header(HEADER))
    sequence = 1

    def append(frame: bytes, operations: int = 1) -> None:
        nonlocal sequence
        data.extend(frame)
        sequence += operations

    def place() -> tuple[bytes, int, int, int]:
        return HEADER.salt, HEADER.base + len(data), sequence, 0

    for kind, one, other in commits:
        if kind == "put":
            append(encode_put(*place(), one, other))
        elif kind == "puts":
            for number in range(one):
                append(encode_put(*place(), b"%04d" % number, bytes([number]) * other))
        elif kind == "delete":
            append(encode_delete(*place(), one))
        else:
            append(bytes(encode_commit(*place(), other, one)), len(one) + len(other))
    return bytes(data)


def replayed(data: bytes, large: LargeValues | None) -> Memtable:
    memtable = Memtable()
    done = replay(data, HEADER, "s.wal", memtable, end=len(data), large=large)
    assert (done.end, done.stop_reason) == (len(data), "")
    return memtable


def resolved(entry: Entry, data: bytes) -> Entry:
    pointer = maybe_pointer(entry)
    if pointer is None:
        return entry
    number, offset, length, checksum = read_pointer(pointer)
    value = data[offset : offset + length]
    assert (number, checksum) == (NUMBER, value_checksum(NUMBER, offset, value))
    assert length >= THRESHOLD
    return (value, entry[1], entry[2]) if type(entry) is tuple else value


@given(st.lists(COMMITS, min_size=1, max_size=12))
def test_pointers_name_what_a_plain_replay_holds(commits: list[Any]) -> None:
    data = segment(commits)
    plain = replayed(data, None)
    pointed = replayed(data, LargeValues(NUMBER, THRESHOLD))
    assert pointed.deleted == plain.deleted
    assert list(pointed.entries) == list(plain.entries)
    for key, entry in plain.entries.items():
        found = pointed.entries[key]
        assert resolved(found, data) == entry
        value = entry[0] if type(entry) is tuple else entry
        assert (maybe_pointer(found) is not None) == (value is not TOMBSTONE and len(value) >= THRESHOLD)


def test_many_at_once_are_the_same_as_one_by_one() -> None:
    large = LargeValues(NUMBER, THRESHOLD)
    values = [b"%03d" % number * 4 for number in range(100)]
    offsets = range(HEADER_BYTES, HEADER_BYTES + 100 * 77, 77)
    found = large.pointers(offsets, values)
    assert found == [large.pointer(offset, value) for offset, value in zip(offsets, values, strict=True)]
    assert set(map(type, found)) == {Pointer}
