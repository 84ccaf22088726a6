"""Scores: their ordered bytes, their texts, and ranges; the last two as a real redis-server takes and gives them."""

from __future__ import annotations

import math
import random
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flin.errors import ConflictError, CorruptionError
from flin.objects.score import (
    LexRange,
    ScoreRange,
    decode_score,
    encode_score,
    maybe_parse_score,
    parse_lex_range,
    parse_score_range,
    score_text,
    small_score_text,
)
from tests.net.raw_client import RawClient

INF = math.inf
FLOATS = st.floats(allow_nan=False)


@pytest.mark.parametrize(
    ("score", "ordered"),
    [
        (-INF, "000fffffffffffff"),
        (-1.5, "4007ffffffffffff"),
        (-5e-324, "7ffffffffffffffe"),
        (0.0, "8000000000000000"),
        (5e-324, "8000000000000001"),
        (1.0, "bff0000000000000"),
        (INF, "fff0000000000000"),
    ],
)
def test_ordered_table(score: float, ordered: str) -> None:
    assert encode_score(score).hex() == ordered
    assert decode_score(bytes.fromhex(ordered)) == score


def test_one_zero_and_no_nan() -> None:
    assert encode_score(-0.0) == encode_score(0.0)
    assert math.copysign(1, decode_score(encode_score(-0.0))) == 1
    with pytest.raises(ConflictError):
        encode_score(math.nan)


@given(FLOATS, FLOATS)
def test_ordered_bytes_sort_as_scores(one: float, other: float) -> None:
    assert (encode_score(one) < encode_score(other)) == (one < other)
    assert (encode_score(one) == encode_score(other)) == (one == other)


@given(st.one_of(st.binary(max_size=9), st.binary(min_size=8, max_size=8)))
@example(b"\x7f" + b"\xff" * 7)  # it would be -0
@example(b"\xff" * 8)
@example(bytes(8))
def test_any_bytes(data: bytes) -> None:
    try:
        score = decode_score(data)
    except CorruptionError:
        return
    assert encode_score(score) == data


# Texts.

TEXTS = [
    *b"nan NaN -nan nan(1) inf +inf -Infinity INFINITY infinit in +-1 --1 1.2.3 1,5 _1 1_0 1e 1e5 1E+5 1e- e5".split(),
    *b"0x1p3 0X1P-3 0x 0x1p 0x.8 0x8. 0xg -0x1 0x1p5000 0x1p-5000 0x0p9999 0x1p-1074 0x1p-1075 0x1.8p1".split(),
    *b"1e400 -1e400 1e-400 -1e-400 1e-320 4.9e-324 2e-324 0e-999 0e999 0.000e-400 1e308 1.8e308 0.1".split(),
    *b"1 +5 -0 +0 00 007 1. .5 . - + -. 123456789012345 1234567890123456 9007199254740993".split(),
    *b"17976931348623157000000000000000000000000000000000000000000 3.141592653589793238462643383".split(),
    *(b"", b" 1", b"1 ", b"\t1", b"\v\f\r\n1", b" ", b"1\0", b"1\0x", b"\0", b"\xd9\xa3", b"(1", b"((1", b"0" * 400),
    *(b"1" + b"0" * 308, b"1" + b"0" * 309, b"0." + b"0" * 330 + b"1", b"9" * 5000),
]

SCORES = [0.0, 3.0, -3.0, 0.1, 1e15, 1e16, 1e17, -1e17, 123456789012345678.0, 2.0**53, 4e18, 2.0**62, 5e18, 1e20]
SCORES += [-5e18, 1.5e300, 1e-7, 5e-324, 1.7976931348623157e308, 100.25, INF, -INF, 1 / 3, 2.0**62 + 1024]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text)[:40])
def test_texts_as_redis_reads_them(redis: RawClient, text: bytes) -> None:
    redis.call(b"DEL", b"z")
    added = redis.call(b"ZADD", b"z", text, b"m")
    score = maybe_parse_score(text)
    assert added.is_error == (score is None)
    if score is not None:
        assert redis.call(b"ZSCORE", b"z", b"m").payload == score_text(score)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text)[:40])
