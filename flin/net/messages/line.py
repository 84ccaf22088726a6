"""The line: how a message that is published to one worker reaches the subscribers of the others.

Messages for the others stand among what the tick sends, as if the line were a subscriber (tick.ReplySink): they leave
when the writes that they may tell of are in the write-ahead log (in `always`: synced), and are dropped with them. They
leave in the order in which they were published. The board (cluster/board.py) says which workers have subscribers at
all: only those get them, and if there are none, a publication costs a look there.

On the way a message is a frame: the lengths of channel and payload, 4 bytes each, then both. This module knows no
sockets: see serve/neighbours.py.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flin.net.batch.refusal import Refusal
    from flin.net.cluster.board import Board

HEADER: Final = struct.Struct("<II")

MAX_FRAME_BYTES: Final = 1 << 30
"""Channel and payload have at most 512 MB each, as all that a client sends (proto-max-bulk-len)."""

ADDED_BYTES: Final = 100
"""What a message takes beside its frame while it waits: a tuple, and its place in the list."""

Send = Callable[[list[int], bytes, int], None]
"""Sends to these workers these bytes: so many whole frames."""


def encode_frame(channel: bytes, payload: bytes) -> bytes:
    return b"%b%b%b" % (HEADER.pack(len(channel), len(payload)), channel, payload)


def number_of_frames(data: bytes) -> int:
    """How many whole frames the bytes are. ValueError if they are something else."""
    begin = number = 0
    while begin < len(data):
        if len(data) - begin < HEADER.size:
            raise ValueError("half a message")
        begin += HEADER.size + sum(HEADER.unpack_from(data, begin))
        number += 1
    if begin > len(data):
        raise ValueError("half a message")
    return number


class Frames:
    """What one other worker sends, as messages again."""

    __slots__ = ("_needed", "_read")

    def __init__(self) -> None:
        self._read = bytearray()
        self._needed = HEADER.size  # so many bytes must be there before it is worth a look

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The messages that are whole now: channel and payload. ValueError for bytes that no worker sends."""
        self._read += data
        if len(self._read) < self._needed:
            return []
        whole, begin = bytes(self._read), 0
        messages: list[tuple[bytes, bytes]] = []
        while len(whole) - begin >= HEADER.size:
            channel_bytes, payload_bytes = HEADER.unpack_from(whole, begin)
            if channel_bytes + payload_bytes > MAX_FRAME_BYTES:
                raise ValueError(f"a message of {channel_bytes + payload_bytes} bytes")
            middle = begin + HEADER.size + channel_bytes
            end = middle + payload_bytes
            if end > len(whole):
                self._needed = end - begin
                break
            messages.append((whole[begin + HEADER.size : middle], whole[middle:end]))
            begin = end
        else:
            self._needed = HEADER.size
        del self._read[:begin]
        return messages


class Line:
    """Where one worker's messages for the others wait. enter: the tick's."""

    __slots__ = ("_enter", "_frames", "_held", "_is_in_tick", "_own", "_send", "board", "max_bytes")

    def __init__(
        self, board: Board, own: int, enter: Callable[[Line], None], send: Send, max_bytes: int = MAX_FRAME_BYTES
    ) -> None:
        """max_bytes: of channel and payload together; longer ones may not be published."""
        self.board = board
        self.max_bytes = max_bytes
        self._own = own
        self._enter = enter
        self._send = send
        self._frames: list[tuple[int, int, bytes]] = []  # of this tick: the batch, how many frames, these
        self._is_in_tick = False
        self._held: deque[tuple[int, int, bytes]] = deque()  # positions to wait for, with numbers of frames

    @property
    def is_heard(self) -> bool:
        """Whether a publication could reach a subscriber of another worker."""
        return self.board.is_heard(self._own)

    def note_listening(self, is_listening: bool) -> None:
        """This worker has its first subscriber, or none any more."""
        self.board.set_listening(self._own, is_listening)

    def add(self, batch: int, number: int, frames: bytes) -> None:
        """Send messages with this tick: so many frames, of the batch with this number."""
        if not self._is_in_tick:
            self._is_in_tick = True
            self._enter(self)
        self._frames.append((batch, number, frames))

    # Called by the tick: see tick.ReplySink.

    def release(self) -> None:
        self._release_held()
        number, data = self._taken()
        self._deliver(number, data)

    def hold(self, position: int, synced_position: int) -> bool:
        number, data = self._taken()
        if number:
            self._held.append((position, number, data))
        return self.release_held(synced_position)

    def release_held(self, synced_position: int) -> bool:
        self._release_held(synced_position)
        return bool(self._held)

    def mark(self, batch: int) -> None:
        pass  # each message knows its batch

    def refuse(self, batch: int, refusal: Refusal) -> None:
        self._frames[:] = [each for each in self._frames if each[0] != batch]

    def deny(self, *, has_committed: bool) -> None:
        """Messages are about no data."""

    def refuse_held(self, synced_position: int) -> None:
        self._release_held(synced_position)
        self._held.clear()

    def _taken(self) -> tuple[int, bytes]:
        """Those of this tick, which has ended."""
        self._is_in_tick = False
        number = sum([number for _, number, _ in self._frames])
        data = b"".join([frames for _, _, frames in self._frames])
        self._frames.clear()
        return number, data

    def _release_held(self, synced_position: int | None = None) -> None:
        """None: all of them."""
        while self._held and (synced_position is None or self._held[0][0] <= synced_position):
            _, number, data = self._held.popleft()
            self._deliver(number, data)

    def _deliver(self, number: int, data: bytes) -> None:
        if number:
            self._send(self.board.listeners(self._own), data, number)
