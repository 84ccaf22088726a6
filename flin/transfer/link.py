"""A connection to a server that keys are moved from or to: requests in pipelines, replies in their order.

A pipeline is written while replies are read, so that neither side waits for the other with full buffers: a server that
has much to send may stop reading.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from flin.address import Address
from flin.errors import PeerError

Reply: TypeAlias = Any
"""bytes, int, None, a list of these, or hiredis's ReplyError."""

READ_BYTES: Final = 1 << 18

SILENCE_SECONDS: Final = 120.0
"""A server that says nothing for so long is gone: even a DUMP of millions of elements takes less."""

CONNECT_SECONDS: Final = 15.0
"""A machine that is there answers at once; a first packet that is lost is sent again after 1, 3 and 7 seconds."""


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """As redis-cli has them."""

    ca_cert_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    is_insecure: bool = False  # the server's certificate is not looked at


class Link:
    """An open connection; `close` it."""

    def __init__(
        self, address: Address, tls: TlsOptions | None = None, *, silence_seconds: float = SILENCE_SECONDS
    ) -> None:
        """PeerError if there is no server, or it refuses the password."""
        try:
            import hiredis
        except ImportError:
            raise PeerError(str(address), "hiredis is not installed: pip install 'flin[server]'") from None
        self.address: Final = address
        self._silence_seconds = silence_seconds
        self._reader: Final = hiredis.Reader()
        self._error_type: Final = hiredis.ReplyError
        self._protocol_error: Final = hiredis.ProtocolError
        try:
            self._socket = _connected(address, tls or TlsOptions())
        except (OSError, ValueError) as error:
            raise PeerError(str(address), f"no connection: {error}") from error
        try:
            if address.password:
                self.ask(b"AUTH", *([address.user.encode()] if address.user else []), address.password.encode())
            self._socket.setblocking(False)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def is_error(self, reply: Reply) -> bool:
        return type(reply) is self._error_type

    def ask(self, *words: bytes) -> Reply:
        """The reply to one command. PeerError if it is an error."""
        reply = self.maybe(*words)
        if self.is_error(reply):
            raise self.refused(words[0], reply)
        return reply

    def maybe(self, *words: bytes) -> Reply:
        """The reply to one command, an error too."""
        self.send(pack([words]))
        return self.replies(1)[0]

    def refused(self, command: bytes, reply: Reply) -> PeerError:
        return PeerError(str(self.address), f"it answers {command.decode()} with: {reply}")

    def send(self, data: bytes) -> None:
        """Write requests; replies that come meanwhile are kept."""
        view = memoryview(data)
        while view:
            readable, writable = self._ready(wants_write=True)
            if readable:
                self._receive()
            if writable:
                try:
                    view = view[self._socket.send(view) :]
                except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    continue
                except OSError as error:
                    raise self._gone(error) from error

    def replies(self, count: int) -> list[Reply]:
        """The next so many replies."""
        found: list[Reply] = []
        gets, append = self._reader.gets, found.append
        try:
            while len(found) < count:
                reply = gets()
                if reply is False:
                    self._ready(wants_write=False)
                    self._receive()
                else:
                    append(reply)
        except self._protocol_error as error:
            raise PeerError(str(self.address), f"it does not speak Redis's protocol: {error}") from error
        return found

    def _ready(self, *, wants_write: bool) -> tuple[bool, bool]:
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True, wants_write
        readable, writable, _ = select.select(
            [self._socket], [self._socket] if wants_write else [], [], self._silence_seconds
        )
        if not readable and not writable:
            raise PeerError(str(self.address), f"it has said nothing for {self._silence_seconds:.0f} s")
        return bool(readable), bool(writable)

    def _receive(self) -> None:
        self._reader.feed(self._received())

    def _received(self) -> bytes:
        """What has come; nothing if it is no whole record of TLS yet."""
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return b""
        except OSError as error:
            raise self._gone(error) from error
        if not data:
            raise PeerError(str(self.address), "it has closed the connection")
        return data

    # As a stream of bytes: what a replica gets are no replies.

    def bytes_within(self, seconds: float) -> bytes:
        """What has come, waiting so long for something; nothing if nothing came. PeerError if the server is gone."""
        is_decrypted = isinstance(self._socket, ssl.SSLSocket) and self._socket.pending()
        if not is_decrypted and not select.select([self._socket], [], [], seconds)[0]:
            return b""
        return self._received()

    def send_bytes(self, data: bytes) -> None:
        """Write all of it, without a look at what comes. Whether the server is gone, `bytes_within` tells."""
        view = memoryview(data)
        while view and select.select([], [self._socket], [], self._silence_seconds)[1]:
            try:
                view = view[self._socket.send(view) :]
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                continue
            except OSError:
                return

    def _gone(self, error: OSError) -> PeerError:
        return PeerError(str(self.address), f"the connection is lost: {error}")


def pack(requests: Sequence[Sequence[bytes]]) -> bytes:
    """Requests as a client sends them."""
    parts: list[bytes] = []
    for words in requests:
        parts.append(b"*%d\r\n" % len(words))
        parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
    return b"".join(parts)


def _connected(address: Address, tls: TlsOptions) -> socket.socket:
    if address.path:
        plain = socket.socket(socket.AF_UNIX)
        try:
            plain.connect(address.path)
        except BaseException:
            plain.close()
            raise
        return plain
    plain = socket.create_connection((address.host, address.port), CONNECT_SECONDS)
    plain.settimeout(SILENCE_SECONDS)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not address.is_tls:
        return plain
    try:
        return _context(tls).wrap_socket(plain, server_hostname=address.host)
    except BaseException:
        plain.close()
        raise


def _context(tls: TlsOptions) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca_cert_file)
    if tls.is_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert_file:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    return context
