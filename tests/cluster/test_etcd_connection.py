"""Calls to members that answer, are silent, or go away: members are threads here, which speak HTTP/2."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import inf

import pytest

pytest.importorskip("google.protobuf")

from flin.cluster.etcd import etcd_connection
from flin.cluster.etcd.etcd_channels import Channels, Method, NotSent
from flin.cluster.etcd.etcd_connection import EtcdConnection
from flin.cluster.etcd.etcd_pb2 import CompactionRequest, CompactionResponse
from flin.cluster.etcd.grpc_headers import encode_headers
from flin.cluster.etcd.grpc_session import (
    ACK,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    frame,
)
from flin.cluster.etcd.key_value import Refused, Unavailable

COMPACT = Method("/etcdserverpb.KV/Compact", CompactionResponse)
REQUEST = CompactionRequest(revision=7)
PATIENCE = 20.0


class Peer:
    """One connection, as the member sees it."""

    def __init__(self, plain: socket.socket) -> None:
        self.plain = plain
        self.came: list[int] = []  # kinds of frames
        self._input = plain.makefile("rb")
        assert self._input.read(len(PREFACE)) == PREFACE
        self.send(frame(SETTINGS, 0, 0, b""))

    def send(self, data: bytes) -> None:
        self.plain.sendall(data)

    def until(self, kind: int, flags: int) -> int:
        """The stream of the next frame of this kind with these flags; 0 at the end, too."""
        while head := self._input.read(9):
            self._input.read(int.from_bytes(head[:3], "big"))
            self.came.append(head[3])
            if (head[3], head[4]) == (kind, flags):
                return int.from_bytes(head[5:], "big")
        return 0

    def answer(self, code: int = 0, text: str = "") -> bool:
        """The next request. Whether there was one."""
        stream = self.until(DATA, END_STREAM)
        if stream:
            self.send(frame(HEADERS, END_HEADERS, stream, b"\x88") + frame(DATA, 0, stream, bytes(5)))
            self.end(stream, code, text)
        return bool(stream)

    def end(self, stream: int, code: int, text: str) -> None:
        block = encode_headers((("grpc-status", str(code)), ("grpc-message", text)))
        self.send(frame(HEADERS, END_HEADERS | END_STREAM, stream, block))


class Member:
    """Listens, and does with each connection what it is told."""

    def __init__(self, serve: Callable[[Peer], object]) -> None:
        self.served = 0
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._peers: list[socket.socket] = []
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self._peers.append(plain)
            threading.Thread(target=self._talk, args=(plain,), daemon=True).start()

    def _talk(self, plain: socket.socket) -> None:
        self.served += 1
        with suppress(OSError, AssertionError):  # it was closed meanwhile
            self._serve(Peer(plain))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._peers:
            each.close()


def always(peer: Peer) -> None:
    while peer.answer():
        pass


def never(peer: Peer) -> None:
    peer.until(GOAWAY, 0)


@pytest.fixture
def members() -> Iterator[Callable[[Callable[[Peer], object]], Member]]:
    made: list[Member] = []

    def make(serve: Callable[[Peer], object]) -> Member:
        made.append(Member(serve))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def channels() -> Iterator[Callable[..., Channels]]:
    made: list[Channels] = []

    def make(*there: Member | str) -> Channels:
        made.append(Channels([each if isinstance(each, str) else each.endpoint for each in there]))
        return made[-1]

    yield make
    for each in made:
        each.close()


Members = Callable[[Callable[[Peer], object]], Member]
Makes = Callable[..., Channels]


def call(asked: Channels, timeout: float = PATIENCE) -> None:
    assert asked.call(COMPACT, REQUEST, timeout) == CompactionResponse()


def test_calls_one_after_the_other_share_a_connection(members: Members, channels: Makes) -> None:
    member = members(always)
    asked = channels(member)
    for _ in range(5):
        call(asked)
    assert member.served == 1


def test_calls_answer_probes_of_the_bandwidth_now_and_then(
    members: Members, channels: Makes, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers: list[Peer] = []

    def probing(peer: Peer) -> None:
        peers.append(peer)
        peer.send(frame(PING, 0, 0, bytes(8)))
        while peer.answer():
            peer.send(frame(PING, 0, 0, bytes(8)))

    monkeypatch.setattr(etcd_connection, "PONG_EACH_SECONDS", inf)
    asked = channels(members(probing))
    for _ in range(3):
        call(asked)
    assert PING not in peers[0].came
    monkeypatch.setattr(etcd_connection, "PONG_EACH_SECONDS", 0.0)
    for _ in range(2):  # what comes after a request is seen with the next one
        call(asked)
    assert PING in peers[0].came
    assert len(peers) == 1


def test_calls_at_once_have_one_each(members: Members, channels: Makes) -> None:
    both = threading.Barrier(2, timeout=PATIENCE)

    def together(peer: Peer) -> None:
        stream = peer.until(DATA, END_STREAM)
        both.wait()
        peer.send(frame(HEADERS, END_HEADERS, stream, b"\x88") + frame(DATA, 0, stream, bytes(5)))
        peer.end(stream, 0, "")

    asked = channels(members(together))
    other = threading.Thread(target=call, args=(asked,))
    other.start()
    call(asked)
    other.join()


def test_where_nobody_listens_the_next_is_asked_at_once(members: Members, channels: Makes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
    asked = channels(nobody, members(always))
    call(asked)
    with pytest.raises(NotSent, match="refused"):
        channels(nobody).call(COMPACT, REQUEST, PATIENCE)


def test_after_silence_another_member_is_asked(members: Members, channels: Makes) -> None:
    asked = channels(members(never), members(always))
    with pytest.raises(Unavailable) as caught:
        call(asked, 0.05)
    assert not isinstance(caught.value, NotSent), "it may have been executed"
    call(asked)


def test_a_connection_that_was_closed_meanwhile_is_not_used(
    members: Members, channels: Makes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd_connection, "FRESH_SECONDS", 0.0)
    gone = threading.Event()

    def once(peer: Peer) -> None:
        peer.answer()
        peer.plain.shutdown(socket.SHUT_RDWR)
        gone.set()

    member = members(once)
    asked = channels(member)
    for number in range(3):
        call(asked)
        assert gone.wait(PATIENCE)
        gone.clear()
        assert member.served == number + 1


def test_one_that_is_about_to_close_takes_no_more_calls(members: Members, channels: Makes) -> None:
    def last(peer: Peer) -> None:
        peer.send(frame(GOAWAY, 0, 0, struct.pack(">II", (1 << 31) - 1, 0)))
        always(peer)

    member = members(last)
    asked = channels(member)
    for number in range(3):
        call(asked)
        assert member.served == number + 1


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (11, "etcdserver: mvcc: required revision is a future revision", Unavailable),
        (3, "etcdserver: duplicate key given in txn request", Refused),
        (14, "etcdserver: no leader", NotSent),
        (14, "etcdserver: request timed out", Unavailable),
    ],
)
def test_what_an_error_means(members: Members, channels: Makes, code: int, text: str, kind: type[Exception]) -> None:
    ends = [(code, text)]

    def once(peer: Peer) -> None:
        while peer.answer(*ends.pop()) if ends else peer.answer():
            pass

    asked = channels(members(once))
    with pytest.raises(kind, match=text) as caught:
        call(asked)
    assert type(caught.value) is kind
    call(asked)


def test_an_end_amid_an_answer(members: Members, channels: Makes) -> None:
    def half(peer: Peer) -> None:
        stream = peer.until(DATA, END_STREAM)
        peer.send(frame(HEADERS, END_HEADERS, stream, b"\x88"))
        peer.plain.shutdown(socket.SHUT_RDWR)

    with pytest.raises(Unavailable, match="closed the connection"):
        call(channels(members(half)))


def test_what_is_no_answer_ends_the_connection(members: Members, channels: Makes) -> None:
    def other(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        never(peer)

    member = members(other)
    asked = channels(member)
    for number in range(2):
        with pytest.raises(Unavailable, match="a frame of"):
            call(asked)
        assert member.served == number + 1


def test_the_end_wakes_who_waits(members: Members, channels: Makes) -> None:
    is_asked = threading.Event()

    def hang(peer: Peer) -> None:
        peer.until(DATA, END_STREAM)
        is_asked.set()
        never(peer)

    asked = channels(members(hang))
    told: list[Exception] = []

    def wait() -> None:
        with pytest.raises(Unavailable) as caught:
            call(asked)
        told.append(caught.value)

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert is_asked.wait(PATIENCE)
    asked.close()
    waiting.join(PATIENCE)
    assert len(told) == 1
    with pytest.raises(Unavailable, match="is closed"):
        call(asked)


def test_a_silent_stream_is_asked_for_a_sign_of_life(members: Members) -> None:
    def slow(peer: Peer) -> None:
        stream = peer.until(DATA, END_STREAM)
        peer.until(PING, 0)
        peer.send(frame(PING, ACK, 0, bytes(8)) + frame(DATA, 0, stream, b"\0\0\0\0\x01x"))
        peer.until(PING, 0)
        never(peer)

    connection = EtcdConnection(members(slow).endpoint, None, PATIENCE)
    stream = connection.stream("/etcdserverpb.Watch/Watch", b"", 0.05, 0.5)
    assert next(stream) == [b"x"]
    with pytest.raises(TimeoutError):
        next(stream)
    connection.close()
