"""Zipmaps with short, long and unused bytes, and none that does not add up."""

from __future__ import annotations

from contextlib import suppress
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.errors import PayloadError
from flin.rdb.zipmap import decode
from tests.rdb.samples import MOST_BYTES, zipmap

GOOD = {
    b"\x00\xff": [],
    b"\x01\x01a\x02\x00bc\xff": [b"a", b"bc"],
    b"\x01\x01a\x02\x03bc\xff\xff\xff\xff": [b"a", b"bc"],
    b"\xfe\x00\x00\x00\xff": [b"", b""],
    b"\x01\xfe\x01\0\0\0a\xfe\x01\0\0\0\x00b\xff": [b"a", b"b"],
}


@pytest.mark.parametrize("data", GOOD)
def test_decode(data: bytes) -> None:
    assert decode(data, MOST_BYTES) == GOOD[data]


BAD = {
    "nothing": b"",
    "only an end": b"\xff",
    "no end": b"\x00\x00",
    "too few": b"\x02\x01a\x02\x00bc\xff",
    "too many": b"\x00\x01a\x02\x00bc\xff",
    "a field alone": b"\x01\x01a\xff",
    "a field beyond the end": b"\x01\x09a\xff",
    "a value that takes the end": b"\x01\x01a\x03\x00bc\xff",
    "unused bytes beyond the end": b"\x01\x01a\x02\x09bc\xff",
    "a long length cut off": b"\x01\x01a\xfe\x00\xff",
    "no unused count": b"\x01\x01a\x00\xff",
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    with pytest.raises(PayloadError, match="bad zipmap"):
        decode(BAD[name], MOST_BYTES)


TEXT = st.binary(max_size=300)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=300), st.integers(0, 255))
def test_round_trip(fields: list[tuple[bytes, bytes]], free: int) -> None:
    assert decode(zipmap(fields, free), MOST_BYTES) == list(chain.from_iterable(fields))


@given(st.binary(max_size=40))
def test_any_bytes(data: bytes) -> None:
    for candidate in (data, data + b"\xff"):
        with suppress(PayloadError):
            assert len(decode(candidate, MOST_BYTES)) % 2 == 0
