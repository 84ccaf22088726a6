"""The guarded parser against the pure-Python one, and the encoders by tables."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flin.errors import CommandError, ProtocolError
from flin.net.replies import NULL_ARRAY, OK, Reply, Verbatim
from flin.net.resp import RequestParser, encode2, encode3, encode_error, format_float
from flin.net.resp_python import PythonParser

# Pieces whose joins are requests, nearly requests and attacks: what a guard could mistake.
PIECES = [
    *(b"*1\r\n", b"*2\r\n", b"*3\r\n", b"*0\r\n", b"*-1\r\n", b"*1\r", b"*", b"*1x\r\n", b"*01\r\n", b"*9999999\r\n"),
    *(b"$0\r\n", b"$1\r\n", b"$2\r\n", b"$4\r\n", b"$-1\r\n", b"$", b"$4\r", b"$05\r\n"),
    *(b"\r\n", b"\r", b"\n", b"PING\r\n", b"a\r\n", b"ab\r\n", b"*\r\n", b"$4\r\n", b"*1\r\n$4\r\nPING\r\n"),
    *(b"+OK\r\n", b"-ERR x\r\n", b":5\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n", b"(12\r\n", b"=5\r\ntxt:a\r\n"),
    *(b"~1\r\n", b"%1\r\n", b">1\r\n", b"|1\r\n", b"!3\r\nERR\r\n", b"SET a b\r\n", b'"', b"\x16", b"xy", b"+a\r\n"),
    b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\n*1\r\n$\r\n",
]


@settings(max_examples=1000)
@given(st.lists(st.sampled_from(PIECES), max_size=12), st.lists(st.integers(0, 80), max_size=4))
@example([b"*2\r\n", b"$2\r\n", b"$4\r\n", b"+OK\r\n"], [])
@example([b"*2\r\n", b"$4\r\n", b"PING\r\n", b"*1\r\n", b"$1\r\n", b"a\r\n"], [])
@example([b"*1\r\n", b"$4\r\n", b"PING\r\n", b">1\r\n", b"$2\r\n", b"*a\r\n"], [])
@example([b"*1\r\n$4\r\nPING\r\n", b"*"], [15])
def test_same_requests_for_any_cutting(pieces: list[bytes], cuts: list[int]) -> None:
    assert_same(b"".join(pieces), cuts)


@given(st.lists(st.lists(st.binary(max_size=30), min_size=1, max_size=5), max_size=8), st.lists(st.integers(0, 300)))
def test_whole_requests_for_any_cutting(requests: list[list[bytes]], cuts: list[int]) -> None:
    wire = b"".join(b"*%d\r\n" % len(r) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in r) for r in requests)
    assert assert_same(wire, cuts) == requests


def assert_same(wire: bytes, cuts: list[int]) -> list[list[bytes]]:
    """The guarded parser gives what the pure-Python one gives for the whole; what that is."""
    oracle = PythonParser()
    expected = oracle.feed(wire)
    parser = RequestParser()
    found: list[list[bytes]] = []
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    for start, stop in pairwise(edges):
        found += parser.feed(wire[start:stop])
    assert found == expected
    assert str(parser.error) == str(oracle.error)
    if oracle.error is None:
        assert (parser.buffered_bytes == 0) == oracle.is_empty or parser.buffered_bytes == oracle.buffered_bytes
    return found


def test_a_long_pipeline_stays_with_the_fast_parser() -> None:
    request = b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000001\r\n"
    wire = request * 1000
    parser = RequestParser()
    found = []
    for start in range(0, len(wire), 1000):
        found += parser.feed(wire[start : start + 1000])
        assert not parser.has_more, "no chunk of an ordinary pipeline goes to the pure-Python parser"
    assert found == [[b"GET", b"key:000000000001"]] * 1000


def test_a_large_bulk_in_many_chunks() -> None:
    value = bytes(range(256)) * 2000
    wire = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$%d\r\n%b\r\n" % (len(value), value)
    parser = RequestParser()
    found = []
    for start in range(0, len(wire), 4096):
        found += parser.feed(wire[start : start + 4096])
    assert found == [[b"SET", b"a", value]]
    assert parser.buffered_bytes == 0


def test_limits_until_trusted() -> None:
    parser = RequestParser(is_trusted=False)
    assert parser.feed(b"*1\r\n$4\r\nAUTH\r\n*2\r\n$4\r\nECHO\r\n$20000\r\n") == [[b"AUTH"]]
    assert parser.has_more
    parser.trust()
    assert parser.feed(b"x" * 20_000 + b"\r\n") == [[b"ECHO", b"x" * 20_000]]
    parser.trust(False)
    assert parser.feed(b"*1\r\n$20000\r\n") == []
    assert isinstance(parser.error, ProtocolError)


def test_trust_taken_back_within_a_request() -> None:
    parser = RequestParser()
    assert parser.feed(b"*1\r\n$5\r\nRESET\r\n*1\r\n$4\r\nPI") == [[b"RESET"]]
    parser.trust(False)
    assert parser.feed(b"NG\r\n") == [[b"PING"]]


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


def test_floats_are_short() -> None:
    assert [format_float(value) for value in (1.0, 0.1, -3.5, 1e300, -math.inf)] == [
        b"1",
        b"0.1",
        b"-3.5",
        b"1e+300",
        b"-inf",
    ]


def test_without_hiredis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flin.net.resp.hiredis", None)
    parser = RequestParser()
    assert parser.feed(b"*1\r\n$4\r\nPING\r\nPI") == [[b"PING"]]
    assert parser.feed(b"NG\r\n*1\r\n$4\r\nQUIT\r\n") == [[b"PING"], [b"QUIT"]]
    parser.trust(False)
    assert parser.feed(b"a b\r\nc\r\n") == [[b"a", b"b"]]
    assert parser.has_more
