"""A connection to a member of etcd: calls of gRPC, one at a time, each read by the thread that makes it.

A call takes a send and a receive or two; gRPC's own library hands each through threads of its own, at three times the
processor time, and keeps 12 MB in each process (docs/design/2026-11-30-etcd-calls.md).
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from flin.cluster.etcd.grpc_headers import WireError
from flin.cluster.etcd.grpc_session import OK, Ended, GrpcSession
from flin.errors import FlinError

if TYPE_CHECKING:
    from flin.cluster.etcd.certificates import Certificates

METADATA: Final = (("hasleader", "true"),)
"""A member that knows no leader of etcd says so at once, and ends its watches."""

CONNECT_SECONDS: Final = 0.5
"""How long a connection may take to come about, before another member is asked: the system answers it, however busy the
member is."""

RECEIVE_BYTES: Final = 1 << 18
"""Four of the largest entries of a log: a watch that is read now and then has several."""

FRESH_SECONDS: Final = 0.5
"""A connection that was used so recently is not looked at before it is used again, which takes a call of the system: if
its member has ended meanwhile, the call learns it."""

PONG_EACH_SECONDS: Final = 1.0
"""Calls answer pings so seldom. Else each call brings one: etcd probes the bandwidth whenever a request comes, if its
last probe was answered. The probe comes before the answer to the call, and wakes who waits for that. Whether a
connection lives etcd asks only after two hours without a call."""

LONG_BYTES: Final = 1 << 14
"""A longer message may wait for room, and a probe that is answered makes more of it: etcd begins with 64 KiB."""


class CallError(FlinError):
    """The call has ended otherwise than well; the connection may be used again, if it says so."""

    def __init__(self, code: int, details: str, was_sent: bool) -> None:
        super().__init__(details or f"gRPC's code {code}")
        self.code = code
        self.details = details
        self.was_sent = was_sent


class EtcdConnection:
    """Calls come from one thread at a time; `shut` from any.

    All may raise OSError and WireError: then the connection is of no use any more."""

    def __init__(self, endpoint: str, certificates: Certificates | None, timeout: float) -> None:
        """endpoint: `host:port`. Raises OSError: nothing was sent."""
        host, _, port = endpoint.rpartition(":")
        host = host.strip("[]")
        self.endpoint: Final = endpoint
        plain = socket.create_connection((host, int(port)), min(timeout, CONNECT_SECONDS))
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.settimeout(timeout)  # TLS waits for the member, as a call does
            self._socket = plain if certificates is None else _encrypted(plain, certificates, host)
        except BaseException:
            plain.close()
            raise
        self._session = GrpcSession(endpoint, METADATA, is_encrypted=certificates is not None)
        self._seconds = -1.0  # the socket's time-out
        self._used_at = 0.0
        self._ponged_at = 0.0

    @property
    def is_usable(self) -> bool:
        """Another call may begin."""
        return self._session.is_usable and self._session.ended is not None

    def is_alive(self) -> bool:
        """The member has not closed it while nobody looked. It may still be dead."""
        if time.monotonic() - self._used_at < FRESH_SECONDS:
            return self.is_usable
        try:
            while self.is_usable and self._is_readable():
                self._receive(CONNECT_SECONDS)
        except (OSError, WireError):
            return False
        return self.is_usable

    def _is_readable(self) -> bool:
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            return True
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def call(self, path: str, message: bytes, timeout: float) -> bytes:
        """The answer. Raises CallError; TimeoutError, an OSError."""
        session = self._session
        began = time.monotonic()
        is_long = len(message) > LONG_BYTES
        session.begin(path, message)
        if began - self._ponged_at > PONG_EACH_SECONDS:
            session.pong()
            self._ponged_at = began
        self._send(timeout)
        self._receive(timeout)  # not what is left of it: to change a socket's time-out takes a call of the system
        while session.ended is None:
            if is_long:
                session.pong()
            self._send(timeout)
            self._receive(timeout - (time.monotonic() - began))
        self._used_at = time.monotonic()  # what there is to send goes with the next call
        _check(session.ended)
        if len(session.messages) != 1:
            raise WireError(f"{len(session.messages)} messages came where one should")
        return session.messages.pop()

    def stream(self, path: str, message: bytes, ping_seconds: float, pong_seconds: float) -> Iterator[list[bytes]]:
        """The messages that answer this one, those together that came together, until the call ends (CallError, if not
        well) or `shut` is called. A member that is silent for ping_seconds is asked for a sign of life, and has
        pong_seconds for it."""
        session = self._session
        session.begin(path, message)
        self._send(pong_seconds)
        while session.ended is None:
            try:
                self._receive(ping_seconds)
            except TimeoutError:
                session.ping()
                self._send(pong_seconds)
                self._receive(pong_seconds)
            session.pong()
            self._send(pong_seconds)
            messages, session.messages = session.messages, []
            if messages:
                yield messages
        _check(session.ended)

    def _send(self, seconds: float) -> None:
        """What the session has to send."""
        if output := self._session.take_output():
            self._set_timeout(seconds)
            self._socket.sendall(output)

    def _receive(self, seconds: float) -> None:
        """Take what comes, of which there is at least a byte."""
        self._set_timeout(seconds)
        data = self._socket.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionResetError("the member has closed the connection")
        self._session.receive(data)

    def _set_timeout(self, seconds: float) -> None:
        if seconds <= 0:
            raise TimeoutError("there was no answer in time")
        if seconds != self._seconds:
            self._socket.settimeout(seconds)
            self._seconds = seconds

    def shut(self) -> None:
        """Whoever waits for an answer gets an OSError. Idempotent."""
        with suppress(OSError):  # it is not connected any more
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # without a word of TLS: another thread may read

    def close(self) -> None:
        self._socket.close()


def _check(ended: Ended) -> None:
    if ended.code != OK:
        raise CallError(*ended)


def _encrypted(plain: socket.socket, certificates: Certificates, host: str) -> ssl.SSLSocket:
    context = certificates.client_context()
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(plain, server_hostname=host)
