"""The bounds of a connection to the page that aiohttp has not: its head in all, its time, and how many there are.

A guard stands between a transport and aiohttp's protocol, which it hands everything on to. A request is timed from its
first byte until it has been read; then its handler says so (`read_whole`), and when it is answered, the next one may
begin (`answered`).
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

MAX_HEAD_BYTES: Final = 16 << 10
MAX_BODY_BYTES: Final = 64 << 10
REQUEST_SECONDS: Final = 10.0
"""For a request to arrive, and for a connection to send its first one."""

KEEPALIVE_SECONDS: Final = 75.0
"""Longer than Prometheus waits between two scrapes."""

LINGER_SECONDS: Final = 1.0
"""What a refused client still sends is read for so long: closed at once, it would not get to read why."""

READING_SECONDS: Final = 30.0
"""For a client to take some of the reply that waits for it. A slow one takes some; one that has stopped holds a place
for nothing."""

MAX_CONNECTIONS: Final = 64
"""Beyond that, one that waits for nothing gives its place to a new one."""

_END_OF_HEAD: Final = b"\r\n\r\n"


def _answer(status: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


class Guard(asyncio.Protocol):
    """One connection. `guards` has all of them, by transport."""

    def __init__(self, handler: Any, guards: dict[Any, Guard]) -> None:
        """handler: aiohttp's protocol of this connection."""
        self._handler = handler
        self._guards = guards
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_in_head = True
        self._head_bytes = 0
        self._tail = b""  # of the head, as far as its end could begin in it
        self._is_refused = False
        self._is_idle = False  # answered, and no byte of a next request is there
        self._reading_timer: asyncio.TimerHandle | None = None  # while the client does not take what is sent

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        if len(self._guards) >= MAX_CONNECTIONS and not any(guard.gave_way() for guard in self._guards.values()):
            self._refuse("503 Service Unavailable")
            return
        self._guards[transport] = self
        self._handler.connection_made(transport)
        self._start_timer(REQUEST_SECONDS)

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_timer()
        self._stop_reading_timer()
        if self._guards.pop(self._transport, None) is not None:
            self._handler.connection_lost(error)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._is_idle = False
        if self._is_in_head:
            if not self._head_bytes:
                self._start_timer(REQUEST_SECONDS)
            if not self._take_head(data):
                self._refuse("431 Request Header Fields Too Large")
                return
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        if not self._is_refused:
            self._handler.eof_received()
        return None

    def pause_writing(self) -> None:
        self._start_reading_timer()
        if not self._is_refused:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._stop_reading_timer()
        if not self._is_refused:
            self._handler.resume_writing()

    # Called by the handler of a request.

    def read_whole(self) -> None:
        """The request has arrived."""
        self._stop_timer()

    def answered(self) -> None:
        """The next request may begin."""
        self._is_in_head, self._head_bytes, self._tail, self._is_idle = True, 0, b"", True

    def gave_way(self) -> bool:
        """Close the connection if nothing is asked or answered there; tell whether."""
        gives_way = self._is_idle and not self._transport.get_write_buffer_size()
        if gives_way:
            self._is_idle = False
            self._transport.close()
        return gives_way

    def _take_head(self, data: bytes) -> bool:
        """False: the head is too large."""
        joined = self._tail + data
        end = joined.find(_END_OF_HEAD)
        if end < 0:
            self._tail = joined[-3:]
            self._head_bytes += len(data)
            return self._head_bytes <= MAX_HEAD_BYTES
        self._is_in_head = False
        return self._head_bytes - len(self._tail) + end <= MAX_HEAD_BYTES

    def _refuse(self, status: str) -> None:
        self._is_refused = True
        self._transport.write(_answer(status))
        self._transport.write_eof()
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._transport.abort)

    def _start_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._refuse, "408 Request Timeout")

    def _start_reading_timer(self) -> None:
        waiting_bytes = self._transport.get_write_buffer_size()
        loop = asyncio.get_running_loop()
        self._reading_timer = loop.call_later(READING_SECONDS, self._look_at_reading, waiting_bytes)

    def _look_at_reading(self, waiting_bytes: int) -> None:
        if self._transport.get_write_buffer_size() >= waiting_bytes:
            self._transport.abort()
        else:
            self._start_reading_timer()

    def _stop_reading_timer(self) -> None:
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
