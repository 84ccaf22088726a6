"""One connection of HTTP/2 as gRPC uses it (RFC 9113), for one call at a time: bytes in, bytes out, no socket.

    GrpcSession ─► take_output    the preface, and what this side wants
    begin       ─► take_output    a call: its headers and its one message, as far as the other side has room
    receive     ─► messages       one for a plain call, any number for a stream
                   ended          how the call has ended; then the next may begin
                   take_output    answers to pings, room for more, the rest of a long message

A call at a time: whoever makes several has several connections. So an answer is read by the thread that waits for it,
and nothing has to be handed from one thread to another.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple
from urllib.parse import unquote

from flin.cluster.etcd.grpc_headers import STATUS, WireError, decode_headers, encode_headers

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA: Final = 0
HEADERS: Final = 1
RST_STREAM: Final = 3
SETTINGS: Final = 4
PUSH_PROMISE: Final = 5
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
CONTINUATION: Final = 9
"""Kinds of frames."""

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY: Final = 0x20
"""Flags."""

HEADER_TABLE_SIZE: Final = 1
ENABLE_PUSH: Final = 2
INITIAL_WINDOW_SIZE: Final = 4
MAX_FRAME_SIZE: Final = 5
"""Settings."""

FIRST_WINDOW: Final = (1 << 16) - 1
MAX_WINDOW: Final = (1 << 31) - 1
FRAME_BYTES: Final = 1 << 14
"""The longest frame that is sent and taken: nobody asks for longer ones."""

ROOM_BYTES: Final = 1 << 20
"""After so many bytes the other side is told that there is room again, long before it has none: what is not read stays
in the socket, so windows are never what holds it up."""

MAX_BLOCK_BYTES: Final = 1 << 16
MAX_KNOWN: Final = 64
"""Blocks of headers that are kept decoded: a member always sends the same few."""

LAST_STREAM: Final = MAX_WINDOW
REFUSED_STREAM: Final = 7
CANCEL: Final = 8

OK: Final = 0
UNKNOWN: Final = 2
UNAVAILABLE: Final = 14
"""Codes of gRPC that are not only passed on."""

_HEAD: Final = struct.Struct(">HBBBI")
_WORD: Final = struct.Struct(">I")
_SETTING: Final = struct.Struct(">HI")
_PREFIX: Final = struct.Struct(">BI")


class Ended(NamedTuple):
    """How a call has ended."""

    code: int
    details: str
    was_sent: bool = True
    """False: the other side certainly has not begun with it."""


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    length = len(body)
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream) + body


class GrpcSession:
    def __init__(
        self, authority: str, metadata: tuple[tuple[str, str], ...] = (), *, is_encrypted: bool = False
    ) -> None:
        """metadata: sent with each call."""
        self.messages: list[bytes] = []
        """Those of this call, oldest first. Whoever takes them removes them."""
        self.ended: Ended | None = Ended(OK, "")
        """None while a call is under way."""
        self.is_usable = True
        """Another call may begin here after this one."""
        wanted = ((HEADER_TABLE_SIZE, 0), (ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, MAX_WINDOW))
        settings = b"".join(_SETTING.pack(*each) for each in wanted)
        self._output = bytearray(PREFACE + frame(SETTINGS, 0, 0, settings))
        self._output += frame(WINDOW_UPDATE, 0, 0, _WORD.pack(MAX_WINDOW - FIRST_WINDOW))
        self._common = (
            (":scheme", "https" if is_encrypted else "http"),
            (":authority", authority),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            *metadata,
        )
        self._blocks: dict[str, bytes] = {}  # of requests, by path
        self._known: dict[bytes, dict[str, str]] = {}  # blocks that came, decoded
        self._pongs = bytearray()  # answers to pings, until `pong`
        self._input = bytearray()
        self._stream = -1
        self._body = memoryview(b"")  # of the request, what was not sent yet
        self._window = self._first_window = FIRST_WINDOW  # what the other side takes: of all, and of a new stream
        self._stream_window = 0
        self._taken = self._taken_of_stream = 0  # bytes since it was told that there is room
        self._data = bytearray()  # of a message that is not whole yet
        self._block: bytearray | None = None  # of headers that go on in the next frame
        self._block_ends_stream = False
        self._has_begun = False  # the answer: what comes last are its trailers

    def take_output(self) -> bytes:
        output = bytes(self._output)
        self._output.clear()
        return output

    def begin(self, path: str, message: bytes) -> None:
        """Call this method with one message."""
        block = self._blocks.get(path)
        if block is None:
            block = encode_headers(((":method", "POST"), (":path", path), *self._common))
            self._blocks[path] = block
        self._stream += 2
        self.is_usable = self.is_usable and self._stream + 2 < LAST_STREAM
        self.ended, self.messages = None, []
        self._data.clear()
        self._has_begun = False
        self._taken_of_stream = 0
        self._stream_window = self._first_window
        self._output += frame(HEADERS, END_HEADERS, self._stream, block)
        self._body = memoryview(_PREFIX.pack(0, len(message)) + message)
        self._send_body()

    def ping(self) -> None:
        """Ask for a sign of life: any bytes are one."""
        self._output += frame(PING, 0, 0, bytes(8))

    def pong(self) -> None:
        """Answer the pings that have come. Not by itself: a member of etcd probes the bandwidth with one as soon as a
        request has come, if the last one was answered."""
        self._output += self._pongs
        self._pongs.clear()

    def receive(self, data: bytes) -> None:
        """Raises WireError: then the connection is to be closed."""
        buffer = self._input
        buffer += data
        place, size = 0, len(buffer)
        while size - place >= _HEAD.size:
            high, low, kind, flags, stream = _HEAD.unpack_from(buffer, place)
            length = high << 8 | low
            if length > FRAME_BYTES:
                raise WireError(f"a frame of {length} bytes came, and {FRAME_BYTES} are the most")
            end = place + _HEAD.size + length
            if end > size:
                break
            self._take(kind, flags, stream & MAX_WINDOW, bytes(buffer[end - length : end]))
            place = end
        del buffer[:place]

    def _take(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if (self._block is None) is (kind == CONTINUATION):
            raise WireError("a block of headers is not followed by its rest" if self._block else "a rest of nothing")
        if stream > max(self._stream, 0):
            raise WireError(f"stream {stream} was never opened")
        try:
            if kind == DATA:
                self._take_data(flags, stream, body)
            elif kind in (HEADERS, CONTINUATION):
                self._take_block(kind, flags, stream, body)
            elif kind == RST_STREAM:
                self._take_reset(stream, _WORD.unpack(body)[0])
            elif kind == SETTINGS:
                self._take_settings(flags, body)
            elif kind == PING and not flags & ACK:
                self._pongs += frame(PING, ACK, 0, body)
            elif kind == GOAWAY:
                self._take_end(_WORD.unpack_from(body)[0] & MAX_WINDOW)
            elif kind == WINDOW_UPDATE:
                self._take_room(stream, _WORD.unpack(body)[0] & MAX_WINDOW)
            elif kind == PUSH_PROMISE:
                raise WireError("a push came, which was declined")
        except (struct.error, IndexError):
            raise WireError(f"a frame of kind {kind} has {len(body)} bytes, which is too few or too many") from None

    def _is_present(self, stream: int) -> bool:
        """It is the call's: frames of earlier ones may come late."""
        return stream == self._stream and self.ended is None

    # What comes.

    def _take_data(self, flags: int, stream: int, body: bytes) -> None:
        is_present = self._is_present(stream)
        self._make_room(len(body), is_present=is_present)
        if not is_present:
            return
        self._data += _unpadded(flags, body)
        data, place = self._data, 0
        while len(data) - place >= _PREFIX.size:
            is_compressed, length = _PREFIX.unpack_from(data, place)
            if is_compressed:
                raise WireError("a message is compressed, which was not asked for")
            end = place + _PREFIX.size + length
            if end > len(data):
                break
            self.messages.append(bytes(data[end - length : end]))
            place = end
        del data[:place]
        if flags & END_STREAM:
            self._end(Ended(UNKNOWN, "the answer ended without a status"))

    def _make_room(self, taken: int, *, is_present: bool) -> None:
        self._taken += taken
        if self._taken >= ROOM_BYTES:
            self._output += frame(WINDOW_UPDATE, 0, 0, _WORD.pack(self._taken))
            self._taken = 0
        if is_present:
            self._taken_of_stream += taken
            if self._taken_of_stream >= ROOM_BYTES:
                self._output += frame(WINDOW_UPDATE, 0, self._stream, _WORD.pack(self._taken_of_stream))
                self._taken_of_stream = 0

    def _take_block(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if self._block is None:
            self._block = bytearray()
            self._block_ends_stream = bool(flags & END_STREAM)
            body = _unpadded(flags, body)
            if flags & PRIORITY:
                body = body[5:]
        self._block += body
        if len(self._block) > MAX_BLOCK_BYTES:
            raise WireError("headers are too long")
        if flags & END_HEADERS:
            block, self._block = bytes(self._block), None
            if self._is_present(stream):
                self._take_headers(self._headers(block))

    def _headers(self, block: bytes) -> dict[str, str]:
        headers = self._known.get(block)
        if headers is None:
            headers = decode_headers(block)
            if len(self._known) < MAX_KNOWN:
                self._known[block] = headers
        return headers

    def _take_headers(self, headers: dict[str, str]) -> None:
        if not self._has_begun and headers.get(STATUS, "200") != "200":
            self._end(Ended(UNKNOWN, f"the answer has the HTTP status {headers[STATUS]}"))
        elif self._block_ends_stream:
            code = headers.get("grpc-status", "")
            if not code.isdecimal() or len(code) > 2:
                raise WireError("an answer has no status of gRPC")
            self._end(Ended(int(code), unquote(headers.get("grpc-message", ""))))
        self._has_begun = True

    def _take_reset(self, stream: int, code: int) -> None:
        if self._is_present(stream):
            self._body = memoryview(b"")  # it takes no more of that
            self._end(Ended(UNAVAILABLE, f"the call was reset, HTTP/2 error {code}", code != REFUSED_STREAM))

    def _take_settings(self, flags: int, body: bytes) -> None:
        if flags & ACK:
            return
        for name, value in _SETTING.iter_unpack(body):
            if name == INITIAL_WINDOW_SIZE:
                if value > MAX_WINDOW:
                    raise WireError(f"a window of {value} bytes")
                self._stream_window += value - self._first_window
                self._first_window = value
        self._output += frame(SETTINGS, ACK, 0, b"")
        self._send_body()

    def _take_end(self, last: int) -> None:
        """The other side is about to close the connection. Calls up to the last one are answered yet."""
        self.is_usable = False
        if self.ended is None and self._stream > last:
            self._end(Ended(UNAVAILABLE, "the member closes the connection", was_sent=False))

    def _take_room(self, stream: int, more: int) -> None:
        if not stream:
            self._window += more
        elif stream == self._stream:
            self._stream_window += more
        if max(self._window, self._stream_window) > MAX_WINDOW:
            raise WireError("there is more room than HTTP/2 knows")
        self._send_body()

    def _end(self, ended: Ended) -> None:
        self.ended = ended
        if self._body:  # answered before it has come
            self._output += frame(RST_STREAM, 0, self._stream, _WORD.pack(CANCEL))
            self._body = memoryview(b"")

    # What is sent.

    def _send_body(self) -> None:
        """As much of the message as the other side has room for."""
        body = self._body
        while body and (size := min(len(body), FRAME_BYTES, self._window, self._stream_window)) > 0:
            is_last = size == len(body)
            self._output += frame(DATA, END_STREAM if is_last else 0, self._stream, bytes(body[:size]))
            body = body[size:]
            self._window -= size
            self._stream_window -= size
        self._body = body


def _unpadded(flags: int, body: bytes) -> bytes:
    if not flags & PADDED:
        return body
    length = body[0]
    if length >= len(body):
        raise WireError("a frame is padded beyond its end")
    return body[1 : len(body) - length]
