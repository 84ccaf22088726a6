"""The short way of a request: of a lone connection, which waits for each reply before it sends the next request.

Such a client waits for every step of the server, which has slept before each request, so that its code is in no cache:
a call costs three times what it costs in a loop. So one ordinary request goes its whole way here, in few calls. It does
what `receive`, `dispatch.run` and the end of the tick do; whatever is not ordinary takes their way.
"""

from __future__ import annotations

from abc import abstractmethod
from types import GeneratorType
from typing import TYPE_CHECKING

from flin.net.batch.pending import BATCH_BYTES
from flin.net.command.registry import UNTIMED
from flin.net.serve.dispatch import advance, handle
from flin.net.serve.flow import READING
from flin.net.serve.wait import Wait, WaitForSlices
from flin.net.serve.waiting import after_command
from flin.net.serve.way_out import LARGE_CHUNK_BYTES, WayOut
from flin.net.wire.replies import Reply
from flin.net.wire.requests import RequestParser, maybe_single

if TYPE_CHECKING:
    from flin.net.run.context import Context


class ShortWay(WayOut):
    __slots__ = ("_parser", "context")
    context: Context
    _parser: RequestParser

    @abstractmethod
    def receive(self, data: bytes) -> None:
        """Run what has arrived."""

    @abstractmethod
    def _end_turn(self, wait: Wait, begun: int, left: list[list[bytes]]) -> None: ...

    def receive_alone(self, data: bytes) -> None:
        """Run what has arrived, and end the tick, in which nobody has replied yet."""
        tick, session, output, pending, flow = self._tick, self.session, self._output, self._pending, self._flow
        tick.is_scheduled = True  # by the end of this
        try:
            if (
                not session.skips_gates
                or flow.state is not READING
                or not self._parser.is_between_requests
                or self._parser.expects_columns
                or len(data) >= LARGE_CHUNK_BYTES
                or output.is_in_tick
                or tick.is_sampled
                or pending.reply_barrier is not None
                or self._services.slot_gate is not None
                or (requests := maybe_single(data)) is None
                or (command := UNTIMED.get(requests[0][0])) is None
                or not command.minimum <= len(requests[0]) <= command.untimed_maximum
            ):
                self.receive(data)
                return
            request = requests[0]
            pending.now_ms = pending.clock()
            session.last_ms = tick.steady_ms
            session.last_command = request[0]
            self._counters.input_bytes += len(data)
            output.is_in_tick = True
            tick.enter(self)
            tick.speaker = self
            output.turns.append((pending.batches, requests))
            command.calls += 1
            wait = reply = None
            try:
                value = command.handler(self.context, request)
            except Exception as error:
                wait = handle(self, command, request, error)
            else:
                if type(value) is Reply:
                    reply = value.data
                elif type(value) is bytes:
                    reply = b"$%d\r\n%b\r\n" % (len(value), value)
                elif type(value) is GeneratorType:  # of a long string
                    wait = advance(self, WaitForSlices(command, request, value, 0))
                else:
                    reply = session.encode(value)
                transport = self._transport
                if (
                    reply is not None
                    and len(reply) < LARGE_CHUNK_BYTES
                    and pending.large_bytes < BATCH_BYTES
                    and not (output.pieces or output.remarks or flow.is_unread)
                    and flow.state is READING
                    and transport is not None
                    and tick.ends_at_once()
                ):
                    output.is_in_tick = False
                    output.turns.clear()
                    self._counters.output_bytes += len(reply)
                    transport.write(reply)
                    return
                if reply is not None:
                    self.append(reply)
                    if pending.large_bytes >= BATCH_BYTES:  # or a key is ready: as in `run`
                        after_command(self._services)
            if wait is not None:
                self._end_turn(wait, 1, [])
        finally:
            if tick.is_scheduled:
                tick.end()
