"""A tick: one round of the event loop, with the batch of its writes and the replies that wait for it.

Theory. Commands of all connections that arrive in one round write into one pending batch and append their replies to
their connections' output. At the end of the round (`call_soon`), or when the batch holds 1 MiB, the batch becomes one
WAL frame. Only then may replies leave: at once in the sync modes `interval` and `never`, in `always` when the WAL is
synced up to the position that they are tagged with. Replies to reads carry a tag too: they may have shown a write that
is not synced yet (unsynced.py judges that).

If the WAL write fails, the batch is dropped: memory does not hold what is not written. Then those replies of the tick
that wrote, or were shown what was dropped, are replaced (refusal.py); everybody else gets what was said, and nobody is
closed.

This module knows no transport: an `Outlet` is what a connection shows of itself.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from flin.engine.boundaries import add, ranges_of
from flin.engine.entry import Entry
from flin.errors import FlinError, LimitError
from flin.net.refusal import Refusal
from flin.net.unsynced import Unsynced

if TYPE_CHECKING:
    from flin.net.journal import Journal
    from flin.net.store import Store

logger = logging.getLogger(__name__)

BATCH_ENTRIES: Final = 1024
"""With values of at most 1 KiB (longer ones are summed in `large_bytes`) this bounds a batch to about 1 MiB."""

SAMPLED_TICKS: Final = 61
"""Of so many ticks one is timed, request by request: INFO commandstats estimates the time of brief commands from it.
Odd, so that of commands that take turns every one is met; two looks at the clock cost a GET 2 %, one in 61 nothing."""

BATCH_BYTES: Final = 1 << 20
"""A longer frame makes every waiting reply wait longer and gains nothing: the WAL write is one copy either way."""

SHORT_ENTRY_BYTES: Final = 1 << 16
"""Far above key and short value of nearly every entry: so many of them cannot pass a limit unseen."""

Savepoint: TypeAlias = tuple[dict[bytes, Entry], list[bytes], int]


def steady_ms() -> int:
    """Milliseconds since some moment, whatever happens to the wall clock."""
    return time.monotonic_ns() // 1_000_000


class Outlet(Protocol):
    """A connection, as far as the tick knows it."""

    def release(self) -> None:
        """Send what was said in this tick."""

    def hold(self, position: int, synced_position: int) -> bool:
        """Keep what was said in this tick until the WAL is synced up to the position, or up to what was shown if that
        is less; whether something is still held now that it is synced up to the second position."""

    def release_held(self, synced_position: int) -> bool:
        """Send what was held for a position up to this one; whether something is still held."""

    def mark(self, batch: int) -> None:
        """In the middle of what it says a batch was committed; what it says next belongs to this one."""

    def refuse(self, batch: int, refusal: Refusal) -> None:
        """The batch was refused: replace what was said of it."""

    def refuse_held(self, synced_position: int) -> None:
        """What is held for a position after this one will never be durable: replace it, and send everything held."""


class Tick:
    """The present round. `pending` is one dict forever; `now_ms` is the clock of the commands that run.

    Two clocks: expiries are moments, so they go by the engine's clock, which may be set; ages, time-outs and the uptime
    are durations, so they go by the monotonic one."""

    __slots__ = (
        "_call_soon",
        "_executor",
        "_holding",
        "_is_scheduled",
        "_is_syncing",
        "_outlets",
        "_store",
        "_ticks",
        "_wake",
        "after_commit",
        "batches",
        "clock",
        "failures",
        "in_transaction",
        "is_sampled",
        "journals",
        "large_bytes",
        "now_ms",
        "pending",
        "ranges",
        "speaker",
        "steady_clock",
        "steady_ms",
        "unsynced",
    )

    def __init__(
        self,
        store: Store,
        call_soon: Callable[[Callable[[], None]], object],
        *,
        is_always: bool = False,
        executor: Executor | None = None,
        wake: Callable[[Callable[[], None]], object] | None = None,
        steady_clock: Callable[[], int] = steady_ms,
    ) -> None:
        """executor runs `store.sync` (one thread), wake is the loop's call_soon_threadsafe: both only for `always`."""
        self.pending: dict[bytes, Entry] = {}
        self.ranges: list[bytes] = []  # boundaries of what the pending batch deletes, older than its entries
        self.in_transaction = False  # EXEC runs: its writes stay in one frame, so nothing may commit in between
        self.is_sampled = False
        self._ticks = 0
        self.journals: list[Journal] = []  # of commands that read in slices
        self.now_ms = store.now_ms()
        self.steady_clock = steady_clock
        self.steady_ms = steady_clock()  # read ten times a second: what durations are counted with
        self.large_bytes = 0
        self.batches = 0
        self.failures = 0
        self.after_commit: Callable[[], None] = _nothing  # told after each batch, and after a failed one
        self.speaker: Outlet | None = None  # whose requests run just now
        self._store = store
        self.clock = store.now_ms
        self._call_soon = call_soon
        self._is_scheduled = False
        self._outlets: list[Outlet] = []
        self.unsynced = Unsynced(self.pending, self.ranges) if is_always else None
        self._executor = executor
        self._wake = wake
        self._is_syncing = False
        self._holding: deque[Outlet] = deque()

    def enter(self, outlet: Outlet) -> None:
        """A connection begins to say something in this tick. Once per connection and tick."""
        self._outlets.append(outlet)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._call_soon(self.end)

    def refresh_clock(self) -> None:
        self.now_ms = self.clock()

    def refresh_steady_clock(self) -> None:
        self.steady_ms = self.steady_clock()

    @property
    def is_full(self) -> bool:
        """Time to commit, between two commands: a command's writes stay in one frame."""
        return len(self.pending) >= BATCH_ENTRIES or self.large_bytes >= BATCH_BYTES

    def commit(self) -> None:
        """Make the pending batch a frame now, or have it refused: then it is as if nobody had written it."""
        if self.pending or self.ranges:
            self._commit()

    def delete_range(self, start: bytes, stop: bytes) -> None:
        """Delete what is stored from start to stop, as part of the pending batch."""
        pending = self.pending
        for key in [key for key in pending if start <= key < stop]:
            del pending[key]
        add(self.ranges, start, stop)

    def end(self) -> None:
        """The end of the round: the WAL write, then the replies."""
        self._is_scheduled = False
        self._ticks += 1
        self.is_sampled = self._ticks % SAMPLED_TICKS == 0
        self.speaker = None
        self.commit()
        outlets = self._outlets
        self._outlets = []
        if self.unsynced is not None and self._store.synced_position < self._store.position:
            position, synced = self._store.position, self._store.synced_position
            self._holding.extend([outlet for outlet in outlets if outlet.hold(position, synced)])
            if self._holding:
                self._begin_sync()
        else:
            for outlet in outlets:
                outlet.release()

    def _commit(self) -> None:
        for journal in self.journals:
            journal.note(self.pending, self.ranges)
        try:
            position = self._store.commit(self.pending, ranges_of(self.ranges) if self.ranges else ())
        except Exception as error:  # whatever it is, the replies of this tick are still owed
            self._refuse(error)
            return
        if self.unsynced is not None:
            self.unsynced.note_commit(position)
        self.pending.clear()
        self.ranges.clear()
        self.large_bytes = 0
        self.batches += 1
        if self.speaker is not None:
            self.speaker.mark(self.batches)
        self.after_commit()

    def _refuse(self, error: Exception) -> None:
        unexpected = None if isinstance(error, FlinError) else error
        logger.error("a batch of %d writes was refused: %s", len(self.pending), error, exc_info=unexpected)
        self.failures += 1
        refusal = Refusal(set(self.pending), tuple(self.ranges), error)
        self.pending.clear()
        self.ranges.clear()
        self.large_bytes = 0
        self.after_commit()
        for outlet in self._outlets:
            outlet.refuse(self.batches, refusal)

    # A transaction's writes are one frame, or nothing.

    def savepoint(self) -> Savepoint:
        """What is pending now."""
        return dict(self.pending), list(self.ranges), self.large_bytes

    def roll_back(self, savepoint: Savepoint) -> None:
        """To what was pending then."""
        pending, ranges, self.large_bytes = savepoint
        self.pending.clear()
        self.pending.update(pending)
        self.ranges[:] = ranges

    def check_size(self, maximum: int) -> None:
        """LimitError if what is pending has more bytes than this."""
        if self.large_bytes + SHORT_ENTRY_BYTES * len(self.pending) > maximum:  # or it may not be looked at
            size = sum(map(len, self.pending)) + sum(map(_size_of, self.pending.values()))
            if size > maximum:
                raise LimitError("the size of its writes in bytes", size, maximum)

    # Sync waits (`always`). One sync at a time; the next covers every frame since.

    def _begin_sync(self) -> None:
        if not self._is_syncing:
            assert self._executor is not None
            assert self._wake is not None
            assert self.unsynced is not None
            self._is_syncing = True
            self.unsynced.begin_sync()
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
            self.failures += 1
            for outlet in dict.fromkeys(holding):
                outlet.refuse_held(self._store.synced_position)
            return
        synced = self._store.synced_position
        assert self.unsynced is not None
        self.unsynced.end_sync(synced)
        self._holding.extend(outlet for outlet in dict.fromkeys(holding) if outlet.release_held(synced))
        if self._holding:
            self._begin_sync()


def _size_of(entry: Entry) -> int:
    if type(entry) is bytes:
        return len(entry)
    return len(entry[0]) if type(entry) is tuple else 0


def _nothing() -> None:
    pass
