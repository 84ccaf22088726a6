"""Data blocks: by tables in both directions, and every reader against the plain one."""

from __future__ import annotations

import struct
from collections.abc import Callable
from sys import getsizeof
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.engine.entry import KIND_DELETE, KIND_MERGE, KIND_PUT, TOMBSTONE, Entry
from flin.engine.table import block
from flin.engine.table.cached_block import CachedBlock
from flin.engine.table.writer import split_entries
from flin.errors import CorruptionError, FormatVersionError
from tests.engine.plain_block import plain_decode
from tests.engine.table_file import TABLES


def encode(entries: dict[bytes, Any]) -> bytes:
    keys = sorted(entries)
    values, annotations = split_entries([entries[key] for key in keys])
    return block.encode(keys, values, [len(key) for key in keys], [len(value) for value in values], annotations)


@pytest.mark.parametrize(
    ("entries", "hexadecimal"),
    [
        ({b"k": b"v"}, "03 00 0100 00000000 01000000 01000000 6b 76"),
        ({b"": b""}, "02 00 0100 00000000 00000000 00000000 0000 0000"),
        ({b"a": b"1", b"b": b"2"}, "03 00 0200 00000000 01000000 01000000 6162 3132"),
        (
            {b"a": b"1", b"bc": b"23"},
            "00 00 0200 00000000 03000000 03000000 0000 0100 0300 616263 0000 0100 0300 313233",
        ),
        ({b"pa": b"", b"pb": b""}, "03 00 0200 01000000 01000000 00000000 70 6162"),
        ({b"k": TOMBSTONE}, "13 00 0100 00000000 01000000 00000000 6b 02"),
        ({b"k": (b"v", 0, 7)}, "23 00 0100 00000000 01000000 01000000 6b 07 76"),
        ({b"k": (b"v", 258, 0)}, "43 00 0100 00000000 01000000 01000000 6b 0201000000000000 76"),
        ({b"k": (b"v", 1, 9)}, "63 00 0100 00000000 01000000 01000000 6b 09 0100000000000000 76"),
    ],
)
def test_layout(entries: dict[bytes, Entry], hexadecimal: str) -> None:
    payload = bytes.fromhex(hexadecimal)
    assert encode(entries) == payload
    block.check(payload, 0, len(payload), "t", 0)
    assert dict(zip(*block.decode(payload, 0), strict=True)) == entries


def test_wide_columns() -> None:
    entries = {b"a" * 40_000: b"x", b"b" * 40_001: b"y" * 70_000}
    payload = encode(entries)
    assert payload[0] == block.WIDE_KEYS | block.WIDE_VALUES
    assert plain_decode(payload) == list(entries.items())
    assert dict(zip(*block.decode(payload, 0), strict=True)) == entries
    assert [block.find(payload, 0, key) for key in entries] == list(entries.values())


@given(TABLES, st.lists(st.binary(max_size=8)), st.binary(max_size=3))
def test_every_reader_agrees_with_the_plain_one(entries: dict[bytes, Any], others: list[bytes], before: bytes) -> None:
    payload = encode(entries)
    source, start = before + payload + b"behind", len(before)
    block.check(source, start, start + len(payload), "t", 0)
    pairs = plain_decode(payload)
    assert pairs == sorted(entries.items())
    keys = [key for key, _ in pairs]
    assert list(zip(*block.decode(source, start), strict=True)) == pairs
    assert block.decode_keys(source, start)[0] == keys
    assert block.entry_count(source, start) == len(pairs)
    decoded_keys, kinds = block.decode_kinds(source, start)
    assert decoded_keys == keys
    assert list(kinds) == [KIND_DELETE if entry is TOMBSTONE else KIND_PUT for _, entry in pairs]
    cached, expanded = CachedBlock(payload), CachedBlock.expanded(source, start, len(payload))
    assert list(zip(*expanded.page(), strict=True)) == pairs
    for key in [*keys, *others, *[key + b"\0" for key in keys], *[key[:-1] for key in keys]]:
        assert block.find(source, start, key) == entries.get(key)
        assert cached.find(key) == expanded.find(key) == entries.get(key)
        assert block.lower_bound(source, start, key) == sum(other < key for other in keys)


