"""Metas of spread collections: tables of bytes in both directions, and any bytes into the decoder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.errors import CorruptionError, FormatVersionError
from flin.objects.layout import HASH, LIST, LONG_STRING, SET, SORTED_SET, STREAM, TYPE_NAMES, stream_id
from flin.objects.meta import (
    ListMeta,
    LongStringMeta,
    Meta,
    SortedSetMeta,
    StreamMeta,
    ceiling_of,
    decode_meta,
    floor_of,
)

ID_1, ID_2 = stream_id(1, 0), stream_id(2, 0)
HEAD = "02 0100 0200000000000000 0300000000000000"

TABLE = [
    (HASH, Meta(1, 2, 3), HEAD),
    (SET, Meta(1, 2, 3, was_large=True), "82" + HEAD[2:]),
    (LIST, ListMeta(1, 2, 3, 4, 7), HEAD + "0400000000000000 0700000000000000 01"),
    (LIST, ListMeta(1, 2, 3, 4, 8, is_dense=False), HEAD + "0400000000000000 0800000000000000 00"),
    (LIST, ListMeta(1, 2, 3, 4, 5, is_dense=False, has_fractions=True), HEAD + "0400000000000000 0500000000000000 02"),
    (SORTED_SET, SortedSetMeta(1, 2, 3), HEAD + "00 00"),
    (SORTED_SET, SortedSetMeta(1, 2, 3, b"ab", b"b", was_large=True), "82" + HEAD[2:] + "02 6162 01 62"),
    (
        STREAM,
        StreamMeta(1, 2, 3, b"", b"", ID_2, ID_1, 9, 2),
        HEAD + "00 00" + ID_2.hex() + ID_1.hex() + "0900000000000000 02000000",
    ),
    (STREAM, StreamMeta(1, 2, 0), "02 0100 0200000000000000" + "00" * 8 + "0000" + "00" * 44),
    (LONG_STRING, LongStringMeta(1, 2, 0, 2**32), HEAD[:-16] + "00" * 8 + "0000000001000000"),
]


@pytest.mark.parametrize(("tag", "meta", "written"), TABLE)
def test_table(tag: int, meta: Meta, written: str) -> None:
    value = bytes.fromhex(written)
    assert meta.encode() == value
    assert decode_meta(tag, value) == meta


def test_a_meta_names_the_prefix_of_the_elements() -> None:
    assert Meta(1, 2, 3).elements_prefix(4).hex() == "ff01 8004 0001 0000000000000002".replace(" ", "")


def _value(written: str) -> bytes:
    return bytes.fromhex(written)


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (HASH, b""),
        (HASH, b"\x02"),
        (HASH, b"\0field\xffvalue, which is packed"),
        (HASH, _value(HEAD + "00")),
        (HASH, _value(HEAD[:-16] + "00" * 8)),
        (SET, _value("02 0040" + HEAD[7:])),  # slot 16384
        (LIST, _value(HEAD)),
        (LIST, _value(HEAD + "0400000000000000 0800000000000000 01")),  # four places for three elements
        (LIST, _value(HEAD + "0400000000000000 0700000000000000 03")),
        (LIST, _value(HEAD + "0400000000000000 0700000000000000 00")),  # no holes
        (LIST, _value(HEAD + "0400000000000000 0300000000000000 00")),
        (LIST, _value(HEAD[:-16] + "00" * 8 + "0400000000000000 0400000000000000 01")),
        (LIST, _value(HEAD + "0400000000000000 0400000000000000 00")),
        (SORTED_SET, _value(HEAD)),
        (SORTED_SET, _value(HEAD + "00")),
        (SORTED_SET, _value(HEAD + "01 61")),
        (SORTED_SET, _value(HEAD + "00 02 61")),
        (SORTED_SET, _value(HEAD + "00 00 00")),
        (SORTED_SET, _value(HEAD + "01 62 01 61")),
        (SORTED_SET, _value(HEAD) + b"\x41" + b"a" * 65 + b"\0"),
        (SORTED_SET, _value(HEAD[:-16] + "00" * 8 + "00 00")),
        (STREAM, _value(HEAD + "00 00")),
        (LONG_STRING, _value(HEAD + "00" * 7)),
    ],
)
def test_damaged(tag: int, value: bytes) -> None:
    with pytest.raises(CorruptionError):
        decode_meta(tag, value)


@pytest.mark.parametrize(("tag", "value"), [(7, _value(HEAD)), (255, b""), (HASH, b"\x03"), (LIST, b"\xff" * 40)])
def test_what_a_newer_flin_wrote(tag: int, value: bytes) -> None:
    with pytest.raises(FormatVersionError):
        decode_meta(tag, value)


@pytest.mark.parametrize(
    ("suffix", "floor", "ceiling"),
    [
        (b"short", b"short", b"short"),
        (b"x" * 64, b"x" * 64, b"x" * 64),
        (b"x" * 65, b"x" * 64, b"x" * 63 + b"y"),
        (b"x" + b"\xff" * 70, b"x" + b"\xff" * 63, b"y"),
        (b"\xff" * 70, b"\xff" * 64, b""),
    ],
)
def test_bounds(suffix: bytes, floor: bytes, ceiling: bytes) -> None:
    assert (floor_of(suffix), ceiling_of(suffix)) == (floor, ceiling)
    assert floor_of(suffix) <= suffix
    assert not ceiling or suffix <= ceiling


BOUNDS = st.lists(st.binary(max_size=64), min_size=2, max_size=2).map(sorted)
U64 = st.integers(0, 2**64 - 1)
SLOTS = st.integers(0, 16383)


@given(SLOTS, U64, st.integers(1, 2**64 - 1), BOUNDS, st.binary(min_size=32, max_size=32), U64, st.booleans())
def test_any_stream_and_sorted_set(
    slot: int, version: int, count: int, bounds: list[bytes], ids: bytes, added: int, large: bool
) -> None:
    floor, ceiling = bounds if bounds[1] else (b"", b"")
    stream = StreamMeta(slot, version, count, floor, ceiling, ids[:16], ids[16:], added, 7, was_large=large)
    assert decode_meta(STREAM, stream.encode()) == stream
    sorted_set = SortedSetMeta(slot, version, count, floor, ceiling, was_large=large)
    assert decode_meta(SORTED_SET, sorted_set.encode()) == sorted_set


@given(
    st.sampled_from(sorted(TYPE_NAMES)),
    st.one_of(st.binary(max_size=90), st.binary(max_size=80).map(_value(HEAD).__add__)),
)
def test_any_bytes(tag: int, value: bytes) -> None:
    try:
        meta = decode_meta(tag, value)
    except (CorruptionError, FormatVersionError):
        return
    assert meta.encode() == value
