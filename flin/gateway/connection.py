"""A connection to the server: requests in RESP3 as one pipeline, and their replies. For one thread at a time."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Lock
from time import monotonic
from typing import Any, Final, TypeAlias

import hiredis

Word: TypeAlias = Any
"""bytes, str or int."""
Request: TypeAlias = Sequence[Word]

READ_BYTES: Final = 1 << 18
CONNECT_SECONDS: Final = 5.0

_INCOMPLETE: Final = object()


class ServerGone(Exception):
    """The server cannot be reached, or has closed the connection."""


class LoginFailed(Exception):
    """The server takes neither user nor password."""


class Address:
    """Where the server listens, and who the gateway is there."""

    def __init__(self, text: str, user: str = "", password: str = "") -> None:
        """text: unix:PATH, or HOST:PORT. Raises ValueError."""
        self.text: Final = text
        self.user: Final = user
        self.password: Final = password
        self.path: str | None = None
        self.host, self.port = "", 0
        if text.startswith("unix:") and len(text) > len("unix:"):
            self.path = text.removeprefix("unix:")
            return
        host, colon, port = text.rpartition(":")
        if not (host and colon and port.isdigit() and 0 < int(port) < 1 << 16):
            raise ValueError(f"{text!r} is no address: write unix:PATH or HOST:PORT")
        self.host, self.port = host.strip("[]"), int(port)

    def connect(self, seconds: float) -> socket.socket:
        if self.path is not None:
            connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connected.settimeout(seconds)
            try:
                connected.connect(self.path)
            except OSError:
                connected.close()
                raise
            return connected
        connected = socket.create_connection((self.host, self.port), timeout=seconds)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected


class Connection:
    """Raises ServerGone, LoginFailed, or TimeoutError where a deadline has passed; then it is of no more use."""

    def __init__(self, address: Address, deadline: float | None) -> None:
        self._address: Final = address
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        seconds = min(CONNECT_SECONDS, _left(deadline) or CONNECT_SECONDS)
        try:
            self._socket = address.connect(seconds)
        except OSError as error:
            raise ServerGone(f"the server does not answer at {address.text}: {error}") from error
        try:
            self._log_in(deadline)
        except BaseException:
            self.close()
            raise

    def _log_in(self, deadline: float | None) -> None:
        address = self._address
        hello: list[Word] = ["HELLO", 3]
        if address.password:
            hello += ["AUTH", address.user or "default", address.password]
        reply, _ = self.call(
            [[*hello, "SETNAME", "flin-grpc"], ["CLIENT", "SETINFO", "LIB-NAME", "flin-grpc"]], deadline
        )
        if isinstance(reply, hiredis.ReplyError):
            raise LoginFailed(f"the server at {address.text} refuses the gateway: {reply}")

    def call(self, requests: Sequence[Request], deadline: float | None) -> list[Any]:
        """Send the requests as one pipeline; their replies, errors among them. deadline: by `monotonic`."""
        self.send(requests, deadline)
        return [self.read(deadline) for _ in requests]

    def send(self, requests: Sequence[Request], deadline: float | None) -> None:
        data = b"".join([hiredis.pack_command(tuple(request)) for request in requests])
        try:
            self._socket.settimeout(_left(deadline))
            self._socket.sendall(data)
        except TimeoutError:
            raise
        except OSError as error:
            raise self._gone(error) from error

    def read(self, deadline: float | None) -> Any:
        """The next reply, or push."""
        reply = self._reader.gets()
        while reply is _INCOMPLETE:
            try:
                self._socket.settimeout(_left(deadline))
                data = self._socket.recv(READ_BYTES)
            except TimeoutError:
                raise
            except OSError as error:
                raise self._gone(error) from error
            if not data:
                raise self._gone(None)
            self._reader.feed(data)
            reply = self._reader.gets()
        return reply

    def maybe_read(self) -> Any:
        """The next reply if it has arrived already, else None: no call of the operating system."""
        reply = self._reader.gets()
        return None if reply is _INCOMPLETE else reply

    def is_usable(self) -> bool:
        """Whether nobody has closed it, and nothing is there that was not asked for."""
        try:
            self._socket.settimeout(0)
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def shut_down(self) -> None:
        """Wake the thread that reads: for another one, which is done with it. Idempotent."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def _gone(self, error: OSError | None) -> ServerGone:
        return ServerGone(
            f"the server at {self._address.text} has closed the connection{f': {error}' if error else ''}"
        )


def _left(deadline: float | None) -> float | None:
    """The seconds until then. TimeoutError if there are none."""
    if deadline is None:
        return None
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class Pool:
    """Connections that are not in use, the newest first: as many as there were calls at once. Any thread."""

    def __init__(self, address: Address) -> None:
        self.address: Final = address
        self._idle: deque[Connection] = deque()
        self._lock: Final = Lock()
        self._is_closed = False

    @contextmanager
    def connection(self, deadline: float | None) -> Iterator[Connection]:
        """One for the block; if the block fails, it is closed."""
        connection = self._take() or Connection(self.address, deadline)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        self._give(connection)

    def call(self, requests: Sequence[Request], deadline: float | None) -> list[Any]:
        with self.connection(deadline) as connection:
            return connection.call(requests, deadline)

    def _take(self) -> Connection | None:
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.is_usable():
                return connection
            connection.close()

    def _give(self, connection: Connection) -> None:
        with self._lock:
            if not self._is_closed:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close those that are idle, and the others after their calls."""
        with self._lock:
            self._is_closed = True
        while self._idle:
            self._idle.pop().close()
