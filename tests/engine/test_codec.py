"""Codecs: every key comes back, in Python's own order; of any bytes a value is made or CodecError raised."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flin.engine.codec import key_codec, value_codec
from flin.errors import CodecError, LimitError

SMALL = st.sampled_from([b"", b"\0", b"\0\0", b"\0\1", b"\0\2", b"\1", b"a", b"a\0", b"a\0b", b"\xff", b"\xff\0"])
TEXTS = st.one_of(st.text(max_size=3), st.sampled_from(["", "\0", "\1", "a", "a\0", "ä", "\U0010ffff", "\uffff"]))
BIG = st.integers(-(2**1007), 2**1007)
INTS = st.one_of(st.integers(-300, 300), BIG, st.integers(0, 1000).map(lambda bits: (1 << bits) - 1))
FLOATS = st.floats(allow_nan=False)
MOMENTS = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]))
KINDS: dict[Any, st.SearchStrategy[Any]] = {
    bytes: st.one_of(SMALL, st.binary(max_size=4)),
    str: TEXTS,
    int: INTS,
    float: FLOATS,
    datetime: MOMENTS,
    UUID: st.uuids(),
    tuple[bytes, int]: st.tuples(SMALL, st.integers(-2, 300)),
    tuple[str, str]: st.tuples(TEXTS, TEXTS),
    tuple[bytes, ...]: st.lists(SMALL, max_size=3).map(tuple),
    tuple[tuple[bytes, float], bytes]: st.tuples(st.tuples(SMALL, FLOATS), SMALL),
    tuple[int, UUID, datetime]: st.tuples(st.integers(-2, 2), st.uuids(), MOMENTS),
}


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_keys_come_back_in_their_order(kind: Any) -> None:
    codec = key_codec(kind)

    @settings(max_examples=50)
    @given(first=KINDS[kind], second=KINDS[kind])
    def check(first: Any, second: Any) -> None:
        one, other = codec.encode(first), codec.encode(second)
        assert codec.decode(one) == first
        assert type(codec.decode(one)) is type(first)
        assert (one < other, one == other) == (first < second, first == second)

    check()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_any_bytes_are_a_key_or_an_error(kind: Any) -> None:
    codec = key_codec(kind)

    @settings(max_examples=50)
    @given(st.binary(max_size=20))
    def check(data: bytes) -> None:
        try:
            value = codec.decode(data)
        except CodecError:
            return
        if kind is not float and "float" not in str(kind):  # 0.0 has two encodings, of which only one is made
            assert codec.encode(value) == data or b"\0" in data, "what is stored once is one key"
        assert codec.decode(codec.encode(value)) == value

    check()


@given(begins=st.lists(SMALL, max_size=2), element=st.lists(SMALL, min_size=2, max_size=2))
def test_prefixes_of_tuples(begins: list[bytes], element: list[bytes]) -> None:
    codec: Any = key_codec(tuple[bytes, bytes])
    whole = codec.encode(tuple(element))
    assert whole.startswith(codec.encode_prefix(tuple(begins))) == (element[: len(begins)] == begins)
    assert (codec.encode_bound(tuple(begins)) <= whole) == (begins <= element)


def test_ends_of_ranges() -> None:
    codec = key_codec(int)
    most = 2 ** (126 * 8) - 1
    for value in (most, -most, 0, -1, 2**64):
        assert codec.decode(codec.encode(value)) == value
    for value in (most + 1, -most - 1):
        with pytest.raises(LimitError, match="the size of an int as a key, in bits, is 1009, the maximum is 1008"):
            codec.encode(value)
    assert [codec.encode(value) for value in (5, -1, 300)] == [b"\x81\x05", b"\x7f\xfe", b"\x82\x01\x2c"]
    assert key_codec(tuple[bytes, int]).encode((b"a", 5)) == b"a\0\1\x81\x05"
    assert key_codec(float).decode(key_codec(float).encode(-0.0)) == 0.0
    for moment in (datetime.min, datetime.max):
        codec = key_codec(datetime)
        assert codec.decode(codec.encode(moment.replace(tzinfo=UTC))) == moment.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (str, b"a"),
        (bytes, "a"),
        (int, 1.0),
        (int, "1"),
        (float, "1"),
        (datetime, 5),
        (UUID, "x"),
        (tuple[str, int], "ab"),
    ],
    ids=str,
)
def test_a_key_of_another_type(kind: Any, value: Any) -> None:
    with pytest.raises(TypeError, match="must be"):
        key_codec(kind).encode(value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (float, float("nan")),
        (datetime, datetime(2026, 1, 1)),
        (tuple[str, int], ("a",)),
        (tuple[int], (1, 2)),
        (str, "\ud800"),
    ],
    ids=str,
)
def test_a_key_without_an_encoding(kind: Any, value: Any) -> None:
    with pytest.raises(ValueError, match="NaN|time zone|must have|surrogates"):  # noqa: RUF043
        key_codec(kind).encode(value)


@pytest.mark.parametrize(
    "kind", [tuple, list, bool, tuple[()], tuple[list[int]], tuple[tuple[int, ...], int], "str", 5, dict]
)
def test_what_is_no_kind_of_key(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"cannot be of|is no key"):
        key_codec(kind)


VALUES: dict[Any, st.SearchStrategy[Any]] = {
    bytes: st.binary(max_size=9),
    str: TEXTS,
    int: INTS,
    float: st.floats(allow_nan=False),
    "json": st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), TEXTS), st.lists, max_leaves=5),
}


@pytest.mark.parametrize("kind", VALUES, ids=str)
def test_values_come_back(kind: Any) -> None:
    codec = value_codec(kind)

    @settings(max_examples=30)
    @given(VALUES[kind], st.binary(max_size=9))
    def check(value: Any, data: bytes) -> None:
        assert codec.decode(codec.encode(value)) == value
        try:
            codec.decode(data)
        except CodecError:
            return

    check()


def test_values_are_what_others_read() -> None:
    assert value_codec(int).encode(-5) == b"-5"
    assert value_codec(float).encode(2) == b"2.0"
    assert value_codec("json").encode({"ä": [1, None]}) == '{"ä":[1,null]}'.encode()
    for kind, value in ((int, 1.5), (float, "1"), (str, b""), (bytes, ""), ("json", {1j})):
        with pytest.raises(TypeError):
            value_codec(kind).encode(value)
    with pytest.raises(ValueError, match="JSON compliant"):
        value_codec("json").encode(float("nan"))
    for wrong in ("pickle", list, bool, 5):
        with pytest.raises(TypeError, match="values cannot be of"):
            value_codec(wrong)
