"""Intsets of every width; none that is empty, unsorted or of another length."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.errors import PayloadError
from flin.rdb.intset import decode
from tests.rdb.samples import intset


@pytest.mark.parametrize("width", [2, 4, 8])
def test_decode(width: int) -> None:
    most = (1 << 8 * width - 1) - 1
    assert decode(intset(width, [-most - 1, -1, 0, most])) == (-most - 1, -1, 0, most)


BAD = {
    "nothing": b"",
    "header cut off": b"\x02\0\0\0\x01\0\0",
    "empty": intset(2, []),
    "no such width": intset(3, [1]),
    "count too large": b"\x02\0\0\0\xff\xff\xff\xff\x01\0",
    "count too small": intset(2, [1]) + b"\x02\0",
    "twice": intset(2, [1, 1]),
    "descending": intset(4, [1, -1]),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    with pytest.raises(PayloadError, match="bad intset"):
        decode(BAD[name])


@given(st.sets(st.integers(-(1 << 63), (1 << 63) - 1), min_size=1))
def test_round_trip(members: set[int]) -> None:
    assert decode(intset(8, sorted(members))) == tuple(sorted(members))


@given(st.binary(max_size=40))
def test_any_bytes(data: bytes) -> None:
    with suppress(PayloadError):
        decode(data)
