"""The SSTable reader: lookups, ordered pages and expiries of one table.

Theory. Opening costs nothing: the first use reads footer, filter and index and holds them (table/state.py), until more
tables are in use than may be open (open_files.py). A lookup asks the filter, bisects the index and then takes the
cheapest way to the block: a cached one with its entries (a dict), a cached payload (one search in it), or, if the block
is stored raw, the file's mapping itself, in place. A raw block enters the cache when it is touched more often than its
table's average, a compressed one at once. Checksums are compared when a block is first read.

A page fault in a mapping holds the GIL, so `get_nowait`, for event loops, reads without the mapping and raises ColdRead
if it would have to wait; compaction reads with large preads past all caches.

Layouts: table/footer.py (the whole), block.py, stored_block.py, key_part.py, table/bloom.py, index_block.py,
expiry_block.py, range_block.py. The writer is table/writer.py.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from time import monotonic
from typing import Final, Protocol

from flin.engine.boundaries import Boundaries, ranges_of
from flin.engine.disk.fs import ReadableFile
from flin.engine.entry import Entry, Page, Range
from flin.engine.key import KEYS_END
from flin.engine.reentry import holds_lock
from flin.engine.table import block, bloom, expiry_block
from flin.engine.table import check as table_check
from flin.engine.table import footer as table_footer
from flin.engine.table.block_cache import BlockCache
from flin.engine.table.bloom import MASKS, hash_key
from flin.engine.table.cold_read import ColdRead
from flin.engine.table.footer import ValueBytes, read_meta, read_metas
from flin.engine.table.key_part import KeyPage
from flin.engine.table.meta import TableMeta
from flin.engine.table.scan import scan, scan_nowait
from flin.engine.table.state import TableState
from flin.engine.table.writer import TableOptions, TableWriter
from flin.errors import CorruptionError

__all__ = [
    "BlockCache",
    "Table",
    "TableOptions",
    "TableWriter",
    "hash_key",
    "read_meta",
    "read_metas",
]


AWAITED_SECONDS: Final = 10.0
"""If a table was loaded for a lookup that did not wait, and was closed for others within this time, it is loaded again
at once: if a lookup needs more runs than may be open, it would otherwise be repeated forever."""


class OpenTables(Protocol):
    """Who bounds the number of open tables, or the memory that they take (tree/index_memory.py)."""

    def add(self, table: Table) -> None: ...


class Table:
    """One table, for any number of threads."""

    def __init__(
        self, file: ReadableFile, meta: TableMeta, cache: BlockCache | None, files: OpenTables | None = None
    ) -> None:
        """`files` is told when it opens, and may close it for others."""
        self.meta: Final = meta
        self._file: Final = file
        self.cache: Final = cache
        self.state: TableState | None = None  # while it is open
        self._files: Final = files
        self._awaited_at = -AWAITED_SECONDS  # the last call of `load`
        self._reads = 0  # its state's reads at the last call of `was_used`
        self._loading: Final = threading.RLock()

    # Lookups.

    def get(self, key: bytes, hashed: int | None = None) -> Entry | None:
        """The key's entry (a tombstone is one), None if the table has none. `hashed`: hash_key(key), if known.
        (Written out in read.read_path._from_runs.)

        The caller must consider range deletes. Raises CorruptionError, FormatVersionError, StorageError.
        """
        state = self.state or self.loaded()
        if hashed is None:
            hashed = hash_key(key)
        mask = MASKS[hashed & 4095]  # Written out: table.bloom.contains
        if state.words[hashed % state.word_count] & mask != mask:
            return None
        return state.find(key)

    def get_nowait(self, key: bytes, hashed: int | None = None) -> Entry | None:
        """What `get` gives, but raises ColdRead instead of waiting for the disk. Without a cache it may wait.
        (Written out in read.read_path._from_runs_nowait.)"""
        if self.cache is None:
            return self.get(key, hashed)
        state = self.state or self.loaded_nowait()
        if not bloom.contains(state.words, hash_key(key) if hashed is None else hashed):
            return None
        number = bisect_right(state.separators, key) - 1
        if number < 0:
            return None
        if state.blocks[number] is not None:
            return state.find(key)
        return state.block_nowait(number).find(key)

    def loaded_nowait(self) -> TableState:
        """ColdRead where filter and index would have to be read first."""
        if self.cache is not None and monotonic() - self._awaited_at > AWAITED_SECONDS:
            raise ColdRead(self.load)
        return self.loaded()

    @property
    def filter_words(self) -> Sequence[int]:
        """The words of the filter, for callers that ask about many keys (bloom.let_through)."""
        return (self.state or self.loaded()).words

    # The state in memory.

    def load(self) -> None:
        """Read the filter and the index now rather than at the first lookup."""
        self._awaited_at = monotonic()
        self.loaded()

    @holds_lock
    def loaded(self) -> TableState:
        with self._loading:
            state = self.state
            if state is None:
                state = TableState(self._file, self.meta, self.cache)
                if self.state is not None:  # a call that re-entered was faster
                    return self.state
                self.state = state
                self._reads = state.reads()
                if self._files is not None:
                    self._files.add(self)
            return state

    def was_used(self) -> bool:
        """For OpenFiles: whether blocks were read since the last call."""
        state = self.state
        reads = 0 if state is None else state.reads()
        before, self._reads = self._reads, reads
        return reads != before

    def let_go(self) -> None:
        """Forget filter, index and mapping until the next use. A reader keeps those that it uses."""
        self.state = None

    def read_index_in_place(self) -> None:
        """Save memory: read the index in the mapping from now on, while it is open."""
        state = self.state
        if state is not None:
            state.read_index_in_place()

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory that it costs; 0 while it is not open."""
        state = self.state
        return 0 if state is None else state.memory_bytes

    @property
    def deleted(self) -> Boundaries:
        """Boundaries of the range deletes: older than every point of this table, younger than older tables."""
        if not self.meta.range_deletes:
            return ()
        return (self.state or self.loaded()).deleted

    @property
    def ranges(self) -> tuple[Range, ...]:
        """The range deletes as pairs."""
        return ranges_of(self.deleted)

    @property
    def values(self) -> ValueBytes:
        """Bytes of values that its pointers name, by value file; read each time."""
        return table_footer.read_values(self._file, self.meta.offset, self.meta.length)

    # Ordered reads.

    def pages(
        self, start: bytes = b"", stop: bytes = KEYS_END, *, reverse: bool = False, cached: bool = True
    ) -> Iterator[Page]:
        """The entries from start (inclusive) to stop (exclusive), tombstones included, in non-empty pages.

        `cached=False`: with preads past all caches, for a table that is read once. The caller owns the lists.
        """
        return scan(self.state or self.loaded(), block.decode, start, stop, reverse, cached)

    def pages_nowait(self, start: bytes, stop: bytes, *, reverse: bool = False) -> Iterator[Page]:
        """What `pages` gives, but raises ColdRead instead of waiting for the disk. Without a cache it may wait."""
        if self.cache is None:
            return self.pages(start, stop, reverse=reverse)
        return scan_nowait(self.state or self.loaded_nowait(), start, stop, reverse)

    def key_pages(
        self, start: bytes = b"", stop: bytes = KEYS_END, *, reverse: bool = False, cached: bool = True
    ) -> Iterator[KeyPage]:
        """The pages without the values: keys and kinds (entry.py's KIND_*)."""
        state = self.state or self.loaded()
        part = None if reverse else state.key_part()
        if part is not None:
            return part.pages(start, stop)
        return scan(state, block.decode_kinds, start, stop, reverse, cached)

    @property
    def has_key_part(self) -> bool:
        """Whether `key_pages` does not have to read the values."""
        return (self.state or self.loaded()).keys is not None

    def key_pages_near(self, wanted: Sequence[bytes]) -> Iterator[KeyPage]:
        """In a table with a key part: the pages that hold the ascending wanted keys, as far as the table has them."""
        part = (self.state or self.loaded()).key_part()
        assert part is not None
        return part.pages_near(wanted)

    def expiries(self) -> Iterator[tuple[int, bytes]]:
        """(expires_at_ms, key) of every entry that expires, the earliest first; read as they are taken."""
        if not self.meta.expiring:
            return iter(())
        return expiry_block.decode(*self._expiry_block())

    def sampled_expiries(self, number: int) -> list[tuple[int, bytes]]:
        """At most `number` of these, evenly over the order of their times."""
        total = self.meta.expiring
        if not total:
            return []
        return self.expiries_at(sorted({(2 * place + 1) * total // (2 * number) for place in range(number)}))

    def expiries_at(self, places: list[int]) -> list[tuple[int, bytes]]:
        """Those at these ascending places in the order of times."""
        return expiry_block.sample(*self._expiry_block(), places)

    def _expiry_block(self) -> tuple[Callable[[int, int], bytes], int, int, str]:
        state = self.state or self.loaded()
        start, stop = state.base + state.footer.expiry, state.base + state.footer.filter
        return partial(table_footer.read_part, self._file), start, stop, state.path

    def verify(self) -> list[CorruptionError]:
        """Read and check everything, past all caches. Returns the faults. Raises FormatVersionError."""
        return table_check.check_table(self._file, self.meta)
