"""Maintenance: periodic work. It syncs the WAL once per interval, sweeps expired keys, fits the block cache to its
room, removes obsolete files, and flushes range deletes under which much lies. One thread does it, at the pace of
pace.py.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from threading import Event
from time import monotonic, sleep
from typing import Final

from flin.engine.background.background_statistics import BackgroundStatistics
from flin.engine.background.compaction import CompactionOptions
from flin.engine.background.damaged_work import DamagedWork
from flin.engine.background.hidden_entries import is_worth_a_flush
from flin.engine.background.idle import Quiet
from flin.engine.background.pace import Pace
from flin.engine.background.sweep import Sweeper
from flin.engine.tree.store import Store
from flin.errors import ClosedError, CorruptionError

SPACE_SECONDS: Final = 10.0
"""From one look for range deletes that are worth a flush to the next; each looks at the bounds of all tables."""


class Maintenance:
    """The maintenance of one open store. A failure is noted, and the work tried again."""

    def __init__(
        self,
        store: Store,
        sweeper: Sweeper,
        damaged: DamagedWork,
        statistics: BackgroundStatistics,
        note_failure: Callable[[BaseException], None],
        quiet: Quiet,
        on_quiet: Callable[[], None],
    ) -> None:
        """`on_quiet` is called each time that nothing has been written for long enough."""
        self.ended: Final = Event()
        self._store = store
        self._opened_at = store.position  # until the first write the cache keeps the room that it was opened with
        self._sweeper = sweeper
        self._damaged = damaged
        self._statistics = statistics
        self._note_failure = note_failure
        self._quiet = quiet
        self._on_quiet = on_quiet

    def run(self) -> None:
        """The thread's work, until `ended` is set or the store is closed."""
        store = self._store
        options = store.options
        syncs = options.sync == "interval" and options.replication is None
        pace = Pace(options.sync_interval_ms / 1000 if syncs else None, monotonic())
        looked_at = monotonic()
        was_quiet = False
        while True:
            try:
                if self.ended.wait(pace.wait_seconds(monotonic())):
                    return
                pace.begin_round(monotonic())
                if store.read_only_reason is None:
                    store.lock.check()
                if pace.is_sync_due(now := monotonic()):
                    pace.begin_sync(now)
                    if store.read_only_reason is None:
                        store.sync()
                pace.end_sweep(all_done=self._sweep_some(pace.sweep_seconds, pace.sweep_until))
                is_quiet = self._quiet.reached(store.position, monotonic())
                store.tables.memory.fit(store.cache_budget(is_quiet=is_quiet or store.position == self._opened_at))
                store.tables.remove_obsolete()
                if is_quiet and not was_quiet:
                    self._on_quiet()
                was_quiet = is_quiet
                if monotonic() - looked_at >= SPACE_SECONDS:
                    looked_at = monotonic()
                    self._flush_what_frees_much()
            except ClosedError:
                return
            except MemoryError:
                sleep(pace.round)  # the thread must not end for want of memory; the work is tried again
            except BaseException as error:  # nor for anything else: no other thread syncs
                self._note_failure(error)

    def _flush_what_frees_much(self) -> None:
        store = self._store
        if store.read_only_reason is None and is_worth_a_flush(store.state, CompactionOptions().tombstone_ratio):
            store.seal()
            store.listeners.on_sealed()

    def sweep(self) -> int:
        """Delete expired keys. Returns how many."""
        before = self._sweeper.deleted
        self._sweep_some(inf, inf)
        return self._sweeper.deleted - before

    def _sweep_some(self, seconds: float, until: float) -> bool:
        """Sweep for `seconds` of processor time, or until that moment. Returns whether all is done."""
        if self._store.holds_sweep or self._store.read_only_reason is not None or self._damaged.sweep_is_paused():
            return True
        try:
            return self._sweeper.sweep(self._store.now_ms(), seconds, until)
        except CorruptionError:
            self._damaged.pause_sweep()
            raise
        finally:
            self._statistics.swept = self._sweeper.deleted
