"""Fuzzing the request parsers.

Invariant: whatever the bytes and however they are cut, the guarded hiredis parser gives the requests that the
pure-Python parser gives for the whole, then the same final error or none; no exception but ProtocolError is raised, and
the parser holds no more than was sent.

An input is some cuts, an empty line and the bytes; or, if its first byte is above 127, it decides what is generated
(requests, some of them spoilt); or else all of it is the bytes, which are fed one by one.
"""

from __future__ import annotations

import random

from flin.net.wire.requests import RequestParser
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
    if data[:1] >= b"\x80":
        source = ByteSource(data[1:])
        wire = random_wire(source)
        check(wire, random_cuts(source, len(wire)))
    else:
        check(*read_case(data))


def check(wire: bytes, cuts: list[int]) -> None:
    """Raise Failure if the parsers differ on these bytes, cut here."""
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
