"""A connection: the only place that touches a transport.

Bytes arrive, the parser makes requests of them, dispatch runs them and appends replies to this tick's output; the tick
says when that may leave. While a request waits (for the disk, for its next slice, for stalled writers, for its next
turn) reading is paused, so what arrives meanwhile stays in the kernel.

A client that does not read its replies is read on, but not run: most libraries send a whole pipeline before they read
anything, and would wait forever for a server that waits for them. What they send waits unparsed (a GET takes 40 bytes,
its reply a thousand), up to `own_bytes`; beyond it reading stops, and guard.py closes who takes nothing then.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from flin.net.alike import LEAST_REQUESTS, maybe_alike
from flin.net.context import Context
from flin.net.dispatch import (
    STOP,
    TURN_IS_OVER,
    Wait,
    WaitForDisk,
    WaitForSlices,
    WaitForWriters,
    resume,
    run,
    run_alike,
    shown_by,
)
from flin.net.judge import judge_refused, judge_unsynced, may_have_shown
from flin.net.resp import RequestParser, encode_error
from flin.net.resp_python import CrossProtocolError
from flin.net.session import Session
from flin.net.transcript import Transcript
from flin.net.unsynced import EVERYTHING, NOTHING

if TYPE_CHECKING:
    from flin.net.cold import ColdReads
    from flin.net.refusal import Refusal
    from flin.net.services import Services

logger = logging.getLogger(__name__)

TURN_COMMANDS: Final = 256
"""A connection's turn: then the others run (measured: a neighbour's median 242 ms without, 0.18 with it)."""

PAUSE_BYTES: Final = 1 << 20
"""Unread and held replies at which no more requests are run."""

CHUNK_OVERHEAD_BYTES: Final = 64
"""Of a chunk that waits: the object and its place in the queue."""

LARGE_CHUNK_BYTES: Final = 4096
"""Chunks from here on are added up, so that the bound on all clients' buffers is held while they arrive."""

CLOSE_BYTES: Final = 64 << 20
"""Unread and held replies at which the connection is closed."""

NOT_SEEN: Final = 1 << 62
"""Whatever the guard sees next is less, so the client's time begins then."""

UNTRUSTED_OUTPUT_BYTES: Final = 64 << 10
"""The same before authentication."""


class Acceptor(asyncio.Protocol):
    """What a listener makes for each client: it makes the connection once there is a transport."""

    def __init__(self, services: Services, cold: ColdReads, loop: asyncio.AbstractEventLoop) -> None:
        self._services = services
        self._cold = cold
        self._loop = loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods of asyncio.Transport without being its subclass.
        transport = cast(asyncio.Transport, transport)
        transport.set_protocol(accept(self._services, self._cold, self._loop, transport))


def accept(
    services: Services, cold: ColdReads, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport
) -> Connection:
    """A new client's connection. One that is turned away is told so, and closes."""
    connection = Connection(services, cold, loop, transport)
    services.counters.connections += 1
    refusal = services.clients.refusal_of(connection.session)
    if refusal is None:
        services.clients.admitted[connection.session.id] = connection
    else:
        services.counters.rejected_connections += 1
        transport.write(encode_error(refusal))
        connection.close()
    return connection


