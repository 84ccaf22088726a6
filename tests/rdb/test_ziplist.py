"""Ziplists of every width, and none that does not add up."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.errors import PayloadError
from flin.rdb.listpack import texts
from flin.rdb.ziplist import decode
from tests.rdb.samples import MOST_BYTES, ziplist

TABLE: list[tuple[bytes, bytes]] = [
    (b"\x00", b""),
    (b"\x02ab", b"ab"),
    (b"\x3f" + b"x" * 63, b"x" * 63),
    (b"\x40\x40" + b"x" * 64, b"x" * 64),
    (b"\x80\x00\x00\x00\x02ab", b"ab"),
    (b"\xbf\x00\x00\x00\x02ab", b"ab"),  # the lower bits say nothing
    (b"\xf1", b"0"),
    (b"\xfd", b"12"),
    (b"\xfe\x80", b"-128"),
    (b"\xc0\x00\x80", b"-32768"),
    (b"\xf0\x00\x00\x80", b"-8388608"),
    (b"\xd0\x00\x00\x00\x80", b"-2147483648"),
    (b"\xe0\x00\x00\x00\x00\x00\x00\x00\x80", b"-9223372036854775808"),
]


def whole(body: bytes, tail: int, count: int) -> bytes:
    return b"".join(
        [(len(body) + 11).to_bytes(4, "little"), tail.to_bytes(4, "little"), count.to_bytes(2, "little"), body, b"\xff"]
    )


@pytest.mark.parametrize(("data", "entry"), TABLE, ids=lambda x: repr(x)[:12])
def test_entry(data: bytes, entry: bytes) -> None:
    assert decode(whole(b"\x00" + data, 10, 1), MOST_BYTES) == [entry]
    first = b"\x00" + data
    assert decode(whole(first + bytes([len(first)]) + b"\xf1", 10 + len(first), 2), MOST_BYTES) == [entry, b"0"]


def test_empty() -> None:
    assert decode(whole(b"", 10, 0), MOST_BYTES) == []


def test_a_length_before_may_be_long_though_it_is_small() -> None:
    assert decode(whole(b"\x00\xf1\xfe\x02\0\0\0\xf2", 12, 2), MOST_BYTES) == [b"0", b"1"]


def test_more_entries_than_the_count_can_say() -> None:
    assert decode(ziplist([5] * 65535), MOST_BYTES) == [b"5"] * 65535


BAD = {
    "nothing": b"",
    "no end": whole(b"\x00\xf1", 10, 1)[:-1] + b"\xfe",
    "size": whole(b"\x00\xf1", 10, 1) + b"\xff",
    "tail": whole(b"\x00\xf1\x02\xf1", 10, 2),
    "tail of an empty one": whole(b"", 11, 0),
    "count": whole(b"\x00\xf1", 10, 2),
    "length before": whole(b"\x00\xf1\x03\xf1", 12, 2),
    "first has one before": whole(b"\x01\xf1", 10, 1),
    "long length before cut off": whole(b"\x00\xf1\xfe\x02", 12, 2),
    "end in place of a long length before": whole(b"\x00\xf1\xff\x02\0\0\0\xf2", 12, 2),
    "no kind": whole(b"\x00", 10, 1),
    "no such kind": whole(b"\x00\xc1\x00\x00", 10, 1),
    "end in the middle": whole(b"\x00\xff\x00", 10, 1),
    "string beyond the end": whole(b"\x00\x05abc", 10, 1),
    "string takes the end": whole(b"\x00\x04abc", 10, 1),
    "length of 32 bits cut off": whole(b"\x00\x80\x00\x00", 10, 1),
    "integer takes the end": whole(b"\x00\xc0\x01", 10, 1),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    with pytest.raises(PayloadError, match="bad ziplist"):
        decode(BAD[name], MOST_BYTES)


@given(st.lists(st.one_of(st.binary(max_size=300), st.integers(-(1 << 63), (1 << 63) - 1), st.integers(-9, 20))))
def test_round_trip(entries: list[bytes | int]) -> None:
    assert decode(ziplist(entries), MOST_BYTES) == texts(entries)


@given(st.binary(max_size=40), st.integers(0, 50), st.integers(0, 9))
def test_any_bytes(body: bytes, tail: int, count: int) -> None:
    for data in (body, whole(body, tail, count), whole(body, 10, 65535)):
        with suppress(PayloadError):
            decode(data, MOST_BYTES)
