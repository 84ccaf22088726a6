"""The sweep: finds expired keys without reading the data, and deletes them by ordinary commits.

The memtables keep heaps of the keys that will expire in them; every table has its expiries sorted by time. Candidates
may have been overwritten since: each is read again, under the commit lock, before its tombstone is written. A key
counts until then, so that the number of keys is exact at every moment.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from math import inf
from threading import Lock, RLock
from time import monotonic, sleep, thread_time
from typing import Final

from flin.engine.catalog.generation import DueHeap, pop_due
from flin.engine.reentry import holds_lock
from flin.engine.sstable import Table
from flin.engine.tree.store import Store

SWEEP_COMMIT_KEYS: Final = 64
"""Keys that one commit of a sweep may delete: each is read under the commit lock, in 50 µs if its block is cold."""

DUE_KEYS: Final = 512
"""Keys that are searched at once; those for which the time is too short are searched again."""


class Sweeper:
    """The sweep of one store, with its place in each table."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._places: dict[int, _Place] = {}
        self.deleted = 0
        self._owed: DueHeap = []  # due when a sweep failed to delete them, or had no time
        self._lock = Lock()
        self._sweeping = RLock()  # one sweep at a time: when it has ended, no other one has keys in hand, which count

    @holds_lock
    def due(self, now_ms: int, limit: int) -> DueHeap:
        """Up to `limit` keys that have expired by now, and when, unless they were written since. Each comes once per
        table."""
        keys: DueHeap = []
        try:
            self._take_due(keys, now_ms, limit)
        except BaseException:  # a table that cannot be read
            self.give_back(keys)
            raise
        return keys

    @holds_lock
    def _take_due(self, keys: DueHeap, now_ms: int, limit: int) -> None:
        with self._lock:
            keys += pop_due(self._owed, now_ms, limit)
            keys += self._store.take_due(now_ms, limit - len(keys))
            tables = {id(table): table for table in self._store.tables.tables() if table.meta.expiring}
            self._places = {number: self._places.get(number) or _Place(table) for number, table in tables.items()}
            for place in self._places.values():
                if len(keys) >= limit:
                    break
                keys += place.take(now_ms, limit - len(keys))

    @holds_lock
    def let_go(self) -> None:
        """Drop the tables that the store no longer has; else their files would stay."""
        with self._lock:
            open_tables = set(map(id, self._store.tables.tables()))
            self._places = {number: place for number, place in self._places.items() if number in open_tables}

    def sweep(self, now_ms: int, seconds: float = inf, until: float = inf) -> bool:
        """Delete keys that have expired by now. Returns whether these were all. It ends after the first commit at which
        `seconds` of processor time are spent, or the moment `until` of the monotonic clock has come."""
        with self._sweeping:
            return self._sweep(now_ms, seconds, until)

    def _sweep(self, now_ms: int, seconds: float, until: float) -> bool:
        began = thread_time()
        while keys := self.due(now_ms, DUE_KEYS):
            at = 0
            try:
                while at < len(keys):
                    deleted = self._store.delete_expired([key for _, key in keys[at : at + SWEEP_COMMIT_KEYS]], now_ms)
                    if deleted is None:  # what has expired by the new clock is for the next sweep
                        return False
                    self.deleted += deleted
                    at += SWEEP_COMMIT_KEYS
                    if thread_time() - began >= seconds or monotonic() >= until:
                        return False
                    sleep(0)  # a thread that waits for the interpreter gets it now, not after a switch interval of 5 ms
            finally:
                self.give_back(keys[at:])
        return True

    @holds_lock
    def give_back(self, keys: DueHeap) -> None:
        """Keep these keys for the next time: they were due, but could not be deleted (a full disk, say).

        If the clock is set back meanwhile, they may be alive again, and are due when it comes to that moment again."""
        with self._lock:
            for due in keys:
                heapq.heappush(self._owed, due)


class _Place:
    """How many of a table's expiries were taken."""

    def __init__(self, table: Table) -> None:
        self._table = table  # held, so that its id is not used again
        self._expiries: Iterator[tuple[int, bytes]] = iter(table.expiries())
        self._next = next(self._expiries, None)

    def take(self, now_ms: int, limit: int) -> DueHeap:
        taken: DueHeap = []
        while self._next is not None and self._next[0] <= now_ms and len(taken) < limit:
            taken.append(self._next)
            self._next = next(self._expiries, None)
        return taken
