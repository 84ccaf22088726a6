"""What a member of etcd sends: frames of HTTP/2, blocks of headers, messages of gRPC.

Invariant: any bytes leave a session that waits for more, has messages, or has ended its call, or they raise WireError.
Wherever they are cut, the outcome is the same. What it has to send is whole frames, and never more of a message than
the other side has room for. Headers that are encoded are decoded to the same.
"""

from __future__ import annotations

from typing import Final

from flin.cluster.etcd.grpc_headers import WireError, decode_headers, encode_headers
from flin.cluster.etcd.grpc_session import (
    DATA,
    FIRST_WINDOW,
    PREFACE,
    SETTINGS,
    WINDOW_UPDATE,
    Ended,
    GrpcSession,
    frame,
)
from fuzz.byte_source import ByteSource

REQUEST: Final = bytes(100_000)
HEAD_BYTES: Final = 9


def one_input(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    if kind < b"\x30":
        _headers(rest)
    elif kind < b"\x60":
        _agree(rest, kind[0] if kind else 1)
    else:
        _agree(_frames(ByteSource(rest)), kind[0])


def _headers(data: bytes) -> None:
    try:
        found = decode_headers(data)
    except WireError:
        return
    assert decode_headers(encode_headers(found.items())) == {
        name.encode().decode("latin-1"): value.encode().decode("latin-1") for name, value in found.items()
    }


def _frames(source: ByteSource) -> bytes:
    """Frames with right lengths, mostly of the call's stream, and with what they may hold."""
    given = bytearray()
    while not source.is_empty and len(given) < 1 << 16:
        kind, flags = source.randrange(11), source.choice((0, 1, 4, 5, 8, 13, 37, 255))
        stream = source.choice((0, 1, 1, 1, 3))
        length = source.choice((0, 4, 5, 6, 8, 12, 40))
        body = source.randbytes(length)
        if kind == DATA and source.randrange(2):
            body = bytes((0, 0, 0, 0, source.randrange(40))) + body
        elif kind == 1 and source.randrange(2):
            body = encode_headers((("grpc-status", str(source.randrange(20))), ("grpc-message", "no%20leader")))
        elif kind in (SETTINGS, WINDOW_UPDATE) and source.randrange(2):
            body = (b"\0\4" if kind == SETTINGS else b"") + source.randrange(1 << 18).to_bytes(4, "big")
        given += frame(kind, flags, stream, body)
    return bytes(given)


def _agree(data: bytes, step: int) -> None:
    whole, cut = _outcome([data]), _outcome([data[at : at + step] for at in range(0, len(data), max(step, 1))])
    assert whole == cut


def _outcome(pieces: list[bytes]) -> tuple[list[bytes], Ended | None, bool, bool]:
    session = GrpcSession("host:1")
    session.begin("/etcdserverpb.KV/Txn", REQUEST)
    output, is_broken = bytearray(), False
    try:
        for piece in pieces:
            session.receive(piece)
            output += session.take_output()
    except WireError:
        is_broken = True
    _check_sent(bytes(output + session.take_output()), b"".join(pieces))
    return session.messages, session.ended, session.is_usable, is_broken


def _check_sent(output: bytes, given: bytes) -> None:
    assert output.startswith(PREFACE)
    place, sent = len(PREFACE), 0
    while place < len(output):
        length = int.from_bytes(output[place : place + 3], "big")
        if output[place + 3] == DATA:
            sent += length
        place += HEAD_BYTES + length
    assert place == len(output), "a frame is not whole"
    assert sent <= min(FIRST_WINDOW + _room(given), len(REQUEST) + 5)


def _room(given: bytes) -> int:
    """What the other side has added for the whole connection."""
    place = room = 0
    while place + HEAD_BYTES <= len(given):
        end = place + HEAD_BYTES + int.from_bytes(given[place : place + 3], "big")
        if given[place + 3] == WINDOW_UPDATE and int.from_bytes(given[place + 5 : place + 9], "big") << 1 & MASK == 0:
            room += int.from_bytes(given[place + HEAD_BYTES : end][:4], "big") & 0x7FFFFFFF
        place = end
    return room


MASK: Final = 0xFFFFFFFF
