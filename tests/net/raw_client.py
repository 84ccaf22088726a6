"""A client that keeps replies as the received bytes: a differential test compares these.

It has a reader of its own on purpose: the server's parser and encoder must not check themselves.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from io import BytesIO
from typing import BinaryIO, NamedTuple

from flin.testing.process import PATIENCE_SECONDS

_LINES = b"+-:,#(_"
_BLOBS = b"$=!"
_SEQUENCES = b"*~>"
_MAPS = b"%|"


class Raw(NamedTuple):
    """One reply: its type byte, all its bytes, and the elements of an aggregate."""

    kind: bytes
    data: bytes
    items: tuple[Raw, ...] = ()

    @property
    def is_error(self) -> bool:
        return self.kind in b"-!"

    @property
    def is_null(self) -> bool:
        return self.data in (b"$-1\r\n", b"*-1\r\n", b"_\r\n")

    @property
    def payload(self) -> bytes:
        """The bytes after the type byte, or the body of a blob."""
        head, _, rest = self.data.partition(b"\r\n")
        return rest[:-2] if self.kind in _BLOBS and rest else head[1:]


class RawClient:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)
        # A request after one without a reply (CLIENT REPLY OFF) would wait 40 ms for its acknowledgement.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    @property
    def port(self) -> int:
        """Its own."""
        port: int = self._socket.getsockname()[1]
        return port

    def has_reply(self) -> bool:
        """Whether something has arrived that was not read yet."""
        self._socket.settimeout(0)
        try:
            return bool(self._file.peek(1))
        except BlockingIOError:
            return False
        finally:
            self._socket.settimeout(PATIENCE_SECONDS)

    def read_what_is_there(self) -> bytes:
        """All that has arrived and was not read yet, whole replies or not. At its end: `(closed)`."""
        parts: list[bytes] = []
        self._socket.settimeout(0)
        try:
            while part := self._file.read1(1 << 16):
                parts.append(part)
            while part := self._socket.recv(1 << 16):  # read1 returns nothing at an end, too
                parts.append(part)
            parts.append(b"(closed)")
        except BlockingIOError:
            pass
        except ConnectionResetError:
            parts.append(b"(closed)")
        finally:
            self._socket.settimeout(PATIENCE_SECONDS)
        return b"".join(parts)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def shut_down(self) -> None:
        """End the connection at once; whoever reads from it finds its end."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def send_raw(self, data: bytes) -> None:
        self._socket.sendall(data)

    def send(self, requests: Iterable[list[bytes]]) -> None:
        self.send_raw(b"".join(map(encode_request, requests)))

    def call(self, *request: bytes) -> Raw:
        """Send one request and read its reply."""
        self.send([list(request)])
        return self.read()

    def pipeline(self, requests: list[list[bytes]]) -> list[Raw]:
        """Send all requests at once, then read as many replies."""
        self.send(requests)
        return [self.read() for _ in requests]

    def at_end(self) -> bool:
        """Whether the server has closed and sent nothing more."""
        return self._file.read(1) == b""

    def read(self) -> Raw:
        return read_from(self._file)


def read_from(file: BinaryIO) -> Raw:
    """The next reply."""
    line = file.readline()
    if not line.endswith(b"\r\n"):
        raise EOFError(f"the server closed the connection after {line!r}")
    kind, number = line[:1], line[1:-2]
    if kind in _LINES:
        return Raw(kind, line)
    size = int(number)
    if size < 0:
        return Raw(kind, line)
    if kind in _BLOBS:
        body = file.read(size + 2)
        if len(body) != size + 2 or not body.endswith(b"\r\n"):
            raise ValueError(f"a blob of {size} bytes ends in {body[-2:]!r}")
        return Raw(kind, line + body)
    if kind in _SEQUENCES or kind in _MAPS:
        items = tuple(read_from(file) for _ in range(size * 2 if kind in _MAPS else size))
        return Raw(kind, line + b"".join(item.data for item in items), items)
    raise ValueError(f"no reply begins with {line!r}")


def replies_in(data: bytes) -> list[Raw]:
    """Whole replies, one after the other."""
    file = BytesIO(data)
    replies = []
    while file.tell() < len(data):
        replies.append(read_from(file))
    return replies


def encode_request(request: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(request) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in request)
