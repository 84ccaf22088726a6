"""A connection: the only place that touches a transport.

Bytes arrive, the parser makes requests of them (requests.py), dispatch runs them and appends replies to this tick's
output (output.py); the tick says when that may leave. flow.py decides the connection's state, and when its transport
is read: while a request waits, or its next turn, what arrives stays in the kernel. One that waits for a key (BLPOP) is
read on, so that the end of its client is noticed; what arrives waits in the backlog.

If a client does not read its replies, the server still reads its requests, but does not run them. They wait unparsed
(backlog.py), up to `own_bytes`; beyond it reading stops, and serve/housekeeping.py closes a client that takes nothing
then.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from flin.net.batch.reply_barrier import EVERYTHING, NOTHING
from flin.net.client.session import Session, Silence
from flin.net.client.unread import Unread
from flin.net.run.context import Context
from flin.net.serve.backlog import Backlog
from flin.net.serve.dispatch import (
    position_for,
    resume,
    run,
    run_columns,
    run_following,
    run_following_columns,
    run_own,
    run_own_columns,
)
from flin.net.serve.flow import BLOCKED, CLOSED, ENDING, HELD, READING, Event
from flin.net.serve.judge import (
    UNCERTAIN_REPLY,
    judge_lapsed,
    judge_refused,
    judge_uncertain,
    judge_unsynced,
    may_have_shown,
)
from flin.net.serve.peer import TransportPeer, has_hung_up
from flin.net.serve.round import MAX_CHUNK_BYTES, Round
from flin.net.serve.script_waits import WaitForOwnScript, WaitForScript
from flin.net.serve.short_way import ShortWay
from flin.net.serve.wait import STOP, TURN_IS_OVER, Wait, WaitForDisk, WaitForPause, WaitForSlices, WaitForWriters
from flin.net.serve.waiting import ROLE_CHANGED, UNBLOCKED, WaitForReady, after_command
from flin.net.serve.way_out import LARGE_CHUNK_BYTES, PAUSE_BYTES
from flin.net.wire.requests import RequestParser
from flin.net.wire.resp import encode_error
from flin.net.wire.resp_python import CrossProtocolError

if TYPE_CHECKING:
    from flin.net.batch.refusal import Refusal
    from flin.net.run.services import Services
    from flin.net.serve.cold import ColdReads

logger = logging.getLogger(__name__)

TURN_COMMANDS: Final = 256
"""Commands of a connection's turn: then the others run (measured: another client's median 242 ms without, 0.18 with
it)."""

_LEFT_BEHIND: Final = (WaitForReady, WaitForPause, WaitForScript)
"""Waits that end with the client, or with the server: nothing of such a request has run."""


class Connection(ShortWay, asyncio.Protocol):
    """One client's connection. Its session ends with it."""

    __slots__ = ("_backlog", "_cold", "_lanes", "_loop", "_unread", "_wait")
    _run_requests = staticmethod(run)
    _run_columns = staticmethod(run_columns)

    def __init__(
        self, services: Services, cold: ColdReads, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport
    ) -> None:
        session: Session = services.clients.open_session(self, TransportPeer(transport), services.tick.steady_ms)
        super().__init__(services, session, transport)
        transport.set_write_buffer_limits(high=PAUSE_BYTES)
        self._cold = cold
        self._lanes = services.part(Round).lanes
        self._loop = loop
        self._backlog = Backlog()
        self._unread: Unread | None = None  # once somebody looks
        self._wait: Wait | None = None  # what it waits for, or TURN_IS_OVER
        self.context = Context(services, session)
        self._parser = RequestParser(is_trusted=session.is_authenticated, limits=services.clients.request_limits)

    # Called by the transport.

    def data_received(self, data: bytes) -> None:
        tick = self._tick
        if tick.is_crowded:
            session = self.session
            lane = self._lanes[session.protocol]
            if self in lane:
                self.receive(lane.pop(self))
            elif (
                session.skips_gates
                and self._flow.state is READING
                and len(data) < MAX_CHUNK_BYTES
                and self._parser.is_between_requests
                and not self._output.is_in_tick
                and not self._output.held
                and not session.database
                and session.subscriptions is None
            ):
                lane[self] = data
                session.last_ms = tick.steady_ms
                if not tick.has_aside:
                    tick.put_aside()
                return
        elif tick.lone is self and not tick.is_scheduled:
            self.receive_alone(data)
            return
        self.receive(data)

    def receive(self, data: bytes) -> None:
        flow = self._flow
        state = flow.state
        if state is not READING and flow.is_over:
            return
        pending = self._pending
        pending.now_ms = pending.clock()
        self.session.last_ms = self._tick.steady_ms
        size = len(data)
        self._counters.input_bytes += size
        if size >= LARGE_CHUNK_BYTES:
            self._services.clients.note_input(size)
            state = flow.state  # it may close this one
        if state is not READING:
            if not flow.is_over:
                self._backlog.keep(data)
                if state is BLOCKED and self.is_full and type(self._wait) is WaitForReady:
                    self._counters.clients_closed_for_output += 1
                    logger.warning(
                        "closing %s: its requests behind one that waits exceed its share", self.session.address
                    )
                    self.abort()
                self._update_reading()
            return
        parser = self._parser
        requests = self._maybe_run_columns(data) if parser.expects_columns else None
        if requests is None:
            requests = parser.feed(data)
            output = self._output
            if not output.is_in_tick and (requests or parser.error is not None):
                output.is_in_tick = True
                self._tick.enter(self)
        elif not requests and not pending.is_full:
            return  # all of them have run, and nothing follows them
        self._run(requests)

    def eof_received(self) -> bool:
        """The client sends nothing more: what was read before is still answered."""
        self._run_aside()
        self._flow.is_last = True
        if self._is_done or type(self._wait) in _LEFT_BEHIND:  # as in Redis: nobody is there to be told
            self._end()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._run_aside()
        self._flow.on(Event.LOSE)
        self._transport = None
        self._output.clear()
        self._backlog.clear()
        self._leave_lines()
        wait, self._wait = self._wait, None
        if wait is not None:
            wait.close()
        self._services.clients.close_session(self.session)
        self._tick.forget(self)

    def pause_writing(self) -> None:
        self._flow.is_unread = True
        self._maybe_hold()

    def resume_writing(self) -> None:
        self._flow.is_unread = False
        self.unread.begin()
        self._maybe_go_on()

    # A round: see round.Joining.

    def _run_aside(self) -> None:
        """Run the chunk that is put aside, if there is one: something follows it."""
        lane = self._lanes[self.session.protocol]
        if self in lane:
            self.receive(lane.pop(self))

    def run_rest(self, requests: list[list[bytes]]) -> None:
        self._run(requests)

    # Running requests.

    def _maybe_run_columns(self, data: bytes) -> list[list[bytes]] | None:
        """Run a pipeline as columns, if `data` is one (else None); returns the requests that must be run one by one.

        Measured in pipelines of 16, per request: GET 755 ns one by one, 560 at once; SET of 100 B 1,290 and 1,030."""
        found = self._parser.maybe_columns(data, TURN_COMMANDS)
        if found is None:
            return None
        name, columns = found
        batch = self._pending.batches
        done = self._run_columns(self, name, columns)  # it commits nothing, so nobody asks for the speaker
        output = self._output
        if done:
            output.turns.append((batch, (name, columns, done)))
        self.session.last_command = name
        if not output.is_in_tick:
            output.is_in_tick = True
            self._tick.enter(self)
        is_always = self._pending.reply_barrier is not None
        if done == len(columns[0]) and not is_always:
            return []
        requests = [[name, *row] for row in zip(*columns, strict=True)]
        if is_always:
            self._note_shown(requests[:done])
        return requests[done:]

    def _run(self, requests: list[list[bytes]]) -> None:
        """Run a turn: at most TURN_COMMANDS of the requests; the rest wait in the backlog."""
        rest: list[list[bytes]] = []
        if len(requests) > TURN_COMMANDS:
            rest = requests[TURN_COMMANDS:]
            requests = requests[:TURN_COMMANDS]
        iterator = iter(requests)
        if requests:
            self.session.last_command = requests[-1][0]
        pending = self._pending
        self._tick.speaker = self
        self._output.turns.append((pending.batches, requests))
        wait = self._run_requests(self, iterator)
        if pending.reply_barrier is not None:
            self._note_shown(requests)
        if wait is None:
            if pending.is_full:
                after_command(self._services)
            if not rest:
                if self._parser.incremental is not None or self._backlog.chunks or self._flow.is_last:
                    self._after_requests()
                return
            wait = TURN_IS_OVER
        left = [*iterator]
        self._end_turn(wait, len(requests) - len(left), left + rest)

    def _end_turn(self, wait: Wait, begun: int, left: list[list[bytes]]) -> None:
        """So many requests of the turn have begun, and the rest waits."""
        # The request that waits has no reply yet; at the end of a turn, or at STOP, the last request has one.
        waiting = 0 if wait is TURN_IS_OVER or wait is STOP else 1
        self._output.transcript.cut_last_turn(begun - waiting)
        self._backlog.requests = left
        self._suspend(wait)

    def _note_shown(self, requests: list[list[bytes]]) -> None:
        """In `always`: note what the replies to these requests, which have just run, show."""
        self._output.shown = max(self._output.shown, position_for(self.context, requests))

    def _after_requests(self) -> None:
        """Everything parsed so far has run: go on with the backlog, reply to an error of the protocol, or end."""
        parser, backlog = self._parser, self._backlog
        requests = parser.feed(b"") if parser.has_more else []
        while not requests and backlog.chunks and parser.error is None:
            requests = parser.feed(backlog.next_chunk())
        if requests:
            backlog.requests = requests
            self._suspend(TURN_IS_OVER)
            return
        if parser.error is not None:
            self._counters.protocol_errors += 1
            if not isinstance(parser.error, CrossProtocolError) and self.session.silence is Silence.NONE:
                self.append(encode_error(f"ERR {parser.error}"))
            self._end()
        elif self._flow.is_last:
            self._end()

    def _suspend(self, wait: Wait) -> None:
        """Stop reading until the wait is over."""
        if wait is STOP:
            self._wait = None
            self._end()
            return
        self._wait = wait
        if type(wait) is WaitForReady:
            self._block(wait)
            return
        if isinstance(wait, WaitForPause | WaitForScript | WaitForOwnScript):
            wait.begin(self._loop, self._end_wait)
            self._flow.on(Event.BLOCK)
            self._update_reading()
            return
        self._flow.on(Event.END_TURN if wait is TURN_IS_OVER else Event.WAIT)
        self._update_reading()
        if wait.load is not None:
            self._cold.submit(wait.load, self._continue)
        elif type(wait) is WaitForWriters:
            self._loop.call_later(wait.delay_seconds, self._continue)
        else:
            self._loop.call_soon(self._continue)

    # Waiting for a key: see waiting.BlockedClient.

    def _block(self, wait: WaitForReady) -> None:
        wait.begin(self)
        if self._flow.is_last or not self._flow.may_read:
            self._end()
            return
        self._flow.on(Event.BLOCK)
        self._update_reading()
        if wait.wanted.seconds:
            wait.timer = self._loop.call_later(wait.wanted.seconds, self._time_out, wait)

    def _time_out(self, wait: WaitForReady) -> None:
        self._pending.refresh_clock()
        wait.give_up()

    def _end_wait(self, wait: Wait) -> None:
        """CLIENT PAUSE or a script has ended, as far as this request knows; nothing if it was woken before."""
        if self._wait is wait:
            wait.leave()
            self._flow.on(Event.END_TURN)
            self._continue()

    def unblock(self, *, with_error: bool) -> bool:
        wait = self._wait
        if type(wait) is not WaitForReady:
            return False
        wait.give_up(error=UNBLOCKED if with_error else "")
        return True

    @property
    def has_hung_up(self) -> bool:
        transport = self._transport
        return transport is None or transport.is_closing() or has_hung_up(self.session.peer.descriptor)

    def hang_up(self) -> None:
        self._end()

    def answer(self, wait: WaitForReady, data: bytes, batch: int) -> None:
        output = self._output
        if not output.is_in_tick:
            output.is_in_tick = True
            self._tick.enter(self)
        output.turns.append((batch, [wait.request]))
        if self.session.silence is Silence.NONE:
            self.append(data)
        else:
            self.session.leave_out(wait.request, server_gates_open=self._services.clients.gates_open)
        output.shown = EVERYTHING
        self._leave_lines()
        self._flow.on(Event.FINISH)
        if self._backlog.requests or self._backlog.chunks or self._parser.incremental is not None:
            self._suspend(TURN_IS_OVER)
        else:
            self._maybe_hold()
            self._update_reading()

    def _leave_lines(self) -> None:
        """It does not wait for a key any more, nor for the end of a pause or a script, if it did."""
        wait = self._wait
        if wait is not None and type(wait) in _LEFT_BEHIND:
            self._wait = None
            wait.leave()

    def _continue(self) -> None:
        """The wait is over, or the connection's turn has come."""
        flow, wait = self._flow, self._wait
        if flow.is_over or wait is None:
            return
        if wait is TURN_IS_OVER and flow.is_blocked:
            flow.on(Event.HOLD)
            self._update_reading()
            return
        self._pending.refresh_clock()
        if not self._output.is_in_tick:
            self._output.is_in_tick = True
            self._tick.enter(self)
        self._tick.speaker = self
        if wait is not TURN_IS_OVER:
            again = self._resume(wait)
            if again is not None and (again is not TURN_IS_OVER or self._backlog.requests):
                self._suspend(again)
                return
        self._wait = None
        flow.on(Event.FINISH)
        self._run(self._backlog.take_requests())
        self._maybe_hold()
        self._update_reading()

    def _resume(self, wait: Wait) -> Wait | None:
        """Go on with a request that has waited. Returns why it waits again, or None."""
        output = self._output
        request: list[bytes] = wait.request  # type: ignore[attr-defined]
        output.turns.append((self._pending.batches, [request]))
        again = resume(self, wait)
        if again is not None and again is not TURN_IS_OVER and again is not STOP:
            output.transcript.cut_last_turn(0)
        if type(wait) is WaitForDisk and self._pending.reply_barrier is not None:
            self._note_shown([request])
        else:
            output.shown = EVERYTHING
        return again

    # Called by the tick: see tick.ReplySink.

    def _note_held(self) -> None:
        """Called when more is held than before, or less."""
        flow = self._flow
        flow.is_overheld = self._output.held_bytes > PAUSE_BYTES
        self._maybe_hold()
        self._maybe_go_on()
        if flow.state is ENDING:
            self._end()

    def refuse(self, batch: int, refusal: Refusal) -> None:
        if self._flow.state is CLOSED:
            return
        context, output = self.context, self._output
        output.judge(judge_refused(refusal, context, output.transcript), batch)
        for keyspace, key, _ in self.session.watched:
            if refusal.holds(keyspace.stored(key)):  # watched in this tick, perhaps in a state that is gone
                self.session.touch()
        wait = self._wait
        is_running = self._tick.speaker is self
        if type(wait) is WaitForSlices and not is_running and may_have_shown(refusal, context, wait.request):
            wait.slices.close()
            self._wait = WaitForWriters(wait.request, 0.0, 0)  # from its beginning

    def refuse_held(self, synced_position: int) -> None:
        output = self._output
        is_replica = self._services.role is not None
        is_uncertain = False
        for number, (position, _, transcript) in enumerate(output.held):
            if position > synced_position:
                is_uncertain = is_replica
                judge = (
                    judge_uncertain(self.context, transcript)
                    if is_replica
                    else judge_unsynced(self.context, transcript, synced_position)
                )
                output.replace_held(number, judge)
        self.release_held(synced_position)
        if is_uncertain:
            self._end()

    def deny(self, *, has_committed: bool) -> None:
        if self._flow.state is CLOSED:
            return
        output = self._output
        judge = judge_lapsed(self.context, output.transcript, has_committed=has_committed)
        output.pieces[:] = output.transcript.judged(output.pieces, judge, keeps_messages=True)
        if not output.has_messages:
            output.shown = NOTHING  # an append whose outcome is not known may take as long as a majority is away
        if has_committed and any(piece.startswith(UNCERTAIN_REPLY) for piece in output.pieces):
            self._end()

    # Called by the session; limits.

    def trust(self, trusted: bool) -> None:
        self._parser.trust(trusted)

    def _stop(self) -> None:
        """Run nothing more, in this round either."""
        self._flow.on(Event.STOP)
        self.session.skips_gates = False
        self._lanes[self.session.protocol].pop(self, None)
        self._backlog.clear()
        self._leave_lines()
        if self.session.subscriptions is not None:
            self._services.pubsub.leave(self.session)

    def close(self) -> None:
        """Close once what was written has been sent; nothing more is read or run."""
        self._stop()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now; what was not sent is lost."""
        self._stop()
        if self._transport is not None:
            self._transport.abort()

    @property
    def unread(self) -> Unread:
        if self._unread is None:
            self._unread = Unread()
        return self._unread

    def input_bytes(self) -> int:
        """Bytes of requests that are read and not answered yet."""
        wait = self._wait
        request = [] if wait is None or type(wait) is Wait else wait.request  # type: ignore[attr-defined]
        running = sum(map(len, request))
        return self._parser.buffered_bytes + self.session.queue_bytes + running + self._backlog.size_bytes()

    @property
    def is_full(self) -> bool:
        """Whether its backlog is full: nothing more is read until the client has read."""
        waiting = self._backlog.chunk_bytes
        return waiting > 0 and waiting + self.output_bytes() > self.own_bytes

    @property
    def _is_done(self) -> bool:
        """Whether no request of this client is running or waiting to be run."""
        return self._wait is None and not self._backlog.chunks and self not in self._lanes[self.session.protocol]

    @property
    def is_incomplete(self) -> bool:
        """Whether a request has begun to arrive and its end has not."""
        return self._is_done and self._parser.buffered_bytes > 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing of this client is running, waiting or unsent."""
        return self._is_done and not self._output.held

    @property
    def is_ending(self) -> bool:
        """Whether it closes as soon as the client has read its last replies."""
        return self._flow.is_last or self._flow.is_over

    def finish(self) -> bool:
        """At the server's end: read nothing more. Returns whether everything read has been answered and sent."""
        self._flow.may_read = False
        if type(self._wait) is WaitForReady and self._services.role is not None:
            self._wait.give_up(error=ROLE_CHANGED)
        if type(self._wait) in _LEFT_BEHIND:
            self._end()
        self._update_reading()
        return self._is_done and not self._output.is_in_tick and not self.output_bytes()

    def _end(self) -> None:
        """Run nothing more, and close as soon as this tick's output and what is held have left."""
        self._stop()
        if not self._output.is_in_tick and not self._output.held and self._transport is not None:
            self._transport.close()

    # What follows from the state of the flow.

    def _maybe_hold(self) -> None:
        """If the way out is blocked, run nothing more."""
        if self._flow.state is READING and self._flow.is_blocked:
            self._flow.on(Event.HOLD)
            self._update_reading()

    def _maybe_go_on(self) -> None:
        """Go on if the client has read, or what was held has left."""
        flow = self._flow
        if flow.state is HELD and not flow.is_blocked:
            if not self._is_done:
                self._suspend(TURN_IS_OVER)
                return
            flow.on(Event.FINISH)
        self._update_reading()

    def _update_reading(self) -> None:
        """Pause or resume reading from the transport, if that has changed."""
        flow, transport = self._flow, self._transport
        if transport is None or transport.is_closing():
            return
        wanted = flow.wants_reading(is_full=self.is_full)
        if wanted != flow.is_reading:
            flow.is_reading = wanted
            if wanted:
                transport.resume_reading()
            else:
                transport.pause_reading()


class FollowerConnection(Connection):
    """One to a follower."""

    __slots__ = ()
    _run_requests = staticmethod(run_following)
    _run_columns = staticmethod(run_following_columns)


class ClusterConnection(Connection):
    """One to a node of a cluster. A class of its own, so that others need not ask."""

    __slots__ = ()
    _run_requests = staticmethod(run_own)
    _run_columns = staticmethod(run_own_columns)
