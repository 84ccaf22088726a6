"""The other workers of the server, as one of them reaches them: a pair of connected sockets for every two.

The supervisor makes the pairs. When a worker starts, again or for the first time, it sends an end to the new one and
the other to each that lives, through a socket that it shares with each (`control`): four bytes, the number of the
worker at the other end, and the descriptor with them. So an end that takes the place of an older one tells that this
worker is a new process. On a node of a cluster the supervisor keeps such an end itself, for the other nodes.

What a worker does not take (it hangs, or is slower than the others publish) is kept for it, up to MAX_UNSENT_BYTES.
Then it misses whole messages, until it has read: a connection is not dropped, so what follows arrives.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from flin.net.messages.line import MAX_FRAME_BYTES, Frames, Line

if TYPE_CHECKING:
    from flin.net.cluster.board import Board
    from flin.net.messages.pubsub import PubSub
    from flin.net.run.services import Services

logger = logging.getLogger(__name__)

NUMBER: Final = struct.Struct("<I")

MAX_UNSENT_BYTES: Final = 32 << 20
"""What is kept for one worker: as much as a subscriber may leave unread before it is closed, by default. A whole tick's
messages may come on top."""

READ_BYTES: Final = 1 << 16
"""Read at once: some 600 small messages, which take a millisecond; more would keep clients waiting."""

REPORT_SECONDS: Final = 10.0
"""From one line of the log about the same worker to the next."""


class Neighbour:
    """The socket to one other worker. deliver: gets its messages, channels and payloads. on_end: called when the other
    side has closed it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        end: socket.socket,
        deliver: Callable[[list[tuple[bytes, bytes]]], None],
        on_end: Callable[[], None],
    ) -> None:
        end.setblocking(False)
        self._loop = loop
        self._socket = end
        self._deliver = deliver
        self._on_end = on_end
        self._frames = Frames()
        self._unsent: deque[memoryview] = deque()
        self.unsent_bytes = 0
        loop.add_reader(end, self._read)

    def send(self, data: bytes) -> bool:
        """Send it when the other side takes it. False: too much waits already, so it is dropped."""
        if self._unsent:
            if self.unsent_bytes >= MAX_UNSENT_BYTES:
                return False
            self._unsent.append(memoryview(data))
            self.unsent_bytes += len(data)
            return True
        sent = self._sent(data)
        if sent < len(data):
            self._unsent.append(memoryview(data)[sent:])
            self.unsent_bytes = len(data) - sent
            self._loop.add_writer(self._socket, self._write)
        return True

    def close(self) -> None:
        """Idempotent. What is not sent is lost."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
            self._socket.close()
        self._unsent.clear()

    def _sent(self, data: bytes | memoryview) -> int:
        """How much of it is sent now. A socket without another end takes all: its end is told by reading."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    def _write(self) -> None:
        unsent = self._unsent
        while unsent:
            first = unsent[0]
            sent = self._sent(first)
            self.unsent_bytes -= sent
            if sent < len(first):
                unsent[0] = first[sent:]
                return
            unsent.popleft()
        self._loop.remove_writer(self._socket)

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
            messages = self._frames.feed(data)
        except BlockingIOError:
            return
        except ConnectionError:  # it has ended, and had not read everything
            data, messages = b"", []
        except (OSError, ValueError) as error:
            logger.error("another worker sent what is no message: %s", error)
            data, messages = b"", []
        self._deliver(messages)
        if not data:
            self.close()
            self._on_end()


class Neighbours:
    """All other workers, as long as this process lives; its server, or one server after the other, begins and rests.
    What comes meanwhile nobody hears. It also counts what is dropped."""

    def __init__(
        self, board: Board, control: socket.socket, number: int, max_message_bytes: int = MAX_FRAME_BYTES
    ) -> None:
        """control: its ends come through this; the other side is the supervisor's. number: its place on the board."""
        self._board = board
        self._control = control
        self._own = number
        self._max_message_bytes = max_message_bytes
        self._loop: asyncio.AbstractEventLoop
        self._pubsub: PubSub | None = None
        self._ends: dict[int, Neighbour] = {}
        self._told_at: dict[int, float] = {}  # when the log was told that a worker misses messages
        self._missed = 0
        self._control.setblocking(False)

    def begin(self, services: Services, loop: asyncio.AbstractEventLoop) -> None:
        """This server publishes, and hears."""
        self._loop = loop
        gate = services.slot_gate
        assert gate is not None
        if services.role is None:
            gate.board = self._board
        self.beat()
        self._pubsub = services.pubsub
        self._pubsub.line = Line(self._board, self._own, services.tick.enter, self._send, self._max_message_bytes)
        loop.add_reader(self._control, self._look)

    def beat(self) -> None:
        """The loop runs."""
        self._board.beat(self._own)

    def rest(self) -> None:
        """The server ends. Idempotent."""
        if self._pubsub is not None:
            self._pubsub.line = None
            self._pubsub = None
            self._board.set_listening(self._own, False)

    def close(self) -> None:
        """At the end: nothing is sent or heard any more. Idempotent."""
        self.rest()
        if hasattr(self, "_loop") and self._control.fileno() >= 0:  # else no server has begun
            self._loop.remove_reader(self._control)
        self._control.close()
        for each in self._ends.values():
            each.close()
        self._ends.clear()

    def _send(self, workers: list[int], data: bytes, number: int) -> None:
        if not self._ends.keys() >= {*workers}:  # one has just started: its end has come, or else it has ended
            self._look()
        for worker in workers:
            neighbour = self._ends.get(worker)
            if neighbour is not None and not neighbour.send(data):
                self._note_missed(worker, number)

    def _note_missed(self, worker: int, number: int) -> None:
        self._missed += number
        self._board.add_missed(self._own, number)
        now = self._loop.time()
        if now - self._told_at.get(worker, -REPORT_SECONDS) >= REPORT_SECONDS:
            self._told_at[worker] = now
            logger.warning(
                "worker %d does not read what is published here: more than %d bytes wait, so its subscribers miss "
                "messages (%d since the last report)",
                worker,
                MAX_UNSENT_BYTES,
                self._missed,
            )
            self._missed = 0

    def _look(self) -> None:
        """Take the ends that the supervisor has sent."""
        while True:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._control, NUMBER.size, 1)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data, descriptors = b"", []
            if not data:  # the supervisor is gone, and this process is about to end
                self._loop.remove_reader(self._control)
                return
            if not descriptors:  # no file was left for it
                logger.error("the line to worker %d is lost: too many open files", NUMBER.unpack(data)[0])
                continue
            os.set_inheritable(descriptors[0], False)
            self._attach(NUMBER.unpack(data)[0], socket.socket(fileno=descriptors[0]))

    def _attach(self, worker: int, end: socket.socket) -> None:
        if worker in self._ends:
            self._ends[worker].close()
        neighbour = Neighbour(self._loop, end, self._deliver, partial(self._detach, worker))
        self._ends[worker] = neighbour

    def _deliver(self, messages: list[tuple[bytes, bytes]]) -> None:
        if self._pubsub is not None:
            self._pubsub.deliver(messages)

    def _detach(self, worker: int) -> None:
        """The worker has ended. (What it has sent before was delivered.)"""
        del self._ends[worker]
