"""CRC-64 against its definition, bit by bit."""

from __future__ import annotations

import random
from functools import reduce
from operator import xor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.rdb.crc64 import CHUNK_BYTES, HIGH, LOW, crc64

JONES = 0xAD93D23594C935A9


def plain(data: bytes) -> int:
    """The remainder of the message, as a polynomial, times x^64; of bytes and result the lowest bit comes first."""
    remainder = 0
    for byte in data:
        for place in range(8):
            carry = remainder >> 63 ^ byte >> place & 1
            remainder = (remainder << 1 & (1 << 64) - 1) ^ (JONES if carry else 0)
    return int(f"{remainder:064b}"[::-1], 2)


def test_the_check_value() -> None:
    assert crc64(b"123456789") == 0xE9C6D914C4B8D9CA


def test_nothing() -> None:
    assert crc64(b"") == 0
    assert crc64(b"", 5) == 5


@pytest.mark.parametrize(
    "size", [*range(1, 20), 63, 64, 65, 415, 416, 417, 418, 419, 571, 572, 1000, 3000, 5000, 20_000]
)
def test_every_size(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert crc64(data) == plain(data)


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_it_goes_on(first: bytes, second: bytes) -> None:
    assert crc64(second, crc64(first)) == crc64(first + second) == plain(first + second)


def test_what_folding_rests_on() -> None:
    power, powers = 1, []
    for _ in range(HIGH + 1):
        powers.append(power)
        power = (power << 1) & (1 << 64) - 1 ^ (JONES if power >> 63 else 0)
    assert reduce(xor, (powers[low] for low in LOW)) == powers[HIGH]


@given(st.integers(400, 3000), st.randoms(use_true_random=False), st.integers(0, (1 << 64) - 1))
def test_folded(size: int, source: random.Random, crc: int) -> None:
    """The same as piece by piece, which is not folded."""
    data = source.randbytes(size)
    expected = crc
    for start in range(0, size, 300):
        expected = crc64(data[start : start + 300], expected)
    assert crc64(data, crc) == crc64(memoryview(data), crc) == expected


@pytest.mark.parametrize("size", [CHUNK_BYTES, CHUNK_BYTES + 5, 2 * CHUNK_BYTES + 1000])
def test_more_than_is_folded_at_once(size: int) -> None:
    data = random.Random(size).randbytes(size)
    expected = 0
    for start in range(0, size, 300):
        expected = crc64(data[start : start + 300], expected)
    assert crc64(data) == expected
