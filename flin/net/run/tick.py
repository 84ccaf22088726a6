"""A tick: one round of the event loop, and the replies that wait for the batch of its writes.

Theory. Commands of all connections that arrive in one round write into one pending batch and append their replies to
their connections' output. At the end of the round (`call_soon`), or when the batch is full, the batch becomes one WAL
frame. Only then may replies leave: at once in the sync modes `interval` and `never`, in `always` when the WAL is synced
up to the position that they are tagged with. Replies to reads carry a tag too: they may have shown a write that is not
synced yet (batch/reply_barrier.py decides that).

If the WAL write fails, the batch is dropped: memory does not hold what is not written. Then the replies to requests
that wrote, or were shown what was dropped, are replaced (judge.py); all other replies leave unchanged, and no
connection is closed.

This module knows no transport: a `ReplySink` is what a connection shows of itself.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from flin.net.batch.pending import Pending
    from flin.net.batch.refusal import Refusal
    from flin.net.batch.store import StoreLike

logger = logging.getLogger(__name__)

SAMPLED_TICKS: Final = 61
"""One tick in 61 is timed, request by request: INFO commandstats estimates the time of untimed commands from it. Odd,
so that commands that take turns are all met; two looks at the clock cost a GET 2 %, in one tick of 61 nothing."""


OUTLETS: Final = 512
"""Connections whose replies are sent in one round; the others wait for the next one. 1,000 sends take 3 ms: a message
to many subscribers must not hold up everybody else for longer than half of that."""


def steady_ms() -> int:
    """Milliseconds since some moment; changes of the wall clock do not affect it."""
    return time.monotonic_ns() // 1_000_000


class ReplySink(Protocol):
    """A connection, as far as the tick knows it."""

    def release(self) -> None:
        """Send the replies of this tick."""

    def hold(self, position: int, synced_position: int) -> bool:
        """Hold the replies of this tick until the WAL is synced up to the position, or up to what they show if that is
        less. Returns whether some are still held, now that it is synced up to `synced_position`."""

    def release_held(self, synced_position: int) -> bool:
        """Send the replies held for a position up to this one. Returns whether some are still held."""

    def mark(self, batch: int) -> None:
        """A batch was committed in the middle of its replies; those that follow belong to this one."""

    def refuse(self, batch: int, refusal: Refusal) -> None:
        """The batch was refused: replace the replies that show it."""

    def refuse_held(self, synced_position: int) -> None:
        """The sync failed after this position: replace the replies held for later ones, and send everything held."""

    def deny(self, *, has_committed: bool) -> None:
        """The leader's lease has lapsed: replace this tick's replies about data. has_committed: some of what it wrote
        may be on its way to the log."""


class RoundLike(Protocol):
    """The requests that connections have put aside until the end of the round (serve/round.py)."""

    def run(self) -> None:
        """Run them. Connections whose requests must run alone enter the tick."""

    def batch_committed(self) -> None:
        """What was answered so far is final."""

    def batch_refused(self) -> None:
        """What was answered since the last batch is to be judged: its connections enter the tick."""

    def release(self) -> int:
        """Send the replies. Returns to how many connections."""

    def owe_all(self) -> None:
        """None of the replies is sent as it is: its connections enter the tick."""


CROWD: Final = 4
"""Connections that replied in one round: from so many on, requests are put aside in the next one. Fewer gain nothing by
being run together, and one that waits for each reply would pay for the look."""


LONE_TICKS: Final = 16
"""A connection that was the only one to reply in so many ticks, with no other such one between them, is a lone one:
what it sends is answered as it arrives. To wait for the end of the round, where others might have joined it, takes 1 of
the 15 µs of a request."""


class Tick:
    """The present round.

    Expiries are moments, so they go by the engine's clock, which may be set (pending.py); ages, timeouts and the uptime
    are durations, so they go by the monotonic one, which is here."""

    __slots__ = (
        "_call_soon",
        "_executor",
        "_holding",
        "_is_syncing",
        "_last_alone",
        "_pending",
        "_sinks",
        "_store",
        "_times_alone",
        "_wake",
        "has_aside",
        "is_crowded",
        "is_sampled",
        "is_scheduled",
        "lone",
        "round",
        "speaker",
        "steady_clock",
        "steady_ms",
        "ticks",
    )

    def __init__(
        self,
        store: StoreLike,
        pending: Pending,
        call_soon: Callable[[Callable[[], None]], object],
        *,
        executor: Executor | None = None,
        wake: Callable[[Callable[[], None]], object] | None = None,
        steady_clock: Callable[[], int] = steady_ms,
    ) -> None:
        """executor runs `store.sync` (one thread), wake is the loop's call_soon_threadsafe: both only for `always`."""
        self.is_sampled = False
        self.speaker: ReplySink | None = None  # the connection whose requests are running
        self.round: RoundLike  # set before any connection puts something aside
        self.is_crowded = False  # many replied in the last round: chunks may be put aside in this one
        self.has_aside = False
        self.is_scheduled = False  # `end` will be called
        self.lone: ReplySink | None = None  # the only one that speaks, for some time: it may call `end` itself
        self._last_alone: ReplySink | None = None  # the only one to reply in the last tick
        self._times_alone = 0  # in so many ticks in a row
        self.steady_clock = steady_clock
        self.steady_ms = steady_clock()  # read ten times a second; durations are counted with it
        self.ticks = 0  # that have ended
        self._store = store
        self._pending = pending
        self._call_soon = call_soon
        self._sinks: list[ReplySink] = []
        self._executor = executor
        self._wake = wake
        self._is_syncing = False
        self._holding: deque[ReplySink] = deque()
        pending.listen(self)

    def enter(self, sink: ReplySink) -> None:
        """A connection begins to reply in this tick. Once per connection and tick."""
        self._sinks.append(sink)
        if not self.is_scheduled:
            self.is_scheduled = True
            self._call_soon(self.end)

    def put_aside(self) -> None:
        """A connection is the first of this round to put a chunk aside."""
        self.has_aside = True
        self.schedule_end()

    def schedule_end(self) -> None:
        """Something was written, and perhaps nobody replies in this tick."""
        if not self.is_scheduled:
            self.is_scheduled = True
            self._call_soon(self.end)

    def refresh_steady_clock(self) -> None:
        self.steady_ms = self.steady_clock()

    def end(self) -> None:
        """The end of the round: what was put aside, the WAL write, then the replies."""
        self.speaker = None
        if self.has_aside:
            self.round.run()
            self.speaker = None
        self.is_scheduled = False
        if not self._pending.in_transaction:  # a long script runs in its thread: what has replied shows nothing of it
            self._pending.commit()
        sinks = self._sinks
        self._sinks = []
        self.ticks += 1
        self.is_sampled = self.ticks % SAMPLED_TICKS == 0
        spoke = len(sinks)
        if self.has_aside:  # first: the others may have messages for the same clients, which their requests caused
            self.has_aside = False
            spoke += self.round.release()
        self.is_crowded = spoke >= CROWD
        alone = sinks[0] if spoke == 1 and sinks else None
        if alone is not self.lone:
            self._note_alone(alone)
        if self._pending.reply_barrier is not None and self._store.synced_position < self._store.position:
            position, synced = self._store.position, self._store.synced_position
            self._holding.extend([sink for sink in sinks if sink.hold(position, synced)])
            if self._holding:
                self._begin_sync()
            return
        if len(sinks) <= OUTLETS:
            for sink in sinks:
                sink.release()
        else:
            # What they run meanwhile joins their output: so they wait for the batch of the next round as it does.
            for sink in sinks[OUTLETS:]:
                self.enter(sink)
            for sink in sinks[:OUTLETS]:
                sink.release()

    def ends_at_once(self) -> bool:
        """The lone connection has entered, and run a request. Whether nothing was written, and nobody else has entered:
        then this tick has ended without `end`, and the connection sends its reply itself."""
        pending = self._pending
        if len(self._sinks) > 1 or self.has_aside or pending.points or pending.ranges:
            return False
        self._sinks.clear()
        self.speaker = None
        self.is_scheduled = False
        self.ticks += 1
        self.is_sampled = self.ticks % SAMPLED_TICKS == 0
        self.is_crowded = False
        return True

    def _note_alone(self, sink: ReplySink | None) -> None:
        """Only this one has replied in a tick, and it is not the lone one yet; None: several have, or none."""
        self._times_alone = self._times_alone + 1 if sink is self._last_alone else 1
        self._last_alone = sink
        self.lone = sink if self._times_alone >= LONE_TICKS else None

    def forget(self, sink: ReplySink) -> None:
        """It has ended."""
        if sink is self._last_alone:
            self._note_alone(None)

    def end_all(self) -> None:
        """End rounds until nobody has anything to send."""
        self.end()
        while self._sinks:
            self.end()

    # Called by the pending batch.

    def batch_committed(self) -> None:
        if self.has_aside:
            self.round.batch_committed()
        if self.speaker is not None:
            self.speaker.mark(self._pending.batches)

    def batch_refused(self, refusal: Refusal) -> None:
        if self.has_aside:
            self.round.batch_refused()
        for sink in self._sinks:
            sink.refuse(self._pending.batches, refusal)

    # Sync waits (`always`). One sync at a time; the next covers every frame since.

    def _begin_sync(self) -> None:
        if not self._is_syncing:
            assert self._executor is not None
            assert self._wake is not None
            assert self._pending.reply_barrier is not None
            self._is_syncing = True
            self._pending.reply_barrier.begin_sync()
            wake = self._wake
            self._executor.submit(self._store.sync).add_done_callback(
                lambda future: wake(lambda: self._end_sync(future)) and None
            )

    def _end_sync(self, future: Future[None]) -> None:
        self._is_syncing = False
        holding = self._holding
        self._holding = deque()
        error = future.exception()
        if error is not None:
            logger.error("the WAL could not be synced: %s", error)
            self._pending.failures += 1
            for sink in dict.fromkeys(holding):
                sink.refuse_held(self._store.synced_position)
            return
        synced = self._store.synced_position
        assert self._pending.reply_barrier is not None
        self._pending.reply_barrier.end_sync(synced)
        self._release_synced([*dict.fromkeys(holding)], synced)

    def _release_synced(self, sinks: list[ReplySink], synced: int) -> None:
        """Send what may leave now, in portions, and begin the sync of the rest."""
        self._holding.extend([sink for sink in sinks[:OUTLETS] if sink.release_held(synced)])
        if self._holding:
            self._begin_sync()
        if len(sinks) > OUTLETS:
            self._call_soon(lambda: self._release_synced(sinks[OUTLETS:], synced))
