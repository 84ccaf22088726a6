"""A connection's bytes, without a socket: what the other side may send, and what it must not."""

from __future__ import annotations

import random
import struct

import pytest

from flin.cluster.etcd import grpc_session
from flin.cluster.etcd.grpc_headers import WireError, decode_headers, encode_headers
from flin.cluster.etcd.grpc_session import (
    ACK,
    CANCEL,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FIRST_WINDOW,
    FRAME_BYTES,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_WINDOW,
    PADDED,
    PING,
    PREFACE,
    PRIORITY,
    PUSH_PROMISE,
    REFUSED_STREAM,
    ROOM_BYTES,
    RST_STREAM,
    SETTINGS,
    UNAVAILABLE,
    UNKNOWN,
    WINDOW_UPDATE,
    Ended,
    GrpcSession,
    frame,
)

HEAD = frame(HEADERS, END_HEADERS, 1, b"\x88")


def word(number: int) -> bytes:
    return struct.pack(">I", number)


def message(data: bytes) -> bytes:
    return struct.pack(">BI", 0, len(data)) + data


def trailers(stream: int = 1, **headers: str) -> bytes:
    named = {f"grpc-{name}": value for name, value in headers.items()}
    return frame(HEADERS, END_HEADERS | END_STREAM, stream, encode_headers(named.items()))


def setting(name: int, value: int) -> bytes:
    return frame(SETTINGS, 0, 0, struct.pack(">HI", name, value))


def begun(body: bytes = b"request") -> GrpcSession:
    session = GrpcSession("host:1", (("hasleader", "true"),))
    session.begin("/etcdserverpb.KV/Txn", body)
    return session


def frames(data: bytes) -> list[tuple[int, int, int, bytes]]:
    found = []
    while data:
        length = int.from_bytes(data[:3], "big")
        found.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + length]))
        data = data[9 + length :]
    return found


def test_a_call() -> None:
    session = begun()
    output = session.take_output()
    assert output.startswith(PREFACE)
    settings, room, headers, data = frames(output[len(PREFACE) :])
    assert settings[0] == SETTINGS
    assert room == (WINDOW_UPDATE, 0, 0, word(MAX_WINDOW - FIRST_WINDOW))
    assert headers[:3] == (HEADERS, END_HEADERS, 1)
    assert decode_headers(headers[3]) == {
        ":method": "POST", ":path": "/etcdserverpb.KV/Txn", ":scheme": "http", ":authority": "host:1",
        "content-type": "application/grpc", "te": "trailers", "hasleader": "true",
    }  # fmt: skip
    assert data == (DATA, END_STREAM, 1, message(b"request"))
    session.receive(frame(SETTINGS, 0, 0, b"") + frame(SETTINGS, ACK, 0, b"") + frame(PING, 0, 0, b"12345678"))
    assert frames(session.take_output()) == [(SETTINGS, ACK, 0, b"")]
    session.pong()
    session.pong()
    assert frames(session.take_output()) == [(PING, ACK, 0, b"12345678")]
    assert session.ended is None
    session.receive(HEAD + frame(DATA, 0, 1, message(b"answer")) + trailers(status="0"))
    assert session.messages == [b"answer"]
    assert session.ended == Ended(0, "")
    session.begin("/etcdserverpb.KV/Txn", b"next")
    assert session.messages == []
    assert [each[2] for each in frames(session.take_output())] == [3, 3]
    session.receive(frame(WINDOW_UPDATE, 0, 1, word(5)) + frame(RST_STREAM, 0, 1, word(0)) + trailers(1, status="5"))
    assert session.ended is None, "that was the call before"
    session.receive(trailers(3, status="9", message="etcdserver%3A no%20leader"))
    assert session.ended == Ended(9, "etcdserver: no leader")


def test_bytes_may_be_cut_anywhere() -> None:
    chance = random.Random(1)
    texts = [bytes([number]) * chance.randrange(0, 40_000) for number in range(20)]
    body = b"".join(map(message, texts))
    given = HEAD + setting(INITIAL_WINDOW_SIZE, 100)
    while body:
        size = chance.randrange(1, FRAME_BYTES - 30)
        padding = chance.randrange(20)
        padded = bytes([padding]) + body[:size] + bytes(padding)
        given += frame(DATA, PADDED, 1, padded) if padding else frame(DATA, 0, 1, body[:size])
        body = body[size:]
    block = encode_headers((("grpc-status", "3"), ("grpc-message", "m" * 1000)))
    first = frame(HEADERS, END_STREAM | PADDED | PRIORITY, 1, b"\x02" + bytes(5) + block[:100] + bytes(2))
    given += first + frame(CONTINUATION, 0, 1, block[100:200]) + frame(CONTINUATION, END_HEADERS, 1, block[200:])
    session = begun()
    while given:
        size = chance.choice((1, 5, 9, 1000, 100_000))
        session.receive(given[:size])
        given = given[size:]
    assert session.messages == texts
    assert session.ended == Ended(3, "m" * 1000)


