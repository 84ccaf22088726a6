"""Fuzzing the request parsers.

Invariant: whatever the bytes and however they are cut, the guarded hiredis parser gives the requests that the
pure-Python parser gives for the whole, then the same final error or none; no exception but ProtocolError is raised, and
the parser holds no more than was sent.

And chunks of several clients that are taken for columns together (flin/net/wire/columns.py) are whole requests, each
by itself, and those that the columns say.

An input is some cuts, an empty line and the bytes; or, if its first byte is above 127, it decides what is generated
(requests, some of them spoilt; above 223 such chunks); or else all of it is the bytes, which are fed one by one.
"""

from __future__ import annotations

import random
from itertools import pairwise
from unittest.mock import patch

from flin.net.wire import requests
from flin.net.wire.columns import columns_of_chunks
from flin.net.wire.requests import RequestParser
from flin.net.wire.resp import encode_requests
from flin.net.wire.resp_python import ARGUMENT_OVERHEAD_BYTES, PythonParser
from fuzz.byte_source import ByteSource

_BYTES = (b"*", b"$", b"+", b"-", b":", b"_", b"#", b",", b"(", b"=", b"~", b"%", b">", b"|", b"!", b"0", b"1", b"9")
_TEXTS = (
    b"\r\n",
    b"\r",
    b"\n",
    b"PING",
    b'"',
    b"'",
    b" ",
    b"\0",
    b"\x16",
    b"txt:",
    b"SET k v\r\n",
    b"-1\r\n",
    b"t\r\n",
)


MOST_HELD = 1 + ARGUMENT_OVERHEAD_BYTES // len(b"$0\r\n\r\n")
"""Bytes held for each that was sent: an empty argument costs its object."""


class Failure(Exception):
    """The invariant does not hold."""


def one_input(data: bytes) -> None:
    if data[:1] >= b"\xe0":
        check_chunks(random_chunks(ByteSource(data[1:])))
    elif data[:1] >= b"\x80":
        source = ByteSource(data[1:])
        wire = random_wire(source)
        check(wire, random_cuts(source, len(wire)))
    else:
        check(*read_case(data))


def check(wire: bytes, cuts: list[int]) -> None:
    """Raise Failure if the parsers differ on these bytes, cut here; also if all requests are taken for long ones."""
    _check(wire, cuts)
    with patch.object(requests, "LONG_REQUEST_BYTES", 0):
        _check(wire, cuts)


def _check(wire: bytes, cuts: list[int]) -> None:
    oracle = PythonParser()
    expected = oracle.feed(wire)
    parser = RequestParser()
    found: list[list[bytes]] = []
    fed = 0
    for start, stop in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        found += parser.feed(wire[start:stop])
        fed += stop - start
        if parser.buffered_bytes > fed * MOST_HELD:
            raise Failure("more is held than was sent")
    if found != expected:
        raise Failure(f"{found!r} instead of {expected!r}")
    if str(parser.error) != str(oracle.error):
        raise Failure(f"{parser.error!r} instead of {oracle.error!r}")


def check_chunks(chunks: list[bytes]) -> bool:
    """Raise Failure if these chunks are taken for other requests than they are. Returns whether they are taken."""
    found = columns_of_chunks(chunks)
    if found is None:
        return False
    name, columns = found
    requests = [[name, *row] for row in zip(*columns, strict=True)]
    each, rest = divmod(len(requests), len(chunks))
    for number, chunk in enumerate(chunks):
        parser = PythonParser()
        if rest or parser.feed(chunk) != requests[number * each : (number + 1) * each] or not parser.is_empty:
            raise Failure(f"{chunk!r} is not {requests[number * each : (number + 1) * each]!r}")
    return True


def random_chunks(source: random.Random) -> list[bytes]:
    """Chunks that begin alike: requests that are cut anywhere, if only what follows begins as a request does."""
    count = source.choice((2, 3, 4, 4, 5, 10))
    begin = b"*%d\r\n$3\r\nSET\r\n" % count
    words = (begin.partition(b"\r")[0], b"SET", b"SET", b"k", b"", b"%d")
    rows = [[b"SET", *source.choices(words, k=count - 1)] for _ in range(source.randrange(2, 6))]
    if source.random() > 0.8:
        rows[-1][-1] = source.choice((begin, b"\r\n", b"$3"))
    wire = encode_requests(rows)
    places = [place for place in range(1, len(wire)) if wire.startswith(begin[:11], place)]
    number = len(rows) - 1 if source.random() < 0.8 else source.randrange(len(places) + 1)
    cuts = [0, *sorted(source.sample(places, min(number, len(places)))), len(wire)]
    chunks = [wire[start:stop] for start, stop in pairwise(cuts)]
    if source.random() > 0.8:
        at = source.randrange(len(chunks))
        chunks[at] = chunks[at][: source.randrange(11, len(chunks[at]) + 1)] + source.choice((b"", b"\r\n", b"$0\r\n"))
    return chunks


def random_wire(source: random.Random) -> bytes:
    """Requests, some of them spoilt, with words of the protocol inside their arguments."""
    parts: list[bytes] = []
    for _ in range(source.randrange(1, 6)):
        request = [_argument(source) for _ in range(source.randrange(1, 4))]
        count = len(request) + source.choice((0, 0, 0, 0, 0, 1, -1))
        parts.append(b"*%d\r\n" % count)
        for argument in request:
            size = len(argument) + source.choice((0, 0, 0, 0, 0, 0, 0, 1, -1))
            parts.append(b"$%d\r\n%b%b" % (size, argument, source.choice((b"\r\n", b"\r\n", b"\r\n", b"xy"))))
        if source.random() < 0.3:
            parts.append(_argument(source))
    wire = b"".join(parts)
    if source.random() < 0.3 and wire:
        at = source.randrange(len(wire))
        wire = wire[:at] + source.choice(_BYTES) + wire[at + source.randrange(2) :]
    return wire


def random_cuts(source: random.Random, length: int) -> list[int]:
    return sorted(source.randrange(length + 1) for _ in range(source.choice((0, 0, 1, 2, 5))))


def _argument(source: random.Random) -> bytes:
    if source.random() < 0.4:
        return source.choice((b"GET", b"key:1", b"x" * 30, b""))
    return b"".join(source.choice((*_BYTES, *_TEXTS)) for _ in range(source.randrange(6)))


def read_case(data: bytes) -> tuple[bytes, list[int]]:
    head, separator, wire = data.partition(b"\n\n")
    if not separator:
        return data, list(range(len(data)))
    return wire, sorted(min(int(word[:6]), len(wire)) for word in head.split() if word.isdigit())
