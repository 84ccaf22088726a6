"""The block cache: data blocks of all tables and pages of sorted views, bounded in bytes.

A cached block is in its table's own list, by its number: it is found by an index, and counts its hits itself (together
40 ns; a dictionary of (table, block) and a move to its end took 300). The cache itself only keeps the order in which
blocks came. Eviction is CLOCK: it goes round and gives a block that was hit since its last turn a second chance, an
approximation of LRU that costs a hit nothing.

A hit takes no lock: a block that another thread evicts in between is still good. Changes of the sum take the lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import RLock
from typing import Any, Final, Protocol, TypeAlias

from flin.engine.reentry import holds_lock
from flin.engine.table.cached_block import CachedBlock

CacheRow: TypeAlias = list[CachedBlock | None]
"""The cached blocks of one table, by number."""


class Charged(Protocol):
    """A cached block, or a page of a sorted view. Only the cache changes the attributes, except `hits`."""

    charge: int  # bytes that the cache counts for it; 0: not in the cache
    hits: int  # counted by its readers
    seen_hits: int  # at the cache's last look

    def charge_bytes(self) -> int: ...


_NOTHING: Final[tuple[CacheRow, int, bytes]] = [], -1, b""

_CHANCES: Final = 64
"""The most blocks that are passed over in a row: an eviction must not take a millisecond if all were hit."""


class BlockCache:
    """Bounds what the rows of many tables hold. `is_full`: another block would evict one."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        self.misses = 0  # counted by the tables, without a lock: about right
        self.evictions = 0
        self.is_full = capacity_bytes == 0
        self.passing = _NOTHING
        """Row, number and payload of the last lookup whose block did not deserve a place in the full cache."""
        self._evicted_hits = 0
        self._clock: deque[tuple[list[Any], int, Charged]] = deque()
        self.gone: deque[list[Any]] = deque()
        """Rows whose owner is gone: its finalizer may run anywhere, so it takes no lock. Their blocks are dropped with
        the next put, or by the background (`drop_gone`), whichever comes first."""
        self._lock = RLock()
        self._is_changing = False  # under the lock; a call that re-enters then leaves the cache as it is

    def __len__(self) -> int:
        return len(self._clock)

    def put(self, row: list[Any], number: int, block: Charged) -> None:
        """Keep a block, unless another thread was faster. One larger than an eighth of the cache would empty it."""
        charge = block.charge_bytes()
        if charge * 8 > self.capacity_bytes:
            return
        if self.gone:
            self.drop_gone()
        self._change(lambda: self._put(row, number, block, charge))

    def has_room(self) -> bool:
        """Whether half of it is free: then blocks of scans may stay, which are not asked for as often as others."""
        return 2 * self.used_bytes < self.capacity_bytes

    def pass_by(self, row: CacheRow, number: int, payload: bytes) -> None:
        """Remember a block until the next one, unless it is too large for the cache, too."""
        if len(payload) * 8 <= self.capacity_bytes:
            self.passing = row, number, payload

    def recharge(self, block: Charged) -> None:
        """Charge a block that grew."""
        charge = block.charge_bytes()
        self._change(lambda: self._recharge(block, charge))

    def drop_gone(self) -> None:
        """Drop blocks whose owners are gone: those of obsolete tables, pages of obsolete runs."""
        if self.gone:
            self._change(self._drop_gone)

    def resize(self, capacity_bytes: int) -> None:
        """Change the bound; blocks that no longer fit go now."""
        self._change(lambda: self._resize(capacity_bytes))

    @holds_lock
    def statistics(self) -> dict[str, int]:
        with self._lock:
            held = list(self._clock)
        return {
            "entries": len(held),
            "used_bytes": self.used_bytes,
            "capacity_bytes": self.capacity_bytes,
            "hits": self._evicted_hits + sum(block.hits for _, _, block in held),
            "misses": self.misses,
            "evictions": self.evictions,
        }

    @holds_lock
    def _change(self, change: Callable[[], None]) -> bool:
        """Change under the lock. False, and nothing is done, in a call that re-enters while its own thread is
        changing."""
        with self._lock:
            if self._is_changing:
                return False
            self._is_changing = True
            try:
                change()
            finally:
                self._is_changing = False
            return True

    # Under the lock.

    def _put(self, row: list[Any], number: int, block: Charged, charge: int) -> None:
        if row[number] is None:
            block.charge = charge
            row[number] = block
            self._clock.append((row, number, block))
            self.used_bytes += charge
            self._evict()

    def _recharge(self, block: Charged, charge: int) -> None:
        if block.charge:  # else it was evicted
            self.used_bytes += charge - block.charge
            block.charge = charge
            self._evict()

    def _drop_gone(self) -> None:
        """Drop them in one pass over the clock, however many are gone."""
        gone = [self.gone[place] for place in range(len(self.gone))]  # it may grow at any moment
        dropped = {id(row) for row in gone if any(block is not None for block in row)}
        if dropped:
            kept = deque(entry for entry in self._clock if id(entry[0]) not in dropped)
            dead = [entry for entry in self._clock if id(entry[0]) in dropped]
            used_bytes = sum(block.charge for _, _, block in kept)
            hits = self._evicted_hits + sum(block.hits for _, _, block in dead)
            # No call in between: an interrupt finds all of this done, or nothing.
            self._clock, self.used_bytes, self._evicted_hits = kept, used_bytes, hits
            self.is_full = self.capacity_bytes == 0
            for row, number, block in dead:
                row[number] = None
                block.charge = 0
        if any(row is self.passing[0] for row in gone):
            self.passing = _NOTHING
        for _ in gone:  # last: an interrupt loses none
            self.gone.popleft()

    def _resize(self, capacity_bytes: int) -> None:
        self.is_full = capacity_bytes == 0
        self.capacity_bytes = capacity_bytes
        self._evict()

    def _evict(self) -> None:
        clock = self._clock
        chances = _CHANCES
        while self.used_bytes > self.capacity_bytes:
            self.is_full = True
            if not clock:  # an interrupt came between a block and its charge
                self.used_bytes = 0
                break
            entry = clock.popleft()
            block = entry[2]
            if chances and block.hits != block.seen_hits:
                chances -= 1
                block.seen_hits = block.hits
                clock.append(entry)
                continue
            self._drop(*entry)
            self.evictions += 1

    def _drop(self, row: list[Any], number: int, block: Charged) -> None:
        row[number] = None
        self.used_bytes -= block.charge
        self._evicted_hits += block.hits
        block.charge = 0

    def _check(self) -> None:
        with self._lock:
            assert self.used_bytes == sum(block.charge for _, _, block in self._clock)
            assert self.used_bytes <= self.capacity_bytes
            assert all(row[number] is block for row, number, block in self._clock)