def test_bounds_on_a_big_endian_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "_LITTLE_ENDIAN", False)
    entries = {b"k" * size: b"v" * (size % 3) for size in range(9)}
    payload = encode(entries)
    assert [block.find(payload, 0, key) for key in entries] == list(entries.values())
    assert [block.lower_bound(payload, 0, key) for key in sorted(entries)] == list(range(9))


@given(TABLES, st.data())
def test_slices(entries: dict[bytes, Any], data: st.DataObject) -> None:
    payload = encode(entries)
    begin = data.draw(st.integers(0, len(entries) - 1))
    end = data.draw(st.integers(begin + 1, len(entries)))
    assert list(zip(*block.decode_slice(payload, 0, begin, end), strict=True)) == plain_decode(payload)[begin:end]


@given(TABLES, st.binary(max_size=3), st.none() | st.binary(max_size=4), st.integers(1, 300), st.binary(max_size=3))
def test_heads(entries: dict[bytes, Any], start: bytes, stop: bytes | None, count: int, before: bytes) -> None:
    expected = [item for item in sorted(entries.items()) if start <= item[0] and (stop is None or item[0] < stop)]
    found = block.head(before + encode(entries) + b"behind", len(before), start, stop, count)
    assert list(zip(*found, strict=True)) == expected[:count]


READERS: list[Callable[[bytes], object]] = [
    lambda payload: block.decode(payload, 0),
    lambda payload: block.decode_kinds(payload, 0),
    lambda payload: block.find(payload, 0, b"key"),
    lambda payload: block.find(payload, 0, b""),
    lambda payload: block.lower_bound(payload, 0, b"key"),
    lambda payload: block.decode_slice(payload, 0, 0, block.entry_count(payload, 0)),
    lambda payload: CachedBlock(payload).expand(),
]


@given(
    st.integers(0, 255),
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 9),
    st.integers(0, 9),
    st.binary(max_size=90),
)
def test_any_bytes_give_entries_or_corruption(
    flags: int, count: int, prefix: int, key: int, value: int, rest: bytes
) -> None:
    payload = struct.pack("<BBHIII", flags, 0, count, prefix, key, value) + rest
    try:
        block.check(payload, 0, len(payload), "t", 0)
    except (CorruptionError, FormatVersionError):
        return
    for read in READERS:
        read(payload)


def test_unknown_kinds_and_flags_are_a_newer_format() -> None:
    payload = bytearray(encode({b"k": TOMBSTONE}))
    payload[-1] = KIND_MERGE
    with pytest.raises(FormatVersionError, match="kind 4"):
        block.check(bytes(payload), 0, len(payload), "t", 0)
    payload[-1] = 0
    with pytest.raises(CorruptionError, match="kind 0"):
        block.check(bytes(payload), 0, len(payload), "t", 0)
    payload[1] = 1
    with pytest.raises(FormatVersionError, match="flags"):
        block.check(bytes(payload), 0, len(payload), "t", 0)


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_common_size(one: bytes, other: bytes) -> None:
    size = block.common_size(one, other)
    assert one[:size] == other[:size]
    assert size == min(len(one), len(other)) or one[size] != other[size]


def test_a_prefix_is_left_out_only_where_that_pays() -> None:
    small = {b"user:%03d" % index: b"1" for index in range(9)}
    large = {key: bytes(200) for key in small}
    assert len(encode(small)) < sum(len(key) + 1 for key in small)
    assert b"user:" in encode(large)
    assert encode(large).count(b"user:") == 9


@pytest.mark.parametrize("value", [bytes(20), (bytes(20), 1 << 40, 3)])
def test_a_cached_block_charges_what_it_costs(value: Any) -> None:
    payload = encode({b"key %d" % index: value for index in range(9)})
    found = CachedBlock(payload)
    assert found.charge_bytes() > getsizeof(payload)
    found.expand()
    assert found.charge_bytes() > sum(map(getsizeof, [*found.page(), found.entries]))
    keys, entries = found.page()
    objects = [*keys, *entries, *(part for entry in entries if isinstance(entry, tuple) for part in entry)]
    cost = sum(getsizeof(thing) for thing in objects if thing is not TOMBSTONE)
    lists = getsizeof(found) + sum(map(getsizeof, [keys, entries, found.entries]))
    assert cost + lists < found.charge_bytes() < 1.5 * (cost + lists)
