"""The server's periodic checks: the stall's end, timeouts, the bound on all clients' buffers.

`Housekeeping.step` runs ten times a second on the loop; it looks at a slice of the connections each time, so that ten
thousand of them never cost a whole millisecond at once. All times are durations, so they go by the monotonic clock.

A client that does not read is timed: the time begins anew whenever fewer bytes are left for it. A slow one that reads
steadily is never closed for being slow.
"""

from __future__ import annotations

import logging
import resource
from itertools import islice
from typing import TYPE_CHECKING, Final

from flin.net.command.registry import calls_of_all
from flin.net.data.rooms import Rooms
from flin.net.serve.waiting import after_command

if TYPE_CHECKING:
    from flin.net.client.clients import Client
    from flin.net.run.services import Services

logger = logging.getLogger(__name__)

STEP_SECONDS: Final = 0.1
"""As often as Redis's cron runs."""

STEPS_PER_ROUND: Final = 10
"""Every client is looked at once a second."""

QUERY_BUFFER_BYTES: Final = 1 << 30
"""The most bytes of one client that are read and not run, as in Redis (client-query-buffer-limit)."""

LARGE_OUTPUT_BYTES: Final = 16 << 20
LARGE_OUTPUT_MS: Final = 60_000
"""A client that has more than LARGE_OUTPUT_BYTES unread and takes none of it for LARGE_OUTPUT_MS is closed."""

STUCK_MS: Final = 10_000
"""A client that takes nothing for this long is closed if nothing else can end the wait: its backlog is full, so both
sides would wait forever; or it closes as soon as it has read its last replies."""

FAULTS_MS: Final = 60_000
"""How long after a page fault look-ups expect more. In that time there are none; then the first one costs 0.1 s at most
until the next step."""


def page_faults() -> int:
    """The page faults of this thread that waited for the disk, since its start; 0 where the system does not say."""
    return resource.getrusage(_THIS_THREAD).ru_majflt if _THIS_THREAD is not None else 0


_THIS_THREAD: Final[int | None] = getattr(resource, "RUSAGE_THREAD", None)


class Housekeeping:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._step = 0
        self._counted = (0, 0, 0)
        self._rooms = Rooms(services.databases.keyspaces[0].hot, services.store, services.config.options.memory_limit)
        self._faults = page_faults()
        self._faulted_ms: int | None = None  # when there was a new one; None: since long there was none

    def step(self) -> None:
        """Run one step's checks."""
        services = self._services
        services.pending.refresh_clock()
        services.tick.refresh_steady_clock()
        services.clients.maybe_refresh()
        services.pause.maybe_end()
        services.tracking.bound()
        if services.waiters.ready:  # left over from a batch that was refused
            after_command(services)
        self._look_for_faults()
        self._rooms.step()
        self._check_connections()
        self._step += 1
        if self._step % STEPS_PER_ROUND == 0:
            self._measure_rates()
            services.clients.bound_buffers()

    def _look_for_faults(self) -> None:
        """Filters are read in the mapping of their tables. While the kernel evicts them, the loop would wait for the
        disk in page faults, and with it all clients: then threads read them, as they read blocks."""
        store, now_ms = self._services.store, self._services.tick.steady_ms
        faults = page_faults()
        if faults > self._faults:
            self._faulted_ms = now_ms
        elif self._faulted_ms is not None and now_ms - self._faulted_ms > FAULTS_MS:
            self._faulted_ms = None
        self._faults = faults
        store.awaits_filters = self._faulted_ms is not None

    def _measure_rates(self) -> None:
        """Rates of the last second; CONFIG RESETSTAT sets the counters back to 0."""
        counters, process = self._services.counters, self._services.process
        counted = (calls_of_all(), counters.input_bytes, counters.output_bytes)
        rates = (max(0, now - before) for now, before in zip(counted, self._counted, strict=True))
        process.commands_per_second, process.input_bytes_per_second, process.output_bytes_per_second = rates
        self._counted = counted

    def _check_connections(self) -> None:
        """Check a tenth of the connections: timeouts, and clients that do not read."""
        services = self._services
        connections = services.clients.admitted
        # The slice is taken by position; a client that moves while others close is seen in the next round.
        steady_ms = services.tick.steady_ms
        for client in list(islice(connections.values(), self._step % STEPS_PER_ROUND, None, STEPS_PER_ROUND)):
            reason = self._reason_to_close(client, steady_ms)
            if reason is not None:
                logger.warning("closing %s: %s", client.session.address, reason)
                client.abort()

    def _reason_to_close(self, client: Client, steady_ms: int) -> str | None:
        config = self._services.config
        idle_ms = steady_ms - client.session.last_ms
        if idle_ms > config.options.request_timeout * 1000 and client.is_incomplete:
            return "an incomplete request"
        is_idle = client.is_idle and not client.session.is_listener  # as in Redis, who listens may be silent
        if config.timeout and idle_ms > config.timeout * 1000 and is_idle:
            return "idle"
        if client.input_bytes() > QUERY_BUFFER_BYTES:
            return "over 1 GB of requests waiting"
        reason = self._reason_of_limits(client, steady_ms) or self._reason_of_unread(client, steady_ms)
        if reason is not None:
            self._services.counters.clients_closed_for_output += 1
        return reason

    def _reason_of_limits(self, client: Client, steady_ms: int) -> str | None:
        """Why a client is closed by `client-output-buffer-limit`. (What is beyond a hard limit is met by the next write
        too, but not while the output waits for a sync.)"""
        limit = self._services.clients.output_limit_of(client.session)
        unread = client.output_bytes()
        if limit.hard_bytes and unread > limit.hard_bytes:
            return f"{unread} bytes of output unread, more than the hard limit of {limit.hard_bytes}"
        is_beyond = bool(limit.soft_bytes) and unread > limit.soft_bytes
        if client.unread.note_soft_limit(steady_ms, is_beyond=is_beyond) > limit.soft_seconds * 1000:
            return f"over {limit.soft_bytes} bytes of output unread for {limit.soft_seconds} s"
        return None

    def _reason_of_unread(self, client: Client, steady_ms: int) -> str | None:
        """Why a client that has read nothing for too long is closed; None: it stays."""
        unread = client.output_bytes()
        unread_ms = client.unread.note(unread, steady_ms)
        if unread_ms > LARGE_OUTPUT_MS and unread > LARGE_OUTPUT_BYTES:
            return f"{unread} bytes of replies unread for {LARGE_OUTPUT_MS // 1000} s"
        if unread_ms > STUCK_MS and client.is_full:
            return f"{client.input_bytes()} bytes of requests wait behind replies that it does not read"
        if unread_ms > STUCK_MS and client.is_ending:
            return "it does not take its last replies"
        return None