@pytest.mark.parametrize("prefix", [b"", b"("])
def test_ends_of_ranges_as_redis_reads_them(redis: RawClient, text: bytes, prefix: bytes) -> None:
    redis.call(b"DEL", b"z")
    redis.call(b"ZADD", b"z", *(part for score in SCORES for part in (score_text(score), score_text(score))))
    counted = redis.call(b"ZCOUNT", b"z", prefix + text, b"+inf")
    try:
        found = parse_score_range(prefix + text, b"+inf")
    except ConflictError:
        assert counted.is_error
        return
    assert counted.payload == b"%d" % sum(score in found for score in SCORES)


def test_scores_as_redis_writes_them(redis: RawClient) -> None:
    chance = random.Random(7)
    scores = SCORES + [struct.unpack("<d", chance.randbytes(8))[0] for _ in range(200)]
    scores += [chance.randrange(-(10**18), 10**18) / 10 ** chance.randrange(20) for _ in range(200)]
    for score in scores:
        if score == score:
            redis.call(b"DEL", b"z")
            redis.call(b"ZADD", b"z", repr(score).encode(), b"m")
            assert redis.call(b"ZSCORE", b"z", b"m").payload == score_text(score)
            assert redis.call(b"ZSCAN", b"z", b"0").items[1].items[1].payload == small_score_text(score)


@given(FLOATS)
def test_a_text_is_the_score_again(score: float) -> None:
    again = maybe_parse_score(score_text(score))
    assert again == score
    assert again is not None
    assert math.copysign(1, again + 0.0) == math.copysign(1, score + 0.0)


# Ranges.


@given(st.lists(FLOATS, min_size=3, max_size=3), st.booleans(), st.booleans(), st.binary(max_size=2))
@example([INF, -INF, INF], True, True, b"")
@example([-INF, -INF, INF], True, True, b"\xff\xff")
@example([0.0, -0.0, 0.0], False, False, b"")
def test_bounds_of_a_score_range(scores: list[float], low_is_open: bool, high_is_open: bool, member: bytes) -> None:
    score, low, high = scores
    range_ = ScoreRange(low, high, low_is_open, high_is_open)
    start, stop = range_.bounds()
    assert (start <= encode_score(score) + member < stop) == (score in range_)
    assert (score in range_) == (
        (low < score or (low == score and not low_is_open)) and (score < high or (score == high and not high_is_open))
    )
    assert range_.is_empty == (start >= stop)


def test_score_ranges() -> None:
    assert parse_score_range(b"(1.5", b"+inf") == ScoreRange(1.5, INF, True, False)
    assert parse_score_range(b"-inf", b"(inf") == ScoreRange(-INF, INF, False, True)
    for pair in [(b"a", b"1"), (b"1", b"a"), (b"nan", b"1"), (b"1", b"((1")]:
        with pytest.raises(ConflictError):
            parse_score_range(*pair)


ENDS = [b"-", b"+", b"[", b"(", b"[a", b"(a", b"[b", b"(b", b"[ab", b"(\xff", b"[a\0", b"-\0x", b"+\0", b"-x", b"+x"]
ENDS += [b"", b"a", b"\0", b"[b\0", b"]a"]
MEMBERS = [b"", b"\0", b"a", b"a\0", b"a\0\0", b"ab", b"b", b"b\0", b"c", b"\xfe", b"\xff", b"\xff\xff"]


def test_lex_ranges_as_redis_reads_them(redis: RawClient) -> None:
    redis.call(b"DEL", b"z")
    redis.call(b"ZADD", b"z", *(part for member in MEMBERS for part in (b"0", member)))
    for low in ENDS:
        for high in ENDS:
            listed = redis.call(b"ZRANGEBYLEX", b"z", low, high)
            try:
                found = parse_lex_range(low, high)
            except ConflictError:
                assert listed.is_error, (low, high)
                continue
            assert [item.payload for item in listed.items] == [member for member in MEMBERS if member in found]
            assert not listed.is_error
            assert not (found.is_empty and listed.items)


def test_lex_bounds() -> None:
    assert parse_lex_range(b"[a", b"(b") == LexRange(b"a", b"b")
    assert parse_lex_range(b"(a", b"[b") == LexRange(b"a\0", b"b\0")
    assert parse_lex_range(b"-", b"+") == LexRange(b"", None)
    assert parse_lex_range(b"+", b"-") == LexRange(None, b"")
    assert parse_lex_range(b"+", b"+").is_empty
    assert parse_lex_range(b"[b", b"(a").is_empty
    assert b"a" not in parse_lex_range(b"-", b"-")