class Connection(asyncio.Protocol):
    """One client's transport. Its session outlives no connection."""

    __slots__ = (
        "_backlog",
        "_cold",
        "_counters",
        "_expects_alike",
        "_held",
        "_held_bytes",
        "_in_tick",
        "_is_closed",
        "_is_ending",
        "_is_reading",
        "_is_writing_paused",
        "_loop",
        "_out",
        "_parser",
        "_pending",
        "_remarks",
        "_services",
        "_shown",
        "_tick",
        "_transcript",
        "_transport",
        "_turns",
        "_unsynced",
        "_wait",
        "_waiting",
        "_waiting_bytes",
        "_waits_for_reader",
        "append",
        "context",
        "own_bytes",
        "session",
        "unread_bytes",
        "unread_since_ms",
    )

    def __init__(
        self, services: Services, cold: ColdReads, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport
    ) -> None:
        self._services = services
        self._counters = services.counters
        self._pending = services.pending
        self._tick = services.tick
        self._cold = cold
        self._loop = loop
        self._transport: asyncio.Transport | None = transport
        self._out: list[bytes] = []  # of this tick
        self.append: Callable[[bytes], None] = self._out.append
        self._unsynced = self._pending.unsynced  # in `always`
        self._shown = NOTHING  # in this tick: until the WAL is synced so far it may not leave
        # Until the WAL is synced so far; with what it answers, should that fail.
        self._held: deque[tuple[int, bytes, Transcript]] = deque()
        self._held_bytes = 0
        self._in_tick = False
        self._transcript = Transcript()  # of this tick
        self._turns = self._transcript.turns
        self._remarks = self._transcript.remarks
        self._expects_alike = False  # the newest chunk looked like a pipeline of requests alike
        self._backlog: list[list[bytes]] = []
        self._wait: Wait | None = None
        self._is_reading = True
        self._is_writing_paused = False
        self._waits_for_reader = False  # the backlog goes on when the client has read
        self._waiting: deque[bytes] = deque()  # chunks that are not parsed yet
        self._waiting_bytes = 0
        self._is_ending = False  # close once everything said has left
        self._is_closed = False
        self.own_bytes = services.config.client_bytes
        self.unread_bytes = NOT_SEEN  # the guard's: what was left when it last looked, and since when nothing was taken
        self.unread_since_ms = 0
        transport.set_write_buffer_limits(high=PAUSE_BYTES)
        self.session: Session = services.clients.open_session(
            self,
            _address(transport, "peername"),
            _address(transport, "sockname"),
            self._tick.steady_ms,
            _descriptor(transport),
        )
        self.session.remarks = self._remarks
        self.context = Context(services, self.session)
        self._parser = RequestParser(is_trusted=self.session.is_authenticated, limits=services.clients.request_limits)

    # The transport's calls.

    def data_received(self, data: bytes) -> None:
        if self._is_ending or self._is_closed:
            return
        tick, pending = self._tick, self._pending
        pending.now_ms = pending.clock()
        self.session.last_ms = tick.steady_ms
        size = len(data)
        self._counters.input_bytes += size
        if size >= LARGE_CHUNK_BYTES:
            self._services.clients.note_input(size)
            if self._is_closed or self._is_ending:
                return
        if self._is_writing_paused or self._wait is not None:
            self._keep(data)
            return
        requests = self._maybe_run_alike(data) if self._expects_alike else None
        if requests is None:
            requests = self._parser.feed(data)
            if not self._in_tick and (requests or self._parser.error is not None):
                self._in_tick = True
                tick.enter(self)
            if len(requests) >= LEAST_REQUESTS:
                self._expects_alike = list(map(len, requests[0])) == list(map(len, requests[-1]))
        elif not requests and not pending.is_full:
            return  # all of them have run, and nothing is after them
        self._run(requests)

    def eof_received(self) -> bool:
        """What was read before the end is still answered."""
        if self._wait is None and not self._waiting:
            self._end()
        else:
            self._is_ending = True
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._is_closed = True
        self._transport = None
        self._out.clear()
        self._held.clear()
        self._transcript.clear()
        self._drop_requests()
        wait = self._wait
        self._wait = None
        if type(wait) is WaitForSlices:
            wait.slices.close()
        self._services.clients.close_session(self.session)

    def pause_writing(self) -> None:
        self._is_writing_paused = True

    def resume_writing(self) -> None:
        self._is_writing_paused = False
        self.unread_bytes = NOT_SEEN  # the client has read
        if self._wait is None and self._waiting:
            self._suspend(TURN_IS_OVER)
        else:
            self._maybe_go_on()

    # Running requests.

    def _maybe_run_alike(self, data: bytes) -> list[list[bytes]] | None:
        """Run a pipeline of requests alike at once; those that are left to be run one by one. None: `data` is no such.

        Measured in pipelines of 16, per request: GET 755 ns one by one, 560 at once; SET of 100 B 1,290 and 1,030."""
        alike = maybe_alike(data, TURN_COMMANDS) if self._parser.is_between else None
        if alike is None:
            self._expects_alike = False
            return None
        name, columns = alike
        tick = self._tick
        done = run_alike(self, name, columns)  # it commits nothing, so nobody asks who speaks
        if done:
            self._turns.append((self._pending.batches, (name, columns, done)))
        self._counters.commands += done
        self.session.last_name = name
        if not self._in_tick:
            self._in_tick = True
            tick.enter(self)
        if done == len(columns[0]) and self._unsynced is None:
            return []
        requests = [[name, *row] for row in zip(*columns, strict=True)]
        if self._unsynced is not None:
            self._note_shown(requests[:done])
        return requests[done:]

    def _run(self, requests: list[list[bytes]]) -> None:
        """A turn: at most TURN_COMMANDS of them; the rest waits in the backlog."""
        rest: list[list[bytes]] = []
        if len(requests) > TURN_COMMANDS:
            rest = requests[TURN_COMMANDS:]
            requests = requests[:TURN_COMMANDS]
        iterator = iter(requests)
        if requests:
            self._counters.commands += len(requests)
            self.session.last_name = requests[-1][0]
        pending = self._pending
        self._tick.speaker = self
        self._turns.append((pending.batches, requests))
        wait = run(self, iterator)
        if self._unsynced is not None:
            self._note_shown(requests)
        if wait is None:
            if pending.is_full:
                pending.commit()
            if not rest:
                if self._parser.error is not None or self._parser.has_more or self._waiting or self._is_ending:
                    self._after_requests()
                return
            wait = TURN_IS_OVER
        left = [*iterator]
        self._counters.commands -= len(left)
        # What it waits with has no reply yet; a turn that is over, or the last of all, has replied.
        waiting = 0 if wait is TURN_IS_OVER or wait is STOP else 1
        self._transcript.cut_last_turn(len(requests) - len(left) - waiting)
        self._backlog = left + rest
        self._suspend(wait)

    def _note_shown(self, requests: list[list[bytes]]) -> None:
        """In `always`: these have just run, or their first so many have."""
        self._shown = max(self._shown, shown_by(self.context, requests))

    def _after_requests(self) -> None:
        """Everything parsed so far has run: is there more, or an error, or an end?"""
        parser = self._parser
        requests = parser.feed(b"") if parser.has_more else []
        while not requests and self._waiting and parser.error is None:
            requests = parser.feed(self._next_chunk())
        if requests:
            self._backlog = requests
            self._suspend(TURN_IS_OVER)
            return
        if parser.error is not None:
            self._counters.protocol_errors += 1
            if not isinstance(parser.error, CrossProtocolError):
                self.append(encode_error(f"ERR {parser.error}"))
            self._drop_requests()
            self._end()
        elif self._is_ending:
            self._end()

    def _keep(self, data: bytes) -> None:
        """What arrives while the client does not read its replies waits unparsed."""
        self._waiting.append(data)
        self._waiting_bytes += len(data) + CHUNK_OVERHEAD_BYTES
        if self.is_full:
            self._pause_reading()

    def _next_chunk(self) -> bytes:
        data = self._waiting.popleft()
        self._waiting_bytes -= len(data) + CHUNK_OVERHEAD_BYTES
        return data

    def _drop_requests(self) -> None:
        """Nothing more is run."""
        self._backlog = []
        self._waiting.clear()
        self._waiting_bytes = 0

    def _suspend(self, wait: Wait) -> None:
        """Stop reading until what is waited for has come."""
        self._pause_reading()
        if wait is STOP:
            self._wait = None
            self._drop_requests()
            self._end()
            return
        self._wait = wait
        if wait.load is not None:
            self._cold.submit(wait.load, self._continue)
        elif type(wait) is WaitForWriters:
            self._loop.call_later(wait.delay_seconds, self._continue)
        else:
            self._loop.call_soon(self._continue)

    def _continue(self) -> None:
        wait = self._wait
        if self._is_closed or wait is None:
            return
        if wait is TURN_IS_OVER and (self._is_writing_paused or self._held_bytes > PAUSE_BYTES):
            self._waits_for_reader = True
            self._maybe_read()
            return
        self._pending.refresh_clock()
        if not self._in_tick:
            self._in_tick = True
            self._tick.enter(self)
        self._tick.speaker = self
        if type(wait) is not Wait:
            self._turns.append((self._pending.batches, [wait.request]))  # type: ignore[attr-defined]
        again = resume(self, wait)
        if again is not None and again is not TURN_IS_OVER and again is not STOP:
            self._transcript.cut_last_turn(0)
        if type(wait) is WaitForDisk and self._unsynced is not None:
            self._note_shown([wait.request])
        elif wait is not TURN_IS_OVER:
            self._shown = EVERYTHING
        if again is not None and again is not TURN_IS_OVER:
            self._suspend(again)
            return
        self._wait = None
        backlog = self._backlog
        if again is TURN_IS_OVER and backlog:
            self._suspend(again)
            return
        self._backlog = []
        self._run(backlog)
        self._maybe_read()

    # The tick's calls: see tick.Outlet.

    def release(self) -> None:
        self._in_tick = False
        self._shown = NOTHING
        self._turns.clear()
        if self._remarks:
            self._remarks.clear()
        out = self._out
        if self._held:
            self._held.append((0, b"".join(out), Transcript()))
            out.clear()
            self.release_held(1 << 62)
        elif out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            self._write(data)
        if self._is_ending and self._wait is None and not self._waiting:
            self._end()

    def hold(self, position: int, synced_position: int) -> bool:
        self._in_tick = False
        if self._out:
            data = b"".join(self._out)
            self._out.clear()
            self._held.append((min(position, self._shown), data, self._transcript))
            self._transcript = Transcript()
            self._turns = self._transcript.turns
            self.session.remarks = self._remarks = self._transcript.remarks
            self._held_bytes += len(data)
            if self._held_bytes > PAUSE_BYTES:
                self._pause_reading()
        else:
            self._transcript.clear()
        self._shown = NOTHING
        return self.release_held(synced_position)

    def release_held(self, synced_position: int) -> bool:
        held = self._held
        parts: list[bytes] = []
        while held and held[0][0] <= synced_position:
            parts.append(held.popleft()[1])
        if parts:
            data = b"".join(parts)
            self._held_bytes = sum(len(data) for _, data, _ in held)
            self._write(data)
            self._maybe_go_on()
        if not held and self._is_ending and self._wait is None and not self._waiting:
            self._end()
        return bool(held)

    def mark(self, batch: int) -> None:
        self._transcript.mark(batch, len(self._out))

    def refuse(self, batch: int, refusal: Refusal) -> None:
        if self._is_closed:
            return
        context = self.context
        self._out[:] = self._transcript.judged(self._out, judge_refused(refusal, context, self._transcript), batch)
        for keyspace, key, _ in self.session.watched:
            if refusal.holds(keyspace.stored(key)):  # watched in this tick, perhaps as it is not now
                self.session.touch()
        wait = self._wait
        is_running = self._tick.speaker is self
        if type(wait) is WaitForSlices and not is_running and may_have_shown(refusal, context, wait.request):
            wait.slices.close()
            self._wait = WaitForWriters(wait.request, 0.0, 0)  # from its beginning

    def refuse_held(self, synced_position: int) -> None:
        for number, (position, data, transcript) in enumerate(self._held):
            if position > synced_position:
                judge = judge_unsynced(self.context, transcript, synced_position)
                self._held[number] = 0, b"".join(transcript.judged([data], judge)), transcript
        self.release_held(synced_position)

    # The session's calls, and limits.

    def trust(self, trusted: bool) -> None:
        self._parser.trust(trusted)

    def close(self) -> None:
        """Close once what was written has been sent; nothing more is read or run."""
        self._is_ending = True
        self._drop_requests()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now; what was not sent is lost."""
        self._is_ending = True
        self._drop_requests()
        if self._transport is not None:
            self._transport.abort()

    def output_bytes(self) -> int:
        """Said and not yet sent."""
        written = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return written + self._held_bytes

    def input_bytes(self) -> int:
        """Read and not answered yet."""
        backlog = sum(len(part) for request in self._backlog for part in request)
        wait = self._wait
        request = [] if wait is None or type(wait) is Wait else wait.request  # type: ignore[attr-defined]
        running = sum(map(len, request))
        return self._parser.buffered_bytes + self.session.queue_bytes + running + backlog + self._waiting_bytes

    @property
    def is_full(self) -> bool:
        """Whether so much waits that nothing more is read until the client has read."""
        return self._waiting_bytes > 0 and self._waiting_bytes + self.output_bytes() > self.own_bytes

    @property
    def is_incomplete(self) -> bool:
        """Whether a request has begun to arrive and its end has not."""
        return self._wait is None and not self._waiting and self._parser.buffered_bytes > 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing of its is running, waiting or unsent."""
        return self._wait is None and not self._waiting and not self._held

    @property
    def is_ending(self) -> bool:
        """Whether it closes as soon as the client has taken what was said."""
        return self._is_ending

    def finish(self) -> bool:
        """For the server's end: read nothing more; whether everything read has been answered and sent."""
        self._pause_reading()
        return self._wait is None and not self._waiting and not self._in_tick and not self.output_bytes()

    def _end(self) -> None:
        """Close as soon as this tick's output and what is held have left."""
        self._is_ending = True
        if not self._in_tick and not self._held:
            self.close()

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if len(data) > self.own_bytes:  # a value that was stored when the memory limit was larger
            self._counters.clients_closed_for_output += 1
            logger.warning("closing %s: a reply of %d bytes exceeds its share", self.session.address, len(data))
            self.abort()
            return
        self._counters.output_bytes += len(data)
        if self._is_writing_paused or not self.session.is_authenticated:
            # Before the write: a single reply may be as long as a value.
            limit = CLOSE_BYTES if self.session.is_authenticated else UNTRUSTED_OUTPUT_BYTES
            if transport.get_write_buffer_size() > limit:
                self._counters.clients_closed_for_output += 1
                logger.warning("closing %s: over %d bytes of unread replies", self.session.address, limit)
                self.abort()
                return
        transport.write(data)

    def _pause_reading(self) -> None:
        if self._is_reading and self._transport is not None and not self._transport.is_closing():
            self._is_reading = False
            self._transport.pause_reading()

    def _maybe_go_on(self) -> None:
        """The client has read, or what was held has left."""
        if self._waits_for_reader:
            self._waits_for_reader = False
            self._loop.call_soon(self._continue)
        else:
            self._maybe_read()

    def _maybe_read(self) -> None:
        """Read on, unless something still speaks against it."""
        if (
            not self._is_reading
            and (self._wait is None or (self._waits_for_reader and self._is_writing_paused))
            and not self.is_full
            and self._held_bytes <= PAUSE_BYTES
            and not self._is_ending
            and self._transport is not None
            and not self._transport.is_closing()
        ):
            self._is_reading = True
            self._transport.resume_reading()


def _descriptor(transport: asyncio.Transport) -> int:
    peer = transport.get_extra_info("socket")
    return -1 if peer is None else peer.fileno()


def _address(transport: asyncio.Transport, what: str) -> str:
    """`host:port`, `[host]:port` as Redis prints it, or the path of a Unix socket."""
    name: Any = transport.get_extra_info(what)
    if isinstance(name, tuple) and len(name) >= 2:
        host, port = name[0], name[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return str(name or "?:0")
