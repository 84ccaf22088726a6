"""The encoders by tables."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import pytest

from flin.errors import CommandError
from flin.net.wire.replies import NULL_ARRAY, OK, Reply, Verbatim
from flin.net.wire.resp import encode2, encode3, encode_bulks, encode_error, format_float

VALUES: list[tuple[Any, bytes, bytes]] = [
    (OK, b"+OK\r\n", b"+OK\r\n"),
    (Reply(b":7\r\n"), b":7\r\n", b":7\r\n"),
    (b"abc", b"$3\r\nabc\r\n", b"$3\r\nabc\r\n"),
    (b"", b"$0\r\n\r\n", b"$0\r\n\r\n"),
    (-5, b":-5\r\n", b":-5\r\n"),
    ("simple", b"+simple\r\n", b"+simple\r\n"),
    (None, b"$-1\r\n", b"_\r\n"),
    (NULL_ARRAY, b"*-1\r\n", b"_\r\n"),
    (True, b":1\r\n", b"#t\r\n"),
    (False, b":0\r\n", b"#f\r\n"),
    (1.5, b"$3\r\n1.5\r\n", b",1.5\r\n"),
    (math.inf, b"$3\r\ninf\r\n", b",inf\r\n"),
    (Verbatim(b"text"), b"$4\r\ntext\r\n", b"=8\r\ntxt:text\r\n"),
    ([b"a", [1, None]], b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n", b"*2\r\n$1\r\na\r\n*2\r\n:1\r\n_\r\n"),
    ((), b"*0\r\n", b"*0\r\n"),
    ({b"k": 1}, b"*2\r\n$1\r\nk\r\n:1\r\n", b"%1\r\n$1\r\nk\r\n:1\r\n"),
    ({b"k"}, b"*1\r\n$1\r\nk\r\n", b"~1\r\n$1\r\nk\r\n"),
    ([CommandError("ERR no")], b"*1\r\n-ERR no\r\n", b"*1\r\n-ERR no\r\n"),
]


# Without addresses: all workers of pytest-xdist must find the same names.
@pytest.mark.parametrize(
    ("value", "resp2", "resp3"), VALUES, ids=[repr(row[0]).partition(" at 0x")[0] for row in VALUES]
)
def test_encoding(value: Any, resp2: bytes, resp3: bytes) -> None:
    assert encode2(value) == resp2
    assert encode3(value) == resp3


def test_an_error_stays_one_line() -> None:
    assert encode_error("ERR a\r\n+OK\r\n\u1234") == b"-ERR a  +OK  ?\r\n"


def test_floats_are_those_of_redis() -> None:
    assert [format_float(value) for value in (1.0, 0.1, -3.5, 1e20, -math.inf)] == [
        b"1",
        b"0.10000000000000001",
        b"-3.5",
        b"1e+20",
        b"-inf",
    ]


@pytest.mark.parametrize(
    "values",
    [
        [],
        [b""],
        [b"a"] * 9,
        [b"a", b"", b"\r\n", b"x" * 4096],
        [b"a", b"x" * 4097, b""],
        {b"a", b"bc", b"def", b"ghij"},
    ],
    ids=["none", "an empty one", "alike", "up to the table's end", "longer", "a set"],
)
def test_bulks_are_those_of_each_value(values: Collection[bytes]) -> None:
    assert encode_bulks(values) == b"".join(map(encode2, values))
    assert encode2(list(values)) == b"*%d\r\n" % len(values) + encode_bulks(values)
    assert encode3(list(values)) == encode2(list(values))


def test_values_of_several_kinds_among_bytes() -> None:
    assert encode2([b"a", b"b", b"c", None, 1]) == b"*5\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$-1\r\n:1\r\n"
    assert encode3({b"a": b"b", b"c": b"d"}) == b"%2\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n"
