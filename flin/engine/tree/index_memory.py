"""What the indexes of a database's open tables take in memory, and what is left for the block cache.

Theory. An index in memory takes some 90 bytes for each data block, 1 % of the data: more than any fixed limit, once
there are enough of them. So they have at most half of what indexes and block cache have together, and the cache has the
rest. Beyond that the tables that were opened first read their separators in their mapping, which the kernel can evict
(18 bytes a block, a lookup takes 2.5 µs longer). If that is too much, too, they are closed until their next use, as
when too many files are open (disk/open_files.py). Filters are always read in the mapping.

A table that is opened makes its room at once, so the limit holds in between, too.
"""

from __future__ import annotations

from threading import RLock
from typing import Final
from weakref import WeakKeyDictionary

from flin.engine.disk.open_files import Opened, OpenFiles
from flin.engine.reentry import holds_lock
from flin.engine.sstable import Table
from flin.engine.table.block_cache import BlockCache

SHARE: Final = 2
"""One half of the room: the index of 2.5 GB at the default limit, and of 14 GB in the mapping."""

_SPARE: Final = 16
"""A sixteenth more is freed at once: else each table that opens would look at all others."""


class IndexMemory:
    """Bounds the memory of open tables: it is told of each that opens (`add`). Any thread may do that."""

    def __init__(self, files: OpenFiles, cache: BlockCache) -> None:
        self._files: Final = files
        self._cache: Final = cache
        self._budget_bytes = cache.capacity_bytes  # of indexes and blocks
        self._lent_bytes = 0  # of that
        self._tables: WeakKeyDictionary[Table, None] = WeakKeyDictionary()  # those that opened, the first one first
        self._most_bytes = 0  # what they take, or more: some may be closed
        self._lock = RLock()

    @holds_lock
    def add(self, table: Table) -> None:
        """Note that the table has opened; others make room for it."""
        self._files.add(table)
        with self._lock:
            self._tables.pop(table, None)
            self._tables[table] = None
            self._most_bytes += table.memory_bytes
            if self._most_bytes > self._budget_bytes - self._lent_bytes - self._cache.capacity_bytes:
                self._fit(self._budget_bytes // _SPARE)

    @holds_lock
    def fit(self, budget_bytes: int) -> None:
        """Divide this budget from now on."""
        with self._lock:
            self._budget_bytes = budget_bytes
            self._fit()

    @holds_lock
    def lend(self, size_bytes: int) -> None:
        """The block cache has so much less from now on: others, who know how much it needs, use it."""
        with self._lock:
            self._lent_bytes = size_bytes
            self._fit()

    def used_bytes(self) -> int:
        """What the indexes take."""
        return sum(table.memory_bytes for table in list(self._tables))

    def _fit(self, spare: int = 0) -> None:
        limit = self._budget_bytes // SHARE
        tables = list(self._tables)
        used = sum(table.memory_bytes for table in tables)
        if used > limit:
            for free, kept in (Table.read_index_in_place, 0), (self._close, 1):  # the last one is about to be read
                for table in tables[: len(tables) - kept]:
                    if used <= limit - limit // _SPARE:
                        break
                    used -= table.memory_bytes
                    free(table)
                    used += table.memory_bytes
        self._most_bytes = used
        room = max(0, max(self._budget_bytes - used - spare, self._budget_bytes // SHARE) - self._lent_bytes)
        if room != self._cache.capacity_bytes:
            self._cache.resize(room)

    def _close(self, table: Opened) -> None:
        table.let_go()
        self._files.discard(table)
