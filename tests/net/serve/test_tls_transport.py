"""TLS between a plain transport and a connection that are both fakes: bytes cut anywhere, and bytes that are no TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flin.net.serve.tls_transport import RECORD_BYTES, TlsTransport
from tests.net.certificates import Certificates


class Plain:
    def __init__(self) -> None:
        self.sent = bytearray()
        self.is_closed = False
        self.is_aborted = False
        self.is_reading = True

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.sent += data

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        self.is_reading = False

    def resume_reading(self) -> None:
        self.is_reading = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def take(self) -> bytes:
        data = bytes(self.sent)
        self.sent.clear()
        return data


class AtOnce:
    """Handshakes that begin at once."""

    def __init__(self) -> None:
        self.failures: list[str] = []

    def expect(self, client: TlsTransport) -> None: ...

    def line_up(self, client: TlsTransport) -> None:
        client.begin()

    def end(self, client: TlsTransport) -> None: ...

    def fail(self, address: str, reason: str) -> None:
        self.failures.append(reason)


class Heard(asyncio.Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.ends = 0

    def data_received(self, data: bytes) -> None:
        assert data
        self.data += data

    def eof_received(self) -> bool:
        self.ends += 1
        return True


class Pair:
    """A server's transport and a client of OpenSSL's own."""

    def __init__(self, certificates: Certificates) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.cert, certificates.key)
        self.plain, self.heard, self.handshakes = Plain(), Heard(), AtOnce()
        self.server = TlsTransport(
            context, cast(Any, self.handshakes), lambda transport: self.heard, lambda client: None
        )
        self.server.connection_made(cast(asyncio.Transport, self.plain))
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = certificates.client().wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    def shake_hands(self, cut: Callable[[bytes], list[bytes]]) -> None:
        while True:
            try:
                self.client.do_handshake()
                self.feed(cut)
                return
            except ssl.SSLWantReadError:
                self.feed(cut)

    def feed(self, cut: Callable[[bytes], list[bytes]]) -> None:
        for part in cut(self._outgoing.read()):
            self.server.data_received(part)
        self._incoming.write(self.plain.take())

    def said(self) -> bytes:
        data = b""
        try:
            while part := self.client.read(1 << 16):
                data += part
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return data


def whole(data: bytes) -> list[bytes]:
    return [data] if data else []


def byte_by_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("cut", [whole, byte_by_byte])
def test_bytes_cut_anywhere(certificates: Certificates, cut: Callable[[bytes], list[bytes]]) -> None:
    pair = Pair(certificates)
    pair.shake_hands(cut)
    for request in (b"PING\r\n", b"x" * (3 * RECORD_BYTES), b"y"):
        sent = 0
        while sent < len(request):
            sent += pair.client.write(request[sent:])
        pair.feed(cut)
        assert pair.heard.data == request
        pair.heard.data = b""
        pair.server.write(request)
        pair.feed(cut)
        assert pair.said() == request
    with pytest.raises(ssl.SSLWantReadError):
        pair.client.unwrap()
    pair.feed(cut)
    assert pair.heard.ends == 1
    pair.server.write(b"the last reply")
    pair.server.close()
    pair.feed(cut)
    assert pair.plain.is_closed
    assert pair.said() == b"the last reply"
    pair.server.write(b"too late")
    pair.server.close()
    assert not pair.plain.sent


def test_several_records_are_one_delivery(certificates: Certificates) -> None:
    pair = Pair(certificates)
    pair.shake_hands(whole)
    deliveries: list[bytes] = []
    pair.heard.data_received = deliveries.append  # type: ignore[method-assign, assignment]
    for number in range(5):
        pair.client.write(b"%d" % number)
    pair.feed(whole)
    assert deliveries == [b"01234"]


@settings(max_examples=60)
@given(data=st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=5))
def test_any_bytes_for_a_handshake(certificates: Certificates, data: list[bytes]) -> None:
    """They wait for more, or the connection is closed with a reason; nothing else escapes."""
    pair = Pair(certificates)
    for part in data:
        if pair.plain.is_closed:
            break
        pair.server.data_received(part)
    assert pair.heard.data == b""
    assert len(pair.handshakes.failures) == pair.plain.is_closed


@settings(max_examples=60)
@given(at=st.integers(0, 10_000), other=st.binary(min_size=1, max_size=50), first=st.binary(max_size=30))
def test_any_bytes_in_a_connection(certificates: Certificates, at: int, other: bytes, first: bytes) -> None:
    """A record that was changed anywhere is never delivered."""
    pair = Pair(certificates)
    pair.shake_hands(whole)
    pair.client.write(b"SET a b\r\n")
    record = pair._outgoing.read()
    at %= len(record)
    changed = record[:at] + other + record[at + len(other) :]
    if changed[: len(record)] == record:
        return
    pair.server.data_received(changed)
    assert pair.heard.data == b""
    if first and not pair.plain.is_closed:
        pair.server.data_received(first)
        assert pair.heard.data == b""
