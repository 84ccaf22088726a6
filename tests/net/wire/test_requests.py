"""Bytes into requests: a recogniser gives whole requests or no opinion; all together what the pure parser gives."""

from __future__ import annotations

from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from flin.errors import ProtocolError
from flin.net.wire import requests as requests_module
from flin.net.wire.columns import maybe_columns
from flin.net.wire.requests import LONG_REQUEST_BYTES, Guarded, RequestParser, maybe_single
from flin.net.wire.resp import encode_requests
from flin.net.wire.resp_python import TRUSTED, PythonParser

# Pieces that make requests, near-requests and attacks: what a guard could mistake.
PIECES = [
    *(b"*1\r\n", b"*2\r\n", b"*3\r\n", b"*0\r\n", b"*-1\r\n", b"*1\r", b"*", b"*1x\r\n", b"*01\r\n", b"*9999999\r\n"),
    *(b"$0\r\n", b"$1\r\n", b"$2\r\n", b"$4\r\n", b"$-1\r\n", b"$", b"$4\r", b"$05\r\n"),
    *(b"\r\n", b"\r", b"\n", b"PING\r\n", b"a\r\n", b"ab\r\n", b"*\r\n", b"$4\r\n", b"*1\r\n$4\r\nPING\r\n"),
    *(b"+OK\r\n", b"-ERR x\r\n", b":5\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n", b"(12\r\n", b"=5\r\ntxt:a\r\n"),
    *(b"~1\r\n", b"%1\r\n", b">1\r\n", b"|1\r\n", b"!3\r\nERR\r\n", b"SET a b\r\n", b'"', b"\x16", b"xy", b"+a\r\n"),
    b"*3\r\n$4\r\nXADD\r\n$1\r\na\r\n$1\r\n*\r\n",
    b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\n*1\r\n$\r\n",
]


@settings(max_examples=400)
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
    """Check that the guarded parser gives the same as the pure-Python one for the whole. Returns the requests."""
    oracle = PythonParser()
    expected = oracle.feed(wire)
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    for long_request_bytes in (LONG_REQUEST_BYTES, 0):
        parser = RequestParser()
        with patch.object(requests_module, "LONG_REQUEST_BYTES", long_request_bytes):
            found = [request for start, stop in pairwise(edges) for request in parser.feed(wire[start:stop])]
        assert found == expected
        assert str(parser.error) == str(oracle.error)
        if oracle.error is None:
            assert (parser.buffered_bytes == 0) == oracle.is_empty or parser.buffered_bytes == oracle.buffered_bytes
    return expected


@pytest.mark.parametrize("request_", [[b"GET", b"key:000000000001"], [b"XADD", b"stream", b"*", b"field", b"**"]])
@pytest.mark.parametrize("long_request_bytes", [LONG_REQUEST_BYTES, 0])
def test_a_long_pipeline_stays_with_the_fast_parser(
    request_: list[bytes], long_request_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests_module, "LONG_REQUEST_BYTES", long_request_bytes)
    wire = encode_requests([request_] * 1000)
    parser = RequestParser()
    found = []
    for start in range(0, len(wire), 1000):
        found += parser.feed(wire[start : start + 1000])
        assert parser.incremental is None, "no chunk of an ordinary pipeline goes to the pure-Python parser"
    assert found == [request_] * 1000


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


@settings(max_examples=400)
@given(st.lists(st.sampled_from(PIECES), max_size=8))
@example([PIECES[-2]])
@example([PIECES[-2]] * 5)
@example([PIECES[-2], PIECES[-1], b"*2\r\n", b"$4\r\n"])
def test_a_recogniser_gives_whole_requests_or_no_opinion(pieces: list[bytes]) -> None:
    wire = b"".join(pieces)
    oracle = PythonParser()
    expected = oracle.feed(wire)
    is_whole = oracle.is_empty and oracle.error is None
    single = maybe_single(wire)
    if single is not None:
        assert is_whole
        assert single == expected
    alike = maybe_columns(wire, 256)
    if alike is not None:
        assert is_whole
        assert [[alike[0], *row] for row in zip(*alike[1], strict=True)] == expected
    for long_request_bytes in (LONG_REQUEST_BYTES, 0):
        guarded = Guarded(TRUSTED)
        with patch.object(requests_module, "LONG_REQUEST_BYTES", long_request_bytes):
            requests = guarded.recognise(wire)
        if requests is not None:
            assert requests == expected
            assert oracle.error is None
            assert encode_requests(requests) + guarded.carried == wire
            assert (guarded.carried == b"") == is_whole
        else:
            assert guarded.carried == b""


def test_what_is_carried_is_no_beginning() -> None:
    """The rest of a cut request may look like a whole one: then the cheap recognisers are not asked."""
    inner = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"
    wire = b"*2\r\n$4\r\nECHO\r\n$%d\r\n%b\r\n" % (len(inner), inner)
    cut = wire.index(inner)
    parser = RequestParser()
    assert parser.feed(wire[:cut]) == []
    assert parser.feed(wire[cut : cut + len(inner)]) == []
    assert parser.feed(b"\r\n") == [[b"ECHO", inner]]
    assert parser.feed(inner) == [[b"GET", b"a"]]
    assert parser.incremental is None


def test_without_hiredis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flin.net.wire.requests.hiredis", None)
    parser = RequestParser()
    assert parser.feed(b"*1\r\n$4\r\nPING\r\nPI") == [[b"PING"]]
    assert parser.feed(b"NG\r\n*1\r\n$4\r\nQUIT\r\n") == [[b"PING"], [b"QUIT"]]
    parser.trust(False)
    assert parser.feed(b"a b\r\nc\r\n") == [[b"a", b"b"]]
    assert parser.has_more
