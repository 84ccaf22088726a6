"""The cache of hot values, for embedded use: entries read from tables, bounded in bytes.

It lies below the memtables: a put never touches it. A flush changes what the tables say: before its version is
installed, it evicts the keys that it covers, and from then on fills by readers of an older state are refused. A merge
empties what has expired, for good, even if the clock is set back then: so each edit evicts what has expired by its
clock. Snapshots may see older tables, so they do not use the cache.

Entries are evicted by two generations, an approximation of LRU that costs a hit nothing (70 ns; moving it to the end
of an OrderedDict took 150 more). New entries enter `young`. When young holds half of the bytes, it becomes `old`, and
the previous old generation is dropped. A hit in old moves the entry back to young.

A key is admitted when it is read a second time within a short time. Otherwise reads that are spread evenly over much
data would fill and evict on every read: half of the cost of a lookup.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from threading import RLock
from typing import Final

from flin.engine.boundaries import covers
from flin.engine.entry import TOMBSTONE, Entry, Live
from flin.engine.memtable import Memtable
from flin.engine.reentry import holds_lock

DOORKEEPER_SLOTS: Final = 1 << 16
"""Each slot is one byte of the hash of the key that was last read there. A second read is recognised within some 65,000
others; one first read in 256 is mistaken for a second."""

_CACHED_OVERHEAD_BYTES: Final = 200
"""Two bytes objects (33 each, rounded up to 16) and an entry of a dict that has just grown (up to 110)."""


class ValueCache:
    """Maps stored keys to what the tables of the installed version say. `young` may be read directly."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.young: dict[bytes, Live] = {}
        self.old: dict[bytes, Live] = {}
        self.hits = 0  # counted without a lock: about right
        self.misses = 0
        self.absent = 0  # look-ups in tables that found nothing, lately; kept by read_path.py
        self.evictions = 0
        self.flushes = 0
        self._young_bytes = 0
        self._old_bytes = 0
        self._next_expiry_ms = inf  # no cached entry expires before
        self._expired_ms = 0  # what expires up to then is not cached
        self._doorkeeper = bytearray(DOORKEEPER_SLOTS)
        self._lock = RLock()  # no fill from before a flush may come after that flush's evictions
        self._is_changing = False  # under the lock; a call that re-enters then leaves the cache as it is

    def __len__(self) -> int:
        return len(self.young) + len(self.old)

    def get(self, key: bytes) -> Live | None:
        """The entry, if it is cached. (Written out in read.read_path.read_older.)"""
        entry = self.young.get(key)
        if entry is None:
            entry = self.old.get(key)
            if entry is not None:
                self._change(lambda: self._renew(key))
        if entry is not None:
            self.hits += 1
        return entry

    def fill(self, key: bytes, entry: Entry, hashed: int, flushes: int) -> None:
        """Offer an entry that was read from the tables of a state with this number of flushes. `hashed`: the key's
        hash."""
        self.misses += 1
        doorkeeper = self._doorkeeper
        slot = hashed & 0xFFFF
        if doorkeeper[slot] != hashed >> 24:
            doorkeeper[slot] = hashed >> 24
        elif entry is not TOMBSTONE and _charge(key, entry) * 8 <= self.capacity_bytes:
            self._change(lambda: self._fill(key, entry, flushes))

    def begin_flush(self, flushes: int, memtables: Sequence[Memtable]) -> None:
        """Refuse fills from before, then evict what the memtables cover."""
        self._change(lambda: self._begin_flush(flushes, memtables))

    def empty(self, flushes: int) -> None:
        """Refuse fills from before, then evict everything: other tables are shown from now on."""
        self._change(lambda: self._empty(flushes))

    def begin_edit(self, now_ms: int) -> None:
        """Evict what has expired, and refuse it from now on: called before tables are installed that may lack it."""
        self._change(lambda: self._begin_edit(now_ms))

    def statistics(self) -> dict[str, int]:
        return {
            "entries": len(self),
            "used_bytes": self._young_bytes + self._old_bytes,
            "capacity_bytes": self.capacity_bytes,
            "hits": self.hits,
            "misses": self.misses,
            "evictions": self.evictions,
        }

    @holds_lock
    def _change(self, change: Callable[[], None]) -> None:
        """Change under the lock; do nothing in a call that re-enters while its own thread is changing."""
        with self._lock:
            if self._is_changing:
                return
            self._is_changing = True
            try:
                change()
            finally:
                self._is_changing = False

    # Under the lock.

    def _fill(self, key: bytes, entry: Live, flushes: int) -> None:
        if flushes == self.flushes and key not in self.young and key not in self.old:
            if type(entry) is tuple and entry[1] > 0:
                if entry[1] <= self._expired_ms:
                    return
                self._next_expiry_ms = min(self._next_expiry_ms, entry[1])
            self._insert(key, entry)

    def _begin_edit(self, now_ms: int) -> None:
        self._expired_ms = max(self._expired_ms, now_ms)
        if now_ms < self._next_expiry_ms:
            return
        self._next_expiry_ms = inf
        for generation in (self.young, self.old):
            for key, entry in list(generation.items()):
                if type(entry) is tuple and entry[1] > 0:
                    if entry[1] <= now_ms:
                        self._discard(key)
                    else:
                        self._next_expiry_ms = min(self._next_expiry_ms, entry[1])

    def _empty(self, flushes: int) -> None:
        self.flushes = flushes
        self.young, self.old = {}, {}
        self._young_bytes = self._old_bytes = 0

    def _begin_flush(self, flushes: int, memtables: Sequence[Memtable]) -> None:
        self.flushes = flushes
        for memtable in memtables:
            for generation in (self.young, self.old):
                for key in generation.keys() & memtable.entries.keys():
                    self._discard(key)
                if memtable.deleted:
                    for key in [key for key in generation if covers(memtable.deleted, key)]:
                        self._discard(key)

    def _renew(self, key: bytes) -> None:
        entry = self.old.pop(key, None)
        if entry is not None:
            self._old_bytes -= _charge(key, entry)
            self._insert(key, entry)

    def _insert(self, key: bytes, entry: Live) -> None:
        self.young[key] = entry
        self._young_bytes += _charge(key, entry)
        if self._young_bytes * 2 > self.capacity_bytes:
            self.evictions += len(self.old)
            self.old, self.young = self.young, {}
            self._old_bytes, self._young_bytes = self._young_bytes, 0

    def _discard(self, key: bytes) -> None:
        entry = self.young.pop(key, None)
        if entry is not None:
            self._young_bytes -= _charge(key, entry)
        entry = self.old.pop(key, None)
        if entry is not None:
            self._old_bytes -= _charge(key, entry)

    def _check(self) -> None:
        with self._lock:
            assert self._young_bytes == sum(_charge(*item) for item in self.young.items())
            assert self._old_bytes == sum(_charge(*item) for item in self.old.items())
            assert self._young_bytes + self._old_bytes <= self.capacity_bytes


def _charge(key: bytes, entry: Live) -> int:
    size = len(entry[0]) + 80 if isinstance(entry, tuple) else len(entry)
    return len(key) + size + _CACHED_OVERHEAD_BYTES
