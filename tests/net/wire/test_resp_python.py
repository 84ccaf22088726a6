"""The pure-Python parser by tables, and under any cutting of the bytes."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flin.net.wire.resp import encode_requests
from flin.net.wire.resp_python import (
    ARGUMENT_OVERHEAD_BYTES,
    LINE_BYTES,
    UNTRUSTED,
    CrossProtocolError,
    PythonParser,
    split_words,
)

INLINE = [
    (b"PING\r\n", [[b"PING"]]),
    (b"PING\n", [[b"PING"]]),
    (b"\r\n\r\nPING\r\n", [[b"PING"]]),
    (b"  SET  a\tb \r\n", [[b"SET", b"a", b"b"]]),
    (b'SET a "x y"\r\n', [[b"SET", b"a", b"x y"]]),
    (b'SET a "\\x41\\n\\"\\q\\xzz"\r\n', [[b"SET", b"a", b'A\n"qxzz']]),
    (b"SET a 'it\\'s \\n'\r\n", [[b"SET", b"a", b"it's \\n"]]),
    (b'SET a ""\r\n', [[b"SET", b"a", b""]]),
    (b'SET a b"c"\r\n', [[b"SET", b"a", b"bc"]]),
    (b"GET a\0b\r\n", [[b"GET", b"a"]]),
]
ARRAYS = [
    (b"*1\r\n$4\r\nPING\r\n", [[b"PING"]]),
    (b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", [[b"GET", b""]]),
    (b"*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n", [[b"PING"]]),
    (b"*1\r\n$4\r\nPINGxy*1\r\n$4\r\nPING\r\n", [[b"PING"], [b"PING"]]),  # Redis does not check the two bytes
    (b"*2\r\n$4\r\nECHO\r\n$6\r\n*1\r\n$4\r\n", [[b"ECHO", b"*1\r\n$4"]]),
]
ERRORS = [
    (b"*1x\r\n", "invalid multibulk length"),
    (b"*+1\r\n", "invalid multibulk length"),
    (b"*01\r\n", "invalid multibulk length"),
    (b"*2147483648\r\n", "invalid multibulk length"),
    (b"*3333333333\r\n", "invalid multibulk length"),
    (b"*1\r\n:5\r\n", "expected '$', got ':'"),
    (b"*1\r\n+OK\r\n", "expected '$', got '+'"),
    (b"*1\r\n\r\n", "expected '$', got ''"),
    (b"*1\r\n$-1\r\n", "invalid bulk length"),
    (b"*1\r\n$536870913\r\n", "invalid bulk length"),
    (b"*1\r\n$1_0\r\n", "invalid bulk length"),
    (b"*1\r\n$ 4\r\n", "invalid bulk length"),
    (b'SET a "b\r\n', "unbalanced quotes in request"),
    (b'SET a "b"c\r\n', "unbalanced quotes in request"),
    (b"x" * (LINE_BYTES + 1), "too big inline request"),
    (b"*" + b"1" * (LINE_BYTES + 1), "too big mbulk count string"),
    (b"*1\r\n$" + b"1" * (LINE_BYTES + 1), "too big bulk count string"),
]


@pytest.mark.parametrize(("data", "requests"), INLINE + ARRAYS)
def test_requests(data: bytes, requests: list[list[bytes]]) -> None:
    parser = PythonParser()
    assert parser.feed(data) == requests
    assert parser.error is None
    assert parser.is_empty
    assert parser.buffered_bytes == 0


@pytest.mark.parametrize(("data", "requests"), INLINE + ARRAYS)
def test_byte_by_byte(data: bytes, requests: list[list[bytes]]) -> None:
    parser = PythonParser()
    found = [request for byte in data for request in parser.feed(bytes((byte,)))]
    assert found == requests
    assert parser.is_empty


@pytest.mark.parametrize(("data", "reason"), ERRORS)
def test_errors_are_final(data: bytes, reason: str) -> None:
    parser = PythonParser()
    assert parser.feed(b"*1\r\n$4\r\nPING\r\n" + data) == [[b"PING"]]
    assert str(parser.error) == f"Protocol error: {reason}"
    assert parser.feed(b"*1\r\n$4\r\nPING\r\n") == []
    assert parser.buffered_bytes == 0


@pytest.mark.parametrize("data", [b"POST / HTTP/1.1\r\n", b"host: example.org\r\n", b"\x16\x03\x01"])
def test_other_protocols_close_without_an_answer(data: bytes) -> None:
    parser = PythonParser()
    assert parser.feed(data) == []
    assert isinstance(parser.error, CrossProtocolError)


def test_limits_before_authentication() -> None:
    for data, reason in (
        (b"*11\r\n", "unauthenticated multibulk length"),
        (b"*1\r\n$16385\r\n", "unauthenticated bulk length"),
        (b"a b c d e f g h i j k\r\n", "unauthenticated multibulk length"),
    ):
        parser = PythonParser(UNTRUSTED)
        assert parser.feed(data) == []
        assert str(parser.error) == f"Protocol error: {reason}"


def test_one_request_at_a_time() -> None:
    parser = PythonParser()
    assert parser.feed(b"PING\r\nECHO a\r\nQUIT\r\n", 1) == [[b"PING"]]
    assert not parser.is_empty
    assert parser.feed(b"", 1) == [[b"ECHO", b"a"]]
    assert parser.feed(b"") == [[b"QUIT"]]
    assert parser.is_empty


def test_many_arguments_are_taken() -> None:
    """Their bytes are bounded, not their number: Redis takes these, too."""
    count = (1 << 20) + 1
    parser = PythonParser()
    assert parser.feed(b"*%d\r\n" % count + b"$1\r\nx\r\n" * (count - 1)) == []
    assert parser.buffered_bytes > ARGUMENT_OVERHEAD_BYTES * (count - 1)
    assert [len(request) for request in parser.feed(b"$1\r\nx\r\n")] == [count]
    assert parser.buffered_bytes == 0


def test_buffered_bytes_counts_what_is_incomplete() -> None:
    parser = PythonParser()
    parser.feed(b"*2\r\n$3\r\nSET\r\n$10\r\nabc")
    assert parser.buffered_bytes == 3 + ARGUMENT_OVERHEAD_BYTES + 3


@given(st.lists(st.lists(st.binary(max_size=20), min_size=1, max_size=4), max_size=5), st.data())
def test_any_cutting(requests: list[list[bytes]], data: st.DataObject) -> None:
    wire = b"".join(encode(request) for request in requests)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    parser = PythonParser()
    found = []
    for start, stop in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        found += parser.feed(wire[start:stop])
    assert found == requests
    assert parser.error is None


@given(st.lists(st.binary(min_size=1, max_size=12), max_size=6))
def test_words_survive_quoting(words: list[bytes]) -> None:
    line = b" ".join(b'"' + b"".join(b"\\x%02x" % byte for byte in word) + b'"' for word in words)
    assert split_words(line) == words


def encode(request: list[bytes]) -> bytes:
    """A request as clients send it."""
    return b"*%d\r\n" % len(request) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in request)


@pytest.mark.parametrize("odd", [b"", b"a\r\nb", b"\r\n", b"$1\r\nx\r\n", b"y" * 5000])
def test_many_arguments_are_taken_at_once(odd: bytes) -> None:
    """With the same result as one by one, wherever the chunks are cut, and whatever some of the arguments hold."""
    chance = random.Random(len(odd))
    words = [chance.choice([b"key:%d" % place, b"v", b"", odd if place % 700 < 3 else b"z"]) for place in range(5000)]
    wire = encode_requests([words, [b"PING"], words[:70]])
    for _ in range(20):
        parser = PythonParser()
        requests: list[list[bytes]] = []
        at = 0
        while at < len(wire):
            size = chance.choice([1, 10, 3000, 70_000])
            requests += parser.feed(wire[at : at + size])
            at += size
        assert requests == [words, [b"PING"], words[:70]]
        assert (parser.buffered_bytes, parser.is_empty, parser.error) == (0, True, None)


def test_a_wrong_header_among_many_arguments() -> None:
    wire = encode_requests([[b"word"] * 300]).replace(b"$4", b"$5", 1)
    many = PythonParser()
    assert many.feed(b"*300\r\n" + b"$4\r\nword\r\n" * 100 + b"#4\r\nword\r\n") == []
    assert "expected '$', got '#'" in str(many.error)
    shifted = PythonParser()
    shifted.feed(wire)
    assert shifted.error is not None, "the two bytes behind a bulk are not looked at, the next header is"
