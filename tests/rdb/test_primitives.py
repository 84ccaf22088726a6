"""Lengths, strings and numbers: every width both ways."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.errors import LimitError, PayloadError
from flin.rdb import primitives
from flin.rdb.primitives import Reader, score
from tests.rdb.samples import LONG, LZF_LONG

LENGTHS = {
    0: b"\x00",
    63: b"\x3f",
    64: b"\x40\x40",
    16383: b"\x7f\xff",
    16384: b"\x80\x00\x00\x40\x00",
    (1 << 32) - 1: b"\x80\xff\xff\xff\xff",
    1 << 32: b"\x81\x00\x00\x00\x01\x00\x00\x00\x00",
    (1 << 64) - 1: b"\x81" + b"\xff" * 8,
}


def reader(data: bytes, most_bytes: int = 0) -> Reader:
    return Reader(data, most_bytes)


@pytest.mark.parametrize("number", LENGTHS)
def test_length(number: int) -> None:
    assert primitives.length(number) == LENGTHS[number]
    source = reader(LENGTHS[number])
    assert source.length() == number
    source.end()


@pytest.mark.parametrize("data", [b"", b"\x40", b"\x80\0\0\0", b"\x81" + bytes(7), b"\x82", b"\xbf", b"\xc0\x05"])
def test_no_length(data: bytes) -> None:
    with pytest.raises(PayloadError, match="bad payload at offset"):
        reader(data).length()


STRINGS = {
    b"": b"\x00",
    b"a": b"\x01a",
    b"0": b"\xc0\x00",
    b"-128": b"\xc0\x80",
    b"127": b"\xc0\x7f",
    b"128": b"\xc1\x80\x00",
    b"-32768": b"\xc1\x00\x80",
    b"32768": b"\xc2\x00\x80\x00\x00",
    b"-2147483648": b"\xc2\x00\x00\x00\x80",
    b"2147483648": b"\x0a2147483648",
    b"-0": b"\x02-0",
    b"007": b"\x03007",
    b"+7": b"\x02+7",
    b"-": b"\x01-",
    b"--1": b"\x03--1",
    b"1-1": b"\x031-1",
    b"x1": b"\x02x1",
    "\u0661".encode(): b"\x02\xd9\xa1",  # a digit, but not of ASCII
    b"x" * 63: b"\x3f" + b"x" * 63,
    b"x" * 64: b"\x40\x40" + b"x" * 64,
    b"x" * 16384: b"\x80\x00\x00\x40\x00" + b"x" * 16384,
}


@pytest.mark.parametrize("text", STRINGS, ids=lambda text: repr(text)[:12])
def test_string(text: bytes) -> None:
    data = STRINGS[text]
    assert primitives.string(text) == data
    source = reader(data * 2)
    assert source.string() == text
    assert source.strings(1) == [text]
    source.end()


def test_compressed() -> None:
    assert reader(LZF_LONG, len(LONG)).string() == LONG


def test_what_is_decompressed_is_bounded_by_what_was_claimed_in_all() -> None:
    with pytest.raises(LimitError, match="a decompressed value is 200, the maximum is 199"):
        reader(LZF_LONG * 2, 199).strings(2)
    with pytest.raises(LimitError):
        reader(b"\xc3\x01\x81" + b"\xff" * 8 + b"a", 1 << 62).string()


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x3fa", b"\xc0", b"\xc1\x00", b"\xc3", b"\xc3\x05\x05a", b"\xc4"])
def test_no_string(data: bytes) -> None:
    with pytest.raises(PayloadError):
        reader(data, 99).string()
    with pytest.raises(PayloadError):
        reader(b"\x01a" + data, 99).strings(2)


def test_a_count_is_at_most_the_bytes_that_are_left() -> None:
    assert reader(b"\x02ab").count() == 2
    with pytest.raises(PayloadError, match="3 elements claimed, 2 bytes left"):
        reader(b"\x03ab").count()
    with pytest.raises(PayloadError):
        reader(b"\x81" + b"\xff" * 8).count()
    with pytest.raises(PayloadError):
        reader(b"\x00").count(least=1)


def test_what_follows_is_an_error() -> None:
    with pytest.raises(PayloadError, match="2 bytes follow the value"):
        reader(b"ab").end()


def test_ids() -> None:
    pair = (1 << 63, 5)
    assert primitives.raw_id(pair) == b"\x80" + bytes(14) + b"\x05"
    assert reader(primitives.raw_id(pair)).raw_id() == pair
    assert reader(primitives.stream_id(pair)).id() == pair
    assert reader(primitives.milliseconds(-5)).milliseconds() == -5


@pytest.mark.parametrize("number", [0.0, -0.0, 1.5, -1e300, math.inf, -math.inf, 5e-324])
def test_double(number: float) -> None:
    members, (found,) = reader(b"\x01a" + primitives.double(number)).scored(1)
    assert members == [b"a"]
    assert (found, math.copysign(1, found)) == (number, math.copysign(1, number))


def test_scored_cut_off() -> None:
    data = (b"\x01a" + primitives.double(1.5) + b"\xc0\x07" + primitives.double(2.5)) * 2
    assert reader(data).scored(4) == ([b"a", b"7"] * 2, (1.5, 2.5, 1.5, 2.5))
    for size in range(len(data)):
        with pytest.raises(PayloadError):
            reader(data[:size]).scored(4)


OLD = {b"\xff": -math.inf, b"\xfe": math.inf, b"\x011": 1.0, b"\x08-1.5e+20": -1.5e20, b"\x051e400": math.inf}


@pytest.mark.parametrize("data", OLD)
def test_old_double(data: bytes) -> None:
    assert reader(data).old_double() == OLD[data]


def test_old_nan() -> None:
    assert math.isnan(reader(b"\xfd").old_double())


GOOD_SCORES = {
    b"17": 17.0,
    b"-0": 0.0,
    b"0.10000000000000001": 0.1,
    b"1e+20": 1e20,
    b"inf": math.inf,
    b"-INF": -math.inf,
}


@pytest.mark.parametrize("text", GOOD_SCORES)
def test_score(text: bytes) -> None:
    assert score(text) == GOOD_SCORES[text]


@pytest.mark.parametrize(
    "text", [b"", b"nan", b"1_0", b" 1", b"1 ", b"0x10", b"1e", b".", b"one", b"1" * 129, b"infinit"]
)
def test_no_score(text: bytes) -> None:
    with pytest.raises(PayloadError, match="is no number"):
        score(text)


@given(st.lists(st.one_of(st.binary(max_size=70), st.integers(-(1 << 33), 1 << 33).map(b"%d".__mod__))))
def test_round_trip(texts: list[bytes]) -> None:
    source = reader(b"".join(map(primitives.string, texts)))
    assert source.strings(len(texts)) == texts
    source.end()