def test_a_long_request_waits_for_room() -> None:
    body = message(random.Random(2).randbytes(200_000))
    session = begun(body[5:])
    sent = b""

    def take() -> int:
        nonlocal sent
        output = session.take_output().removeprefix(PREFACE)
        data = [each for each in frames(output) if each[0] == DATA]
        assert all(len(each[3]) <= FRAME_BYTES for each in data)
        sent += b"".join(each[3] for each in data)
        return len(sent)

    assert take() == FIRST_WINDOW
    session.receive(frame(WINDOW_UPDATE, 0, 1, word(MAX_WINDOW - FIRST_WINDOW)))
    assert take() == FIRST_WINDOW, "there is no room for the whole connection yet"
    session.receive(frame(WINDOW_UPDATE, 0, 0, word(1000)))
    assert take() == FIRST_WINDOW + 1000
    session.receive(setting(INITIAL_WINDOW_SIZE, 0))
    session.receive(frame(WINDOW_UPDATE, 0, 0, word(1 << 20)))
    assert take() == len(body)
    assert sent == body


def test_less_room_for_each_stream_holds_a_request_up() -> None:
    session = begun(bytes(100_000))
    session.take_output()
    session.receive(setting(INITIAL_WINDOW_SIZE, 10) + frame(WINDOW_UPDATE, 0, 0, word(1 << 20)))
    assert [each[0] for each in frames(session.take_output())] == [SETTINGS]
    session.receive(frame(WINDOW_UPDATE, 0, 1, word(FIRST_WINDOW)))
    assert [len(each[3]) for each in frames(session.take_output())] == [10]


def test_an_answer_before_the_request_has_come_ends_it() -> None:
    session = begun(bytes(100_000))
    session.take_output()
    session.receive(trailers(status="8", message="too large"))
    assert session.ended == Ended(8, "too large")
    assert frames(session.take_output()) == [(RST_STREAM, 0, 1, word(CANCEL))]
    session.receive(frame(WINDOW_UPDATE, 0, 0, word(1 << 20)))
    assert session.take_output() == b""


def test_there_is_always_room_for_more() -> None:
    session = begun()
    session.take_output()
    session.receive(HEAD)
    for _ in range(2 * ROOM_BYTES // FRAME_BYTES):
        session.receive(frame(DATA, 0, 1, bytes(5) * (FRAME_BYTES // 5)))
    told = frames(session.take_output())
    assert {(kind, stream) for kind, _, stream, _ in told} == {(WINDOW_UPDATE, 0), (WINDOW_UPDATE, 1)}
    assert all(int.from_bytes(body, "big") >= ROOM_BYTES for *_, body in told)


@pytest.mark.parametrize(
    ("given", "ended"),
    [
        (frame(RST_STREAM, 0, 1, word(2)), Ended(UNAVAILABLE, "the call was reset, HTTP/2 error 2")),
        (
            frame(RST_STREAM, 0, 1, word(REFUSED_STREAM)),
            Ended(UNAVAILABLE, f"the call was reset, HTTP/2 error {REFUSED_STREAM}", was_sent=False),
        ),
        (
            frame(GOAWAY, 0, 0, word(0) + word(0)),
            Ended(UNAVAILABLE, "the member closes the connection", was_sent=False),
        ),
        (frame(GOAWAY, 0, 0, word(1) + word(0)) + HEAD, None),
        (frame(GOAWAY, 0, 0, word(MAX_WINDOW) + word(0)) + trailers(status="0"), Ended(0, "")),
        (HEAD + frame(DATA, END_STREAM, 1, message(b"")), Ended(UNKNOWN, "the answer ended without a status")),
        (frame(HEADERS, END_HEADERS, 1, b"\x8d"), Ended(UNKNOWN, "the answer has the HTTP status 404")),
        (trailers(status="12", message="unknown service"), Ended(12, "unknown service")),
    ],
)
def test_other_ends(given: bytes, ended: Ended | None) -> None:
    session = begun()
    session.receive(given)
    assert session.ended == ended
    assert session.is_usable == (frames(given)[0][0] != GOAWAY)


@pytest.mark.parametrize(
    "given",
    [
        frame(DATA, 0, 3, b""),
        frame(DATA, PADDED, 1, b""),
        frame(DATA, PADDED, 1, b"\x05abc"),
        frame(DATA, 0, 1, b"\x01\0\0\0\x01x"),
        frame(DATA, 0, 1, bytes(FRAME_BYTES + 1)),
        frame(CONTINUATION, END_HEADERS, 1, b"\x88"),
        frame(HEADERS, 0, 1, b"\x88") + frame(PING, 0, 0, bytes(8)),
        frame(HEADERS, END_HEADERS, 1, b"\x80"),
        frame(HEADERS, 0, 1, b"\x88") + 5 * frame(CONTINUATION, 0, 1, bytes(FRAME_BYTES)),
        trailers(),
        trailers(status="-1"),
        trailers(status="100"),
        frame(RST_STREAM, 0, 1, b""),
        frame(SETTINGS, 0, 0, b"12345"),
        setting(INITIAL_WINDOW_SIZE, MAX_WINDOW + 1),
        frame(GOAWAY, 0, 0, b""),
        frame(WINDOW_UPDATE, 0, 0, word(MAX_WINDOW)),
        frame(WINDOW_UPDATE, 0, 1, word(MAX_WINDOW)),
        frame(PUSH_PROMISE, END_HEADERS, 1, word(2)),
    ],
)
def test_what_breaks_the_connection(given: bytes) -> None:
    with pytest.raises(WireError):
        begun().receive(given)


def test_a_connection_has_a_last_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grpc_session, "LAST_STREAM", 5)
    session = begun()
    assert session.is_usable
    session.receive(trailers(status="0"))
    session.begin("/etcdserverpb.KV/Txn", b"")
    assert not session.is_usable
