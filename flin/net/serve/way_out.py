"""The way out of a connection: what leaves it, and when. A tick decides (run/tick.py), a round delivers (round.py).

Replies join the output of the tick (output.py). In `always` they are held until the WAL is synced up to what they show.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from flin.net.batch.reply_barrier import EVERYTHING, NOTHING
from flin.net.client.link import discard
from flin.net.client.session import Session
from flin.net.messages.message import Message, message_of
from flin.net.serve.flow import READING, Flow
from flin.net.serve.output import Output

if TYPE_CHECKING:
    from flin.net.batch.pending import Pending
    from flin.net.batch.refusal import Refusal
    from flin.net.client.counters import Counters
    from flin.net.run.services import Services
    from flin.net.run.tick import Tick
    from flin.net.wire.columns import Column

logger = logging.getLogger(__name__)

PAUSE_BYTES: Final = 1 << 20
"""Unread and held replies at which no more requests are run."""

LARGE_CHUNK_BYTES: Final = 4096
"""Chunks from this size on are added up, so that the bound on all clients' buffers is held while they arrive."""


class WayOut(ABC):
    """What a connection writes."""

    __slots__ = ("_counters", "_flow", "_output", "_pending", "_services", "_tick", "_transport", "append", "session")

    def __init__(self, services: Services, session: Session, transport: asyncio.Transport) -> None:
        self._services = services
        self._counters: Counters = services.counters
        self._pending: Pending = services.pending
        self._tick: Tick = services.tick
        self._transport: asyncio.Transport | None = transport
        self._flow = Flow()
        self.session = session
        self._output = Output(session.remarks)
        self.append: Callable[[bytes], None] = self._output.pieces.append

    @abstractmethod
    def abort(self) -> None:
        """Close now; what was not sent is lost."""

    @abstractmethod
    def refuse(self, batch: int, refusal: Refusal) -> None: ...

    @abstractmethod
    def refuse_held(self, synced_position: int) -> None: ...

    @abstractmethod
    def deny(self, *, has_committed: bool) -> None: ...

    @abstractmethod
    def _note_held(self) -> None:
        """Called when more is held than before, or less."""

    # Messages: what it is sent without having asked.

    def push(self, data: bytes) -> None:
        self.outlet()(data if type(data) is Message else message_of(data, self._pending.batches))

    def outlet(self) -> Callable[[bytes], None]:
        output = self._output
        if not output.is_in_tick:
            if self._flow.is_over:
                return discard
            output.is_in_tick = True
            self._tick.enter(self)
        output.shown = EVERYTHING
        output.has_messages = True
        return self.append

    # Called by a round: see round.Joining.

    def deliver(self, name: bytes, reply: bytes) -> None:
        self.session.last_command = name
        self._write(reply)
        if self._flow.state is not READING:
            self._note_held()

    def owe(self, name: bytes, columns: list[Column], replies: Sequence[bytes]) -> None:
        output = self._output
        output.turns.append((self._pending.batches, (name, columns, len(replies))))
        self.append(b"".join(replies))
        self.session.last_command = name
        if not output.is_in_tick:
            output.is_in_tick = True
            self._tick.enter(self)

    def show(self, position: int) -> None:
        self._output.shown = max(self._output.shown, position)

    # Called by the tick: see tick.ReplySink.

    def release(self) -> None:
        output = self._output
        if output.held:
            self._write(output.take())
        else:  # Output.take, written out: a call costs 2 % of a GET
            output.is_in_tick = False
            output.shown = NOTHING
            output.turns.clear()
            if output.remarks:
                output.remarks.clear()
            pieces = output.pieces
            if pieces:
                data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
                pieces.clear()
                self._write(data)
        if self._flow.state is not READING:  # the connection ends, or too much was held
            self._note_held()

    def hold(self, position: int, synced_position: int) -> bool:
        self._output.hold(position)
        return self.release_held(synced_position)

    def release_held(self, synced_position: int) -> bool:
        output = self._output
        data = output.take_held(synced_position)
        if data:
            self._write(data)
        if output.held_bytes > PAUSE_BYTES or self._flow.state is not READING:
            self._note_held()
        return bool(output.held)

    def mark(self, batch: int) -> None:
        self._output.transcript.mark(batch, len(self._output.pieces))

    # Limits.

    def output_bytes(self) -> int:
        """Bytes of replies that are not sent yet."""
        written = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return written + self._output.held_bytes

    @property
    def own_bytes(self) -> int:
        """The most bytes that this client's buffers may hold."""
        return self._services.config.client_bytes

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is None:
            return
        size, flow = len(data), self._flow
        if size < LARGE_CHUNK_BYTES and flow.state is READING and not flow.is_unread and self.session.is_authenticated:
            self._counters.output_bytes += size
            transport.write(data)
            return
        if transport.is_closing():
            return
        if size >= LARGE_CHUNK_BYTES and size > self.own_bytes:  # a value stored when the memory limit was larger
            self._counters.clients_closed_for_output += 1
            logger.warning("closing %s: a reply of %d bytes exceeds its share", self.session.address, size)
            self.abort()
            return
        self._counters.output_bytes += size
        if self._flow.is_unread or not self.session.is_authenticated:
            # Before the write: a single reply may be as long as a value.
            limit = self._services.clients.most_unread_bytes(self.session)
            if transport.get_write_buffer_size() > limit:
                self._counters.clients_closed_for_output += 1
                logger.warning("closing %s: over %d bytes of unread replies", self.session.address, limit)
                self.abort()
                return
        transport.write(data)
