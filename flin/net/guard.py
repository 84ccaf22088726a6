"""What the server does by the clock: the stall's end, time-outs, the bound on all clients' buffers.

`Guard.step` runs ten times a second on the loop; it looks at a slice of the connections each time, so that ten thousand
of them cost no millisecond at once. All times are durations, so they go by the monotonic clock.

A client that does not read is judged by what it takes: its clock begins anew whenever what is left for it gets less.
A slow one that reads steadily is never closed for being slow.
"""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flin.net.connection import Connection
    from flin.net.services import Services

logger = logging.getLogger(__name__)

STEP_SECONDS: Final = 0.1
"""Redis's cron runs as often."""

STEPS_PER_ROUND: Final = 10
"""Every connection is looked at once a second."""

QUERY_BUFFER_BYTES: Final = 1 << 30
"""A client may have so much read and not run, as in Redis (client-query-buffer-limit)."""

LARGE_OUTPUT_BYTES: Final = 16 << 20
LARGE_OUTPUT_MS: Final = 60_000
"""A client with so much unread that takes nothing of it for so long is closed."""

STUCK_MS: Final = 10_000
"""A client that takes nothing for so long is closed where nobody else can help: all that it may send waits, so both
sides would wait forever; or it is to be closed as soon as it has taken its last replies."""


class Guard:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._step = 0
        self._commands = 0
        services.bound_buffers = self.bound_buffers

    def step(self) -> None:
        """One look around."""
        services = self._services
        services.pending.refresh_clock()
        services.tick.refresh_steady_clock()
        services.maybe_refresh()
        self._check_connections()
        self._step += 1
        if self._step % STEPS_PER_ROUND == 0:
            commands = services.counters.commands
            services.commands_per_second = max(0, commands - self._commands)
            self._commands = commands
            self.bound_buffers()

    def _check_connections(self) -> None:
        """A tenth of them: time-outs and clients that do not read."""
        services = self._services
        connections = services.connections
        # The slice is taken by position; a connection that moves while others close is seen in the next round.
        steady_ms = services.tick.steady_ms
        for connection in list(islice(connections.values(), self._step % STEPS_PER_ROUND, None, STEPS_PER_ROUND)):
            reason = self._reason_to_close(connection, steady_ms)
            if reason is not None:
                logger.warning("closing %s: %s", connection.session.address, reason)
                connection.abort()

    def _reason_to_close(self, connection: Connection, steady_ms: int) -> str | None:
        config = self._services.config
        idle_ms = steady_ms - connection.session.last_ms
        if idle_ms > config.options.request_timeout * 1000 and connection.is_incomplete:
            return "an incomplete request"
        if config.timeout and idle_ms > config.timeout * 1000 and connection.is_idle:
            return "idle"
        if connection.input_bytes() > QUERY_BUFFER_BYTES:
            return "over 1 GB of requests waiting"
        reason = self._reason_of_unread(connection, steady_ms)
        if reason is not None:
            self._services.counters.clients_closed_for_output += 1
        return reason

    def _reason_of_unread(self, connection: Connection, steady_ms: int) -> str | None:
        """How long has it taken nothing of what is left for it?"""
        unread = connection.output_bytes()
        if unread < connection.unread_bytes or not unread:
            connection.unread_since_ms = steady_ms
        connection.unread_bytes = unread
        unread_ms = steady_ms - connection.unread_since_ms
        if unread_ms > LARGE_OUTPUT_MS and unread > LARGE_OUTPUT_BYTES:
            return f"{unread} bytes of replies unread for {LARGE_OUTPUT_MS // 1000} s"
        if unread_ms > STUCK_MS and connection.is_full:
            return f"{connection.input_bytes()} bytes of requests wait behind replies that it does not read"
        if unread_ms > STUCK_MS and connection.is_ending:
            return "it does not take its last replies"
        return None

    def bound_buffers(self) -> None:
        """All clients' buffers together stay below their share; the largest goes first."""
        services = self._services
        if services.buffered_bytes() <= services.config.buffers_bytes:
            return
        sizes = {
            connection: connection.output_bytes() + connection.input_bytes()
            for connection in services.connections.values()
            if not connection.session.is_no_evict
        }
        excess = sum(sizes.values()) - services.config.buffers_bytes
        for connection in sorted(sizes, key=lambda connection: sizes[connection], reverse=True):
            if excess <= 0:
                return
            excess -= sizes[connection]
            services.counters.clients_closed_for_output += 1
            logger.warning(
                "closing %s: clients' buffers exceed their share of %d bytes, and %d of them are its own",
                connection.session.address,
                services.config.buffers_bytes,
                sizes[connection],
            )
            connection.abort()
