"""TLS between a plain transport and a connection: to the one it is a protocol, to the other a transport.

    bytes of the network -> incoming -> OpenSSL -> the connection's requests
    the connection's replies -> OpenSSL -> outgoing -> the plain transport

asyncio's own TLS transports are not used. They do not show how much the plain transport below holds for a client that
does not read, so the bound on all clients' buffers would not hold; they drop the replies of a client that sends its
requests and closes its side; and they take no part in the order in which handshakes begin. Here all of them behave as
without TLS.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

from flin.net.serve.peer import address_of

if TYPE_CHECKING:
    from flin.net.serve.handshakes import Handshakes

RECORD_BYTES: Final = 1 << 14
"""The most bytes of a record of TLS."""

FLUSH_BYTES: Final = 1 << 18
"""A long reply is handed on in such parts, so that it is not in memory as a whole once more."""

Admit = Callable[[asyncio.Transport], asyncio.Protocol]


class TlsTransport(asyncio.Protocol, asyncio.Transport):
    """One client's. `admit` makes its connection once the handshake has ended."""

    __slots__ = (
        "_admit",
        "_connection",
        "_handshakes",
        "_has_begun",
        "_incoming",
        "_on_lost",
        "_outgoing",
        "_plain",
        "_tls",
    )

    def __init__(
        self, context: ssl.SSLContext, handshakes: Handshakes, admit: Admit, on_lost: Callable[[TlsTransport], None]
    ) -> None:
        super().__init__()
        self._admit = admit
        self._handshakes = handshakes
        self._on_lost = on_lost
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._has_begun = False
        self._connection: asyncio.Protocol | None = None
        self._plain: asyncio.Transport

    # Called by the plain transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._plain = cast(asyncio.Transport, transport)
        self._handshakes.expect(self)

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        if self._connection is not None:
            self._deliver()
        elif self._has_begun:
            self._shake_hands()
        else:
            self._plain.pause_reading()
            self._handshakes.line_up(self)

    def eof_received(self) -> bool:
        # Without a farewell: a request whose end is missing is never run, so nothing can be cut off unseen.
        return self._connection is not None and bool(self._connection.eof_received())

    def connection_lost(self, error: Exception | None) -> None:
        self._handshakes.end(self)
        self._on_lost(self)
        connection, self._connection = self._connection, None  # neither keeps the other
        if connection is not None:
            connection.connection_lost(error)

    def pause_writing(self) -> None:
        if self._connection is not None:
            self._connection.pause_writing()

    def resume_writing(self) -> None:
        if self._connection is not None:
            self._connection.resume_writing()

    # The handshake.

    def begin(self) -> None:
        self._has_begun = True
        if self._plain.is_closing():
            return
        self._plain.resume_reading()
        self._shake_hands()

    def give_up(self) -> None:
        self._fail("it did not end in time" if self._has_begun else "nothing came")

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._flush()  # the alert that says why
            self._fail(str(error.reason or error).lower().replace("_", " "))
            return
        self._flush()
        self._handshakes.end(self)
        self._connection = self._admit(self)
        if self._incoming.pending:
            self._deliver()

    def _fail(self, reason: str) -> None:
        if not self._plain.is_closing():
            self._handshakes.fail(address_of(self._plain, "peername"), reason)
            self._plain.close()

    # Requests.

    def _deliver(self) -> None:
        connection = cast(asyncio.Protocol, self._connection)
        chunks = []
        has_ended = False
        try:
            while True:
                chunk = self._tls.read(RECORD_BYTES)
                if not chunk:
                    has_ended = True
                    break
                chunks.append(chunk)
                if not self._incoming.pending:
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:  # these bytes are no TLS: what came before them is not answered either
            self._plain.abort()
            return
        if self._outgoing.pending:  # the answer to a change of keys
            self._flush()
        if chunks:
            connection.data_received(chunks[0] if len(chunks) == 1 else b"".join(chunks))
        if has_ended:
            connection.eof_received()

    # Called by the connection.

    def write(self, data: Any) -> None:
        if self._plain.is_closing():
            return
        if len(data) <= RECORD_BYTES:
            self._tls.write(data)
        else:
            with memoryview(data) as view:
                sent = 0
                while sent < len(view):
                    sent += self._tls.write(view[sent : sent + RECORD_BYTES])
                    if self._outgoing.pending >= FLUSH_BYTES:
                        self._flush()
        self._plain.write(self._outgoing.read())

    def _flush(self) -> None:
        if self._outgoing.pending and not self._plain.is_closing():
            self._plain.write(self._outgoing.read())

    def close(self) -> None:
        """Say that nothing follows, and close once everything has been sent."""
        if not self._plain.is_closing():
            with suppress(ssl.SSLError):  # the client's farewell is not waited for
                self._tls.unwrap()
            self._flush()
            self._plain.close()

    def abort(self) -> None:
        self._plain.abort()

    def is_closing(self) -> bool:
        return self._plain.is_closing()

    def pause_reading(self) -> None:
        self._plain.pause_reading()

    def resume_reading(self) -> None:
        self._plain.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._plain.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._plain.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._plain.get_extra_info(name, default)
